"""Read newline-delimited JSON, or one JSON array, with numbers kept exact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...contracts import Column, Kind, TableContract

ROWS_PER_BATCH = 20_000
_AS_JSON = frozenset({Kind.JSON, Kind.ARRAY})


def read_json_lines(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    """Stream a file's objects as text columns (JSON text for json and arrays); absent members are null.

    Raises:
        pa.ArrowInvalid: a record is not a JSON object, or repeats a member.
    """
    rows = _rows(file)
    first = list(islice(rows, ROWS_PER_BATCH))
    columns = _present(first, contract) if first else list(contract.columns)
    yield _batch(first, columns)
    while chunk := list(islice(rows, ROWS_PER_BATCH)):
        yield _batch(chunk, columns)


def _present(rows: list[dict[str, Any]], contract: TableContract) -> list[Column]:
    # A nullable column may be absent from every object; a required one that is absent is reported as missing.
    present = set().union(*rows)
    return [column for column in contract.columns if column.nullable or column.name in present]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        is_array = lines.read(1) == "["
        lines.seek(0)
        # Arrays are for small files: they are parsed in one piece.
        values = _parsed(lines.read(), "the file") if is_array else _each_line(lines)
        for number, value in enumerate(values, start=1):
            if not isinstance(value, dict):
                raise pa.ArrowInvalid(f"record {number} is not a JSON object with distinct members")
            yield value


def _each_line(lines: Iterable[str]) -> Iterator[Any]:
    return (_parsed(line, f"line {number}") for number, line in enumerate(lines, start=1) if line.strip())


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_members)
    except (ValueError, ArithmeticError, RecursionError):
        raise pa.ArrowInvalid(f"{place} is not JSON") from None


class _Repeating(list[tuple[str, Any]]):
    """An object that repeats a member: kept as pairs, so that it is written out, and refused, as it came."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeating:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _Repeating(pairs)


def _batch(rows: list[dict[str, Any]], columns: list[Column]) -> pa.RecordBatch:
    arrays = [_array([row.get(column.name) for row in rows], column.type.kind) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _array(values: list[Any], kind: Kind) -> pa.Array:
    write = _dump if kind in _AS_JSON else _text
    return pa.array([None if value is None else write(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, _Repeating):
        return _object(value)
    if isinstance(value, dict):
        return _object(value.items())
    if isinstance(value, list):
        return "[" + ", ".join(_dump(item) for item in value) + "]"
    return json.dumps(value)


def _object(pairs: Iterable[tuple[str, Any]]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {_dump(item)}" for name, item in pairs) + "}"
