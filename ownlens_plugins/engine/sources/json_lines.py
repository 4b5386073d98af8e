"""Read newline-delimited JSON, or one JSON array, with numbers kept exact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa

from ...contracts import Column, Kind
from ..json_structure import parse, write

ROWS_PER_BATCH = 20_000
# Long records make shorter batches: all of one is in memory, and a column of it holds less than 2 GiB.
CHARACTERS_PER_BATCH = 32 << 20
_AS_JSON = frozenset({Kind.JSON, Kind.ARRAY})


def read_json_lines(
    lines: TextIO, columns: Sequence[Column], absent: Mapping[str, str | None]
) -> Iterator[pa.RecordBatch]:
    """Stream the objects of a file as text columns (JSON text for json and arrays).

    Members that a record lacks have their value in `absent`, or are null.

    Raises:
        pa.ArrowInvalid: a record is not a JSON object, or repeats a member.
    """
    present: list[Column] | None = None
    for rows in _chunks(_rows(lines)):
        present = _present(rows, columns, absent) if present is None else present
        yield _batch(rows, present, absent)
    if present is None:
        yield _batch([], list(columns), absent)


def first_names(lines: TextIO) -> list[str]:
    """Return the names of the members of the first object; none when there is no object.

    Raises:
        pa.ArrowInvalid: it is not a JSON object, or repeats a member.
    """
    return next((list(row) for row, _ in _rows(lines)), [])


def _chunks(rows: Iterable[tuple[dict[str, Any], int]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    held = 0
    for row, length in rows:
        chunk.append(row)
        held += length
        if len(chunk) == ROWS_PER_BATCH or held >= CHARACTERS_PER_BATCH:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _present(rows: list[dict[str, Any]], columns: Sequence[Column], absent: Mapping[str, str | None]) -> list[Column]:
    # A nullable column may be absent from every object; a required one that is absent is reported as missing.
    present = set(absent).union(*rows)
    return [column for column in columns if column.nullable or column.name in present]


def _rows(lines: TextIO) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each record, and about how many characters it takes."""
    start = lines.read(1)
    values = _members_of(start + lines.read()) if start == "[" else _each_line(_with(start, lines))
    for number, (value, length) in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise pa.ArrowInvalid(f"record {number} is not a JSON object with distinct members")
        yield value, length


def _members_of(text: str) -> Iterator[tuple[Any, int]]:
    # Arrays are for small files: they are parsed in one piece.
    values = _parsed(text, "the file")
    return ((value, len(text) // len(values)) for value in values)


def _with(start: str, lines: TextIO) -> Iterator[str]:
    yield start + ("" if start == "\n" else lines.readline())
    yield from lines


def _each_line(lines: Iterable[str]) -> Iterator[tuple[Any, int]]:
    numbered = enumerate(lines, start=1)
    return ((_parsed(line, f"line {number}"), len(line)) for number, line in numbered if line.strip())


def _parsed(text: str, place: str) -> Any:
    try:
        return parse(text, members=_members, number=Decimal, constant=float)
    except (ValueError, ArithmeticError):
        raise pa.ArrowInvalid(f"{place} is not JSON") from None


class _Repeating(list[tuple[str, Any]]):
    """An object that repeats a member: kept as pairs, so that it is written out, and refused, as it came."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeating:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _Repeating(pairs)


def _batch(rows: list[dict[str, Any]], columns: list[Column], absent: Mapping[str, str | None]) -> pa.RecordBatch:
    arrays = [
        _array([row.get(column.name, absent.get(column.name)) for row in rows], column.type.kind) for column in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _array(values: list[Any], kind: Kind) -> pa.Array:
    write = _dump if kind in _AS_JSON else _text
    try:
        return pa.array([None if value is None else write(value) for value in values], pa.string())
    except UnicodeEncodeError:
        raise pa.ArrowInvalid("a text holds half of a surrogate pair, which is no character") from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _dump(value)


def _dump(value: Any) -> str:
    return write(value, members=_pairs, leaf=_leaf)


def _pairs(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, _Repeating):
        return [(json.dumps(name), item) for name, item in value]
    if isinstance(value, dict):
        return [(json.dumps(name), item) for name, item in value.items()]
    return None


def _leaf(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
