"""Values that a contract's checks name, read exactly as a column of their type would hold them."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from ..contracts import Kind, LogicalType

INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64})
FLOATS = frozenset({Kind.FLOAT32, Kind.FLOAT64})
NUMBERS = INTEGERS | FLOATS | {Kind.DECIMAL}
MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
TEXTS = frozenset({Kind.TEXT, Kind.ENUM})

_BITS = {Kind.INT16: 16, Kind.INT32: 32, Kind.INT64: 64}
_LARGEST = {Kind.FLOAT32: (2 - 2**-23) * 2.0**127, Kind.FLOAT64: sys.float_info.max}
# As many digits as every decimal number keeps on its way through a binary one.
_SAFE_DIGITS = 15
_SAFE_INTEGER = 2**53
_EXACT = Context(prec=1000)
_FRACTION = re.compile(r"\.\d{7,}")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range, in the column's own type. `strict` leaves the value itself out."""

    value: Any
    strict: bool = False


def value_of(written: Any, type_: LogicalType) -> Any:
    """Return the value that a contract names, in the column's type.

    Raises:
        ValueError: no column of this type can hold it, or it may not be what was meant.
    """
    if written is None:
        raise ValueError("null is no value to compare with; missing values are never compared")
    return _READERS[type_.kind](written, type_)


def bound_of(written: Any, type_: LogicalType, *, upper: bool, strict: bool) -> Bound | None:
    """Return the bound of a column's values that means what a contract's bound means; None when it bounds nothing.

    A bound between two values of the type becomes its neighbour, one beyond the type its last value.
    """
    if type_.kind not in NUMBERS:
        return Bound(value_of(written, type_), strict)
    return number_bound(number_of(written, type_.kind), type_, upper=upper, strict=strict)


def number_bound(number: Decimal, type_: LogicalType, *, upper: bool, strict: bool) -> Bound | None:
    """Return the bound of a numeric column's values that means what a bound by this number means."""
    least, most = _range(type_)
    if not least <= number <= most:
        return _outside(type_, upper=upper, above=number > most)
    if type_.kind in FLOATS:
        return Bound(_typed(number, type_), strict)
    nearest = number.quantize(Decimal(1).scaleb(-type_.scale), ROUND_FLOOR if upper else ROUND_CEILING, _EXACT)
    return Bound(_typed(nearest, type_), strict and nearest == number)


def _outside(type_: LogicalType, *, upper: bool, above: bool) -> Bound | None:
    last = _typed(_range(type_)[above], type_)
    if upper != above:
        return Bound(last, strict=True)  # no value is left
    return Bound(last) if type_.kind in FLOATS else None  # infinities lie beyond it


def _range(type_: LogicalType) -> tuple[Decimal, Decimal]:
    if type_.kind in INTEGERS:
        return Decimal(-(2 ** (_BITS[type_.kind] - 1))), Decimal(2 ** (_BITS[type_.kind] - 1) - 1)
    most = Decimal(_LARGEST[type_.kind]) if type_.kind in FLOATS else _digits(type_.precision, type_.scale)
    return _EXACT.minus(most), most


def _digits(precision: int, scale: int) -> Decimal:
    return _EXACT.scaleb(Decimal(10**precision - 1), -scale)


def _typed(number: Decimal, type_: LogicalType) -> Any:
    if type_.kind in INTEGERS:
        return int(number)
    return _nearest(number, type_.kind) if type_.kind in FLOATS else number


def _nearest(number: Decimal, kind: Kind) -> float:
    # Through 64 bits as each store would go; a rounding twice differs from one in no number of fewer than 16 digits.
    return float(struct.unpack("<f", struct.pack("<f", float(number)))[0]) if kind is Kind.FLOAT32 else float(number)


def number_of(written: Any, kind: Kind = Kind.FLOAT64) -> Decimal:
    """Return a number exactly as it is written.

    Raises:
        ValueError: it is none, or it has more digits than it kept on its way here.
    """
    if isinstance(written, str):
        return _quoted(written, kind)
    if isinstance(written, bool) or not isinstance(written, int | float | Decimal):
        raise ValueError(f"{_shown(written)} is no number")
    number = Decimal(repr(written)) if isinstance(written, float) else Decimal(written)
    if not number.is_finite():
        raise ValueError(f"{written} bounds nothing and equals nothing; leave it out")
    if isinstance(written, float) and kind not in FLOATS:
        _refuse_lost_digits(written, number)
    return number


def _quoted(written: str, kind: Kind) -> Decimal:
    try:
        number = Decimal(written)
    except InvalidOperation:
        raise ValueError(f"{written!r} is no number") from None
    if kind is not Kind.DECIMAL or not number.is_finite():
        raise ValueError(f"{written!r} is text; write the number without quotes")
    return number


def _refuse_lost_digits(written: float, number: Decimal) -> None:
    whole = written.is_integer() and abs(written) <= _SAFE_INTEGER
    if not whole and len(number.normalize(_EXACT).as_tuple().digits) > _SAFE_DIGITS:
        raise ValueError(f"{written} may have lost digits; write it in quotes for a decimal, and whole for an integer")


def _number(written: Any, type_: LogicalType) -> Any:
    number = number_of(written, type_.kind)
    least, most = _range(type_)
    found = number_bound(number, type_, upper=True, strict=False) if least <= number <= most else None
    if found is None or (type_.kind not in FLOATS and Decimal(found.value) != number):
        raise ValueError(f"{written} is no value of {type_}")
    return found.value


def _text(written: Any, type_: LogicalType) -> str:
    if not isinstance(written, str):
        raise ValueError(f"{_shown(written)} is no {type_.kind}; write it in quotes")
    if "\0" in written or any(0xD800 <= ord(character) < 0xE000 for character in written):
        raise ValueError(f"{written!r} holds a character that no column holds")
    return written


def _bool(written: Any, type_: LogicalType) -> bool:  # noqa: ARG001
    if not isinstance(written, bool):
        raise ValueError(f"{_shown(written)} is no bool; write true or false without quotes")
    return written


def _uuid(written: Any, type_: LogicalType) -> UUID:  # noqa: ARG001
    try:
        return UUID(str(written))
    except ValueError:
        raise ValueError(f"{_shown(written)} is no uuid") from None


def _date(written: Any, type_: LogicalType) -> date:
    if isinstance(written, datetime):
        raise ValueError(f"'{written}' is no date; write it as 2026-01-31")
    return written if isinstance(written, date) else _iso(written, type_, date.fromisoformat, "2026-01-31")


def _time(written: Any, type_: LogicalType) -> time:
    moment = written if isinstance(written, time) else _iso(written, type_, time.fromisoformat, "23:59:59.5")
    if moment.tzinfo is not None:
        raise ValueError(f"{_shown(written)} is no time; leave its zone out")
    return moment


def _timestamp(written: Any, type_: LogicalType) -> datetime:
    moment = _moment(written, type_)
    if moment.tzinfo is not None:
        raise ValueError(f"{_shown(written)} has a zone, and a timestamp has none; leave it out")
    return moment


def _timestamptz(written: Any, type_: LogicalType) -> datetime:
    moment = _moment(written, type_)
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(f"{_shown(written)} is outside of the years 1 to 9999") from None


def _moment(written: Any, type_: LogicalType) -> datetime:
    if isinstance(written, datetime):
        return written
    if isinstance(written, date):
        return datetime(written.year, written.month, written.day)
    moment: datetime = _iso(written, type_, datetime.fromisoformat, "2026-01-31 or 2026-01-31T23:59:59.5")
    return moment


def _iso(written: Any, type_: LogicalType, read: Callable[[str], Any], example: str) -> Any:
    # Python would cut what is finer than a microsecond.
    if isinstance(written, str) and not _FRACTION.search(written):
        try:
            return read(written)
        except ValueError:
            pass
    raise ValueError(f"{_shown(written)} is no {type_.kind}; write it as {example}")


def _shown(written: Any) -> str:
    text = repr(written)
    return text if len(text) <= 60 else f"{text[:57]}..."


_READERS: Mapping[Kind, Callable[[Any, LogicalType], Any]] = {
    **dict.fromkeys(NUMBERS, _number),
    **dict.fromkeys(TEXTS, _text),
    Kind.BOOL: _bool,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamptz,
}
