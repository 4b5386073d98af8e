"""Columns beside one another: as what they are compared, and when they cannot be."""

from __future__ import annotations

from collections.abc import Sequence

from ..contracts import Column, Kind, LogicalType
from ..contracts.columns import MAX_PRECISION
from .dialects import Dialect
from .literals import FLOATS, INTEGERS, NUMBERS, TEXTS

_DIGITS = {Kind.INT16: 5, Kind.INT32: 10, Kind.INT64: 19}
_SMALL = FLOATS | {Kind.INT16, Kind.INT32}


def common(columns: Sequence[Column], dialect: Dialect) -> list[str]:
    """Return the columns' values in one type that holds all of them exactly.

    Raises:
        ValueError: there is none in every store.
    """
    kinds = {column.type.kind for column in columns}
    if kinds <= NUMBERS and len(kinds) > 1:
        return _numbers(columns, dialect)
    if kinds == {Kind.DATE, Kind.TIMESTAMP}:
        return [dialect.moment(column) for column in columns]
    if len(kinds) > 1 and not kinds <= TEXTS:
        raise ValueError(f"{_listed(columns)} cannot be compared; the stores would convert them each in its own way")
    if kinds == {Kind.DECIMAL}:
        return _decimals(columns, dialect, scale_of(columns))
    return [dialect.value(column) for column in columns]


def _numbers(columns: Sequence[Column], dialect: Dialect) -> list[str]:
    kinds = {column.type.kind for column in columns}
    if kinds <= INTEGERS:
        return [dialect.value(column) for column in columns]
    if not kinds & FLOATS:
        return _decimals(columns, dialect, scale_of(columns))
    if kinds <= _SMALL:
        return [dialect.double(dialect.value(column)) for column in columns]
    raise ValueError(f"{_listed(columns)} cannot be compared exactly, since a float rounds int64 and decimal")


def _decimals(columns: Sequence[Column], dialect: Dialect, scale: int) -> list[str]:
    if len({column.type for column in columns}) == 1:
        return [dialect.value(column) for column in columns]
    return [dialect.decimal(dialect.value(column), scale) for column in columns]


def addends(columns: Sequence[Column], dialect: Dialect) -> tuple[list[str], LogicalType]:
    """Return numbers in one type whose sum it holds, and that type.

    Raises:
        ValueError: there is none in every store.
    """
    kinds = {column.type.kind for column in columns}
    if kinds & FLOATS:
        if not kinds <= _SMALL:
            raise ValueError(f"{_listed(columns)} cannot be added exactly, since a float rounds int64 and decimal")
        kind = Kind.FLOAT32 if Kind.FLOAT32 in kinds else Kind.FLOAT64
        return [dialect.double(dialect.value(column)) for column in columns], LogicalType(kind)
    scale = scale_of(columns, more=len(str(len(columns))))
    numbers = [dialect.decimal(dialect.value(column), scale) for column in columns]
    return numbers, LogicalType(Kind.DECIMAL, precision=MAX_PRECISION, scale=scale)


def scale_of(columns: Sequence[Column], *, more: int = 0) -> int:
    """Return the scale of the decimal that holds all values, and `more` digits before the point.

    Raises:
        ValueError: it would need more digits than a decimal has.
    """
    scale = max(column.type.scale for column in columns)
    whole = max(_DIGITS.get(c.type.kind, c.type.precision - c.type.scale) for c in columns)
    if whole + scale + more > MAX_PRECISION:
        raise ValueError(f"{_listed(columns)} together need more than {MAX_PRECISION} digits, which no store has")
    return scale


def _listed(columns: Sequence[Column]) -> str:
    return " and ".join(f"{column.name!r} ({column.type})" for column in columns)
