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


def read_json_lines(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    """Stream a file's objects as text columns (lists for arrays); absent members are null."""
    rows = _rows(file)
    columns: list[Column] | None = None
    while chunk := list(islice(rows, ROWS_PER_BATCH)):
        if columns is None:
            columns = _present(chunk, contract)
        yield _batch(chunk, columns)


def _present(rows: list[dict[str, Any]], contract: TableContract) -> list[Column]:
    # A nullable column may be absent from every object; a required one that is absent is reported as missing.
    present = set().union(*rows)
    return [column for column in contract.columns if column.nullable or column.name in present]


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        if lines.read(1) == "[":
            lines.seek(0)
            # Arrays are for small files: they are parsed in one piece.
            yield from _objects(json.load(lines, parse_float=Decimal), file)
            return
        lines.seek(0)
        yield from _objects((json.loads(line, parse_float=Decimal) for line in lines if line.strip()), file)


def _objects(values: Iterable[Any], file: Path) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise pa.ArrowInvalid(f"record {number} of {file.name} is not a JSON object")
        yield value


def _batch(rows: list[dict[str, Any]], columns: list[Column]) -> pa.RecordBatch:
    arrays = [_array([row.get(column.name) for row in rows], column.type.kind) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _array(values: list[Any], kind: Kind) -> pa.Array:
    if kind is Kind.ARRAY:
        return pa.array([_texts(value) for value in values], pa.list_(pa.string()))
    as_json = kind is Kind.JSON
    return pa.array([None if value is None else _text(value, as_json) for value in values], pa.string())


def _texts(value: Any) -> list[str | None] | None:
    if value is None or not isinstance(value, list):
        return None
    return [None if item is None else _text(item, as_json=False) for item in value]


def _text(value: Any, as_json: bool) -> str:
    if as_json:
        return _dump(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_dump(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
