"""Rows as JSON lines and back, value by value: what JSON numbers cannot hold exactly travels as text."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from ownlens_plugins.contracts import Column, Kind, LogicalType
from ownlens_plugins.errors import Rejected

Values = list[Any]
_MIDNIGHT_UNITS = (3_600_000_000, 60_000_000, 1_000_000)


def encode(columns: Sequence[Column], batch: pa.RecordBatch) -> bytes:
    """Return a batch of lake types as JSON lines, one object a row.

    Raises:
        Rejected: a date lies outside the years 1 to 9999.
    """
    names = [column.name for column in columns]
    values = [_written(batch.column(column.name), column.type, column.name) for column in columns]
    lines = (json.dumps(dict(zip(names, row, strict=True)), **_STYLE) for row in zip(*values, strict=True))
    return "".join(f"{line}\n" for line in lines).encode()


_STYLE: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}


def decode(columns: Sequence[Column], stream: BinaryIO, lake_schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Read JSON lines as batches of lake types, at most `rows` rows each. Absent keys are null."""
    while lines := list(islice(stream, rows)):
        objects = [json.loads(line) for line in lines]
        arrays = [
            pa.array(_read([row.get(column.name) for row in objects], column.type), field.type)
            for column, field in zip(columns, lake_schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=lake_schema)


def _written(array: pa.Array, kind: LogicalType, name: str) -> Values:
    try:
        return _encoded(array, kind)
    except (ValueError, OverflowError):
        raise Rejected(f"s3 cannot write {name!r} as JSON: a date lies outside the years 1 to 9999") from None


def _encoded(array: pa.Array, kind: LogicalType) -> Values:
    convert = _ENCODE.get(kind.kind if kind.element is None else kind.element.kind)
    values: Values = array.to_pylist()
    if convert is None:
        return values
    if kind.element is None:
        return _mapped(convert, values)
    return [None if items is None else _mapped(convert, items) for items in values]


def _read(values: Values, kind: LogicalType) -> Values:
    convert = _DECODE.get(kind.kind if kind.element is None else kind.element.kind)
    if convert is None:
        return values
    if kind.element is None:
        return _mapped(convert, values)
    return [None if items is None else _mapped(convert, items) for items in values]


def _mapped(convert: Callable[[Any], Any], values: Values) -> Values:
    return [None if value is None else convert(value) for value in values]


def _float_out(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _time_out(micros: int) -> str:
    # By hand, because Python has no 24:00 and PostgreSQL does.
    hours, rest = divmod(micros, _MIDNIGHT_UNITS[0])
    minutes, rest = divmod(rest, _MIDNIGHT_UNITS[1])
    seconds, rest = divmod(rest, _MIDNIGHT_UNITS[2])
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{rest:06d}"


def _time_in(text: str) -> int:
    hours, minutes, seconds = text.split(":")
    whole, _, rest = seconds.partition(".")
    units = zip((hours, minutes, whole), _MIDNIGHT_UNITS, strict=True)
    return sum(int(count) * unit for count, unit in units) + int(rest)


def _utc_out(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _local_out(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


_ENCODE: dict[Kind, Callable[[Any], Any]] = {
    Kind.FLOAT32: _float_out,
    Kind.FLOAT64: _float_out,
    Kind.DECIMAL: lambda value: format(value, "f"),
    Kind.BYTES: lambda value: base64.b64encode(value).decode(),
    Kind.DATE: date.isoformat,
    Kind.TIME: _time_out,
    Kind.TIMESTAMP: _local_out,
    Kind.TIMESTAMPTZ: _utc_out,
}
_DECODE: dict[Kind, Callable[[Any], Any]] = {
    Kind.FLOAT32: float,
    Kind.FLOAT64: float,
    Kind.DECIMAL: Decimal,
    Kind.BYTES: base64.b64decode,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: _time_in,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.TIMESTAMPTZ: datetime.fromisoformat,
}
