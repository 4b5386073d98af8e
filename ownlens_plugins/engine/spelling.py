"""The text of a value as its source prints it, for people who look at refused rows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

# What is left of PostgreSQL's infinities once the driver has moved them from the year 2000 to 1970 and they wrapped.
_DATE_INFINITIES = {-2_147_472_692: "infinity", -2_147_472_691: "-infinity"}
_MOMENT_INFINITIES = {-9_222_425_352_054_775_809: "infinity", -9_222_425_352_054_775_808: "-infinity"}
_WRAPPED_BELOW = -9_222_425_352_054_775_809
_EPOCH = date(1970, 1, 1).toordinal()
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FLOAT32_DIGITS, _FLOAT64_DIGITS = 6, 15
_FLOATS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN", "-nan": "NaN"}
_DAYS_OF_400_YEARS = 146_097
UNREADABLE = "<not readable>"


def texts(values: pa.Array) -> list[str | None]:
    r"""Return each value as PostgreSQL would print it; None for null.

    Arrays and nested values are JSON text whose leaves are such texts. Bytes, and text that is not valid UTF-8, are
    hexadecimal after `\x`.
    """
    return [shape if shape is None or isinstance(shape, str) else _json(shape) for shape in _shapes(values)]


def _json(shape: Any) -> str:
    return json.dumps(shape, ensure_ascii=False)


def _shapes(values: pa.Array) -> list[Any]:
    try:
        return _spelled(values)
    except (pa.ArrowException, ValueError, OverflowError, IndexError):
        return _one_by_one(values)


def _one_by_one(values: pa.Array) -> list[Any]:
    if len(values) > 1:
        return [shape for index in range(len(values)) for shape in _shapes(values.slice(index, 1))]
    return [UNREADABLE] * len(values)


def _spelled(values: pa.Array) -> list[Any]:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _uuids(values.storage) if kind == pa.uuid() else _spelled(values.storage)
    if pt.is_dictionary(kind):
        entries = _shapes(values.dictionary)
        return [None if index is None else entries[index] for index in values.indices.to_pylist()]
    if pt.is_struct(kind):
        return _structs(values)
    if pt.is_map(kind):
        return _maps(values)
    if hasattr(values, "flatten"):
        return _lists(values)
    for is_kind, spell in _LEAVES:
        if is_kind(kind):
            return spell(values)
    return [None if value is None else str(value) for value in values.to_pylist()]


def _each(values: list[Any], spell: Callable[[Any], str]) -> list[Any]:
    return [None if value is None else spell(value) for value in values]


def _uuids(values: pa.Array) -> list[Any]:
    return _each(values.to_pylist(), lambda value: str(uuid.UUID(bytes=value)))


def _structs(values: pa.Array) -> list[Any]:
    names = [values.type.field(number).name for number in range(values.type.num_fields)]
    members = [_shapes(member) for member in values.flatten()]
    valid = values.is_valid().to_pylist()
    return [
        {name: member[row] for name, member in zip(names, members, strict=True)} if valid[row] else None
        for row in range(len(values))
    ]


def _maps(values: pa.Array) -> list[Any]:
    return [
        None if cell is None else [[_scalar(key), _scalar(item)] for key, item in cell] for cell in values.to_pylist()
    ]


def _scalar(value: Any) -> Any:
    return value if value is None else _shapes(pa.array([value]))[0]


def _lists(values: pa.Array) -> list[Any]:
    return [_shapes(cell.values) if cell.is_valid else None for cell in values]


def _bools(values: pa.Array) -> list[Any]:
    return _each(values.to_pylist(), lambda value: "true" if value else "false")


def _floats(values: pa.Array) -> list[Any]:
    wide = values.cast(pa.float32()) if pt.is_float16(values.type) else values
    digits = _FLOAT64_DIGITS if pt.is_float64(values.type) else _FLOAT32_DIGITS
    return _each(wide.cast(pa.string()).to_pylist(), lambda text: _FLOATS.get(text) or _float(text, digits))


def _float(text: str, most: int) -> str:
    """Write a float's shortest digits as PostgreSQL does: with an exponent from `most` digits before the point on."""
    sign, digits, exponent = Decimal(text).normalize().as_tuple()
    assert isinstance(exponent, int)
    shown, power = "".join(map(str, digits)), len(digits) - 1 + exponent
    minus = "-" if sign else ""
    if not any(digits) or -5 < power < most:
        return f"{minus}{Decimal((0, digits, exponent)):f}"
    return f"{minus}{shown[0]}{'.' if len(shown) > 1 else ''}{shown[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _decimals(values: pa.Array) -> list[Any]:
    return _each(values.to_pylist(), lambda value: f"{value:f}")


def _strings(values: pa.Array) -> list[Any]:
    # As bytes: Python refuses a whole array for one text that is not UTF-8.
    binary = pa.large_binary() if pt.is_large_string(values.type) else pa.binary()
    plain = values.cast(pa.string()) if values.type == pa.string_view() else values
    return _each(plain.view(binary).to_pylist(), _decoded)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _hexadecimal(value)


def _hexadecimal(value: bytes) -> str:
    return f"\\x{value.hex()}"


def _binaries(values: pa.Array) -> list[Any]:
    return _each(values.to_pylist(), _hexadecimal)


def _dates(values: pa.Array) -> list[Any]:
    if pt.is_date64(values.type):
        return _each(values.view(pa.int64()).to_pylist(), lambda value: _day(value // 86_400_000))
    return _each(values.view(pa.int32()).to_pylist(), lambda value: _DATE_INFINITIES.get(value) or _day(value))


def _day(days: int) -> str:
    return "".join(_day_and_era(days))


def _day_and_era(days: int) -> Iterator[str]:
    """Yield a day since 1970 as PostgreSQL writes it, and the era that ends its text; Python knows years 1 to 9999."""
    cycles, within = divmod(days + _EPOCH - 1, _DAYS_OF_400_YEARS)
    day = date.fromordinal(within + 1)
    year = day.year + 400 * cycles
    yield f"{year if year > 0 else 1 - year:04d}-{day.month:02d}-{day.day:02d}"
    yield "" if year > 0 else " BC"


def _moments(values: pa.Array) -> list[Any]:
    per_second, zone = _PER_SECOND[values.type.unit], "" if values.type.tz is None else "+00"
    micro = values.type.unit == "us"

    def spell(value: int) -> str:
        if micro and value in _MOMENT_INFINITIES:
            return _MOMENT_INFINITIES[value]
        wrapped = micro and value < _WRAPPED_BELOW
        return _moment(value + 2**64 if wrapped else value, per_second, zone)

    return _each(values.view(pa.int64()).to_pylist(), spell)


def _moment(value: int, per_second: int, zone: str) -> str:
    days, rest = divmod(value, 86_400 * per_second)
    day, era = _day_and_era(days)
    return f"{day} {_clock(rest, per_second)}{zone}{era}"


def _clock(value: int, per_second: int) -> str:
    if value < 0:
        return f"-{_clock(-value, per_second)}"
    seconds, fraction = divmod(value, per_second)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    digits = f"{fraction:0{len(str(per_second)) - 1}d}".rstrip("0") if fraction else ""
    return f"{text}.{digits}" if digits else text


def _times(values: pa.Array) -> list[Any]:
    per_second = _PER_SECOND[values.type.unit]
    plain = values.view(pa.int32() if pt.is_time32(values.type) else pa.int64())
    return _each(plain.to_pylist(), lambda value: _clock(value, per_second))


def _durations(values: pa.Array) -> list[Any]:
    unit = values.type.unit
    return _each(values.view(pa.int64()).to_pylist(), lambda value: f"{value} {unit}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or kind == pa.string_view())


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or kind == pa.binary_view()
    )


_LEAVES: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Any]]], ...] = (
    (_is_text, _strings),
    (pt.is_boolean, _bools),
    (pt.is_floating, _floats),
    (pt.is_decimal, _decimals),
    (_is_bytes, _binaries),
    (pt.is_date, _dates),
    (pt.is_timestamp, _moments),
    (pt.is_time, _times),
    (pt.is_duration, _durations),
)
