"""Exact casts from the Arrow types that sources deliver to the types of a contract."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ..contracts import Kind, LogicalType
from .json_structure import MAX_DEPTH
from .json_text import canonical_json, check_depth, json_items, json_of
from .refusals import Unfit

Cast = Callable[[pa.Array], pa.Array]
BAD_VALUE = (pa.ArrowInvalid, ValueError, OverflowError)

# Beyond these years at least one destination wraps, clamps or refuses; infinities arrive as values far outside.
_FIRST, _LAST = date(1, 1, 1), date(9999, 12, 31)
_DAY_MICROSECONDS = 86_400_000_000
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?")
# As PostgreSQL, Arrow and people write them; odd positions are true.
_TRUTHS = ("false", "true", "f", "t", "0", "1")


class Incompatible(Exception):
    """A whole column has a type that no exact cast leads from; the message says the fix."""


def caster(wanted: LogicalType, given: pa.DataType, *, checked: bool = False) -> Cast:
    """Return the function that casts an array of type `given` exactly, or raises one of `BAD_VALUE`.

    `checked` leaves out tests of JSON and of NUL in text that the source has already made.

    Raises:
        Incompatible: no exact cast leads from `given` to `wanted`.
    """
    plain = _unwrapped(given)
    if pt.is_null(plain):
        return lambda values: pa.nulls(len(values), wanted.arrow)
    inner = _trusted(wanted, given, plain) if checked else None
    inner = inner or _CASTERS[wanted.kind](wanted, plain)
    if given == wanted.arrow and inner is _same:
        return _same

    def cast(values: pa.Array) -> pa.Array:
        return inner(_unwrap(values, plain))

    _try(cast, wanted, given)
    return cast


def _trusted(wanted: LogicalType, given: pa.DataType, plain: pa.DataType) -> Cast | None:
    if wanted.kind is Kind.TEXT and pt.is_string(plain):
        return _same
    if wanted.kind is Kind.JSON and given == wanted.arrow:
        return lambda values: pa.ExtensionArray.from_storage(wanted.arrow, _not_too_deep(values))
    return None


def _not_too_deep(values: pa.Array) -> pa.Array:
    levels = pc.add(pc.count_substring(values, "["), pc.count_substring(values, "{"))
    # Most values are told by Arrow's count alone.
    for index in pc.indices_nonzero(pc.greater(levels, MAX_DEPTH)).to_pylist():
        check_depth(values[index].as_py())
    return values


def _try(cast: Cast, wanted: LogicalType, given: pa.DataType) -> None:
    # Arrow says only when it casts that it knows no way between two types.
    try:
        cast(pa.nulls(0, given))
    except pa.ArrowNotImplementedError:
        raise _refuse(wanted, "") from None


def _unwrapped(given: pa.DataType) -> pa.DataType:
    if isinstance(given, pa.BaseExtensionType):
        given = given.storage_type
    if pt.is_dictionary(given):
        return _unwrapped(given.value_type)
    if pt.is_large_string(given) or given == pa.string_view():
        return pa.string()
    if pt.is_large_binary(given) or given == pa.binary_view():
        return pa.binary()
    return given


def _unwrap(values: pa.Array, plain: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pt.is_dictionary(values.type):
        return values.dictionary.cast(plain).take(values.indices)
    return values if values.type == plain else values.cast(plain)


def _same(values: pa.Array) -> pa.Array:
    return values


def _to(wanted: LogicalType) -> Cast:
    return lambda values: values.cast(wanted.arrow)


def _refuse(wanted: LogicalType, fix: str) -> Incompatible:
    return Incompatible(fix or f"convert it to {wanted} before")


def _bool(wanted: LogicalType, given: pa.DataType) -> Cast:
    if pt.is_boolean(given):
        return _same
    if pt.is_string(given):
        return _truth
    raise _refuse(wanted, "convert it to true and false")


def _truth(values: pa.Array) -> pa.Array:
    position = pc.index_in(pc.utf8_lower(values), pa.array(_TRUTHS))
    if position.null_count != values.null_count:
        raise Unfit("is neither true nor false")
    return pc.equal(pc.bit_wise_and(position, 1), 1)


def _every(mask: pa.Array) -> bool:
    # With Arrow's own minimum of one value, nothing at all would count as a failure.
    return bool(pc.all(mask, min_count=0).as_py())


def _integer(wanted: LogicalType, given: pa.DataType) -> Cast:
    if given == wanted.arrow:
        return _same
    if pt.is_integer(given) or pt.is_floating(given) or pt.is_decimal(given) or pt.is_string(given):
        return _to(wanted)
    raise _refuse(wanted, "")


def _float(wanted: LogicalType, given: pa.DataType) -> Cast:
    if given == wanted.arrow:
        return _same
    if wanted.kind is Kind.FLOAT32 and pt.is_float64(given):
        return _narrowed
    if pt.is_string(given):
        return lambda values: _finite(values.cast(wanted.arrow), values)
    if pt.is_floating(given) or pt.is_integer(given):
        return _to(wanted)
    raise _refuse(wanted, "use decimal in the contract, or convert it to float")


def _finite(floats: pa.Array, texts: pa.Array) -> pa.Array:
    if not _every(pc.or_(pc.invert(pc.is_inf(floats)), pc.match_substring(texts, "inf", ignore_case=True))):
        raise Unfit("is too great for a float")
    return floats


def _narrowed(values: pa.Array) -> pa.Array:
    narrow = values.cast(pa.float32())
    kept = pc.or_(pc.equal(narrow.cast(pa.float64()), values), pc.is_nan(values))
    if not _every(kept):
        raise Unfit("cannot be a float32 without rounding")
    return narrow


def _decimal(wanted: LogicalType, given: pa.DataType) -> Cast:
    if given == wanted.arrow:
        return _same
    if pt.is_decimal(given):
        return _to(wanted)
    if pt.is_integer(given):
        return lambda values: values.cast(pa.string()).cast(wanted.arrow)
    if pt.is_floating(given):
        # The shortest text that names the float is what its owner meant: 12.34, not 12.339999999999999857…
        wide = pa.float32() if pt.is_float16(given) else given
        return lambda values: values.cast(wide).cast(pa.string()).cast(wanted.arrow)
    if pt.is_string(given):
        return _to(wanted)
    raise _refuse(wanted, "")


def _text(wanted: LogicalType, given: pa.DataType) -> Cast:
    if not pt.is_string(given):
        raise _refuse(wanted, "convert it to text")
    return _without_nul


def _without_nul(values: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring(values, "\0")).as_py():
        raise Unfit("holds a NUL character, which PostgreSQL cannot store")
    return values


def _enum(wanted: LogicalType, given: pa.DataType) -> Cast:
    if not pt.is_string(given):
        raise _refuse(wanted, "convert it to text")
    labels = pa.array(wanted.labels, pa.string())

    def cast(values: pa.Array) -> pa.Array:
        if not _every(pc.or_(pc.is_in(values, labels), pc.is_null(values))):
            raise Unfit("is not one of the enum's labels")
        return values

    return cast


def _uuid(wanted: LogicalType, given: pa.DataType) -> Cast:
    if pt.is_fixed_size_binary(given) and given.byte_width == 16:
        return lambda values: pa.ExtensionArray.from_storage(wanted.arrow, values)
    if pt.is_binary(given):
        return lambda values: pa.ExtensionArray.from_storage(wanted.arrow, values.cast(pa.binary(16)))
    if pt.is_string(given):
        return lambda values: _each(values, wanted, _uuid_bytes, pa.binary(16))
    raise _refuse(wanted, "convert it to 16 bytes or to text")


def _uuid_bytes(text: str) -> bytes:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        raise Unfit("is not a UUID") from None


def _each(values: pa.Array, wanted: LogicalType, convert: Callable[[Any], Any], storage: pa.DataType) -> pa.Array:
    converted = pa.array([None if value is None else convert(value) for value in values.to_pylist()], storage)
    if isinstance(wanted.arrow, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted.arrow, converted)
    return converted


def _json(wanted: LogicalType, given: pa.DataType) -> Cast:
    if pt.is_string(given):
        return lambda values: _each(values, wanted, canonical_json, pa.string())
    if (pt.is_struct(given) or _is_list(given)) and _has_json(given):
        return lambda values: _each(values, wanted, json_of, pa.string())
    raise _refuse(wanted, "convert it to JSON text")


def _is_list(given: pa.DataType) -> bool:
    return bool(pt.is_list(given) or pt.is_large_list(given) or pt.is_fixed_size_list(given))


def _has_json(given: pa.DataType) -> bool:
    """Tell whether every value of a type has one JSON spelling; maps, bytes and times have none or several."""
    if pt.is_struct(given):
        return all(_has_json(field.type) for field in given)
    if _is_list(given):
        return _has_json(given.value_type)
    plain = _unwrapped(given)
    return any(is_kind(plain) for is_kind in (pt.is_boolean, pt.is_integer, pt.is_floating, pt.is_string, pt.is_null))


def _bytes(wanted: LogicalType, given: pa.DataType) -> Cast:
    if pt.is_binary(given):
        return _same
    if pt.is_fixed_size_binary(given):
        return _to(wanted)
    if pt.is_string(given):
        return lambda values: _each(values, wanted, _from_hex, pa.binary())
    raise _refuse(wanted, "")


def _from_hex(text: str) -> bytes:
    try:
        if text.startswith("\\x"):
            return bytes.fromhex(text[2:])
    except ValueError:
        pass
    raise Unfit("is not bytes in hexadecimal, which starts with \\x")


def _date(wanted: LogicalType, given: pa.DataType) -> Cast:
    if not (pt.is_date(given) or pt.is_string(given) or pt.is_timestamp(given)):
        raise _refuse(wanted, "")
    if pt.is_timestamp(given) and given.tz is not None:
        raise _refuse(wanted, "say in which zone the day is meant, and convert it to a date before")

    def cast(values: pa.Array) -> pa.Array:
        dates = values.cast(wanted.arrow)
        if pt.is_timestamp(given) and not _every(pc.equal(dates.cast(given), values)):
            raise Unfit("has a time of day, which a date cannot hold")
        return _within(dates, pa.scalar(_FIRST, pa.date32()), pa.scalar(_LAST, pa.date32()))

    return cast


def _within(values: pa.Array, first: pa.Scalar, last: pa.Scalar) -> pa.Array:
    bounds = pc.min_max(values)
    # Null when there is nothing to compare; the comparison stays in Arrow, which knows no Python overflow.
    low, high = pc.less(bounds["min"], first).as_py(), pc.greater(bounds["max"], last).as_py()
    if low or high:
        raise Unfit("is infinite or outside the years 1 to 9999")
    return values


def _time(wanted: LogicalType, given: pa.DataType) -> Cast:
    if not (pt.is_time(given) or pt.is_string(given)):
        raise _refuse(wanted, "")

    def cast(values: pa.Array) -> pa.Array:
        # Arrow reads no times from text.
        times = _each(values, wanted, _clock, wanted.arrow) if pt.is_string(given) else values
        times = times.cast(wanted.arrow)
        bounds = pc.min_max(times.cast(pa.int64())).as_py()
        if bounds["max"] is not None and bounds["max"] >= _DAY_MICROSECONDS:
            raise Unfit("is 24:00, which is no time of a day")
        if bounds["min"] is not None and bounds["min"] < 0:
            raise Unfit("is negative, which is no time of a day")
        return times

    return cast


def _clock(text: str) -> time:
    try:
        if _CLOCK.fullmatch(text):
            return time.fromisoformat(text)
    except ValueError:
        pass
    raise Unfit("is not a time of a day in the form 12:34:56.123456")


def _timestamp(wanted: LogicalType, given: pa.DataType) -> Cast:
    zoned = wanted.kind is Kind.TIMESTAMPTZ
    if pt.is_timestamp(given) and (given.tz is not None) is not zoned:
        fix = "give it a time zone" if zoned else "convert it to local time without a zone"
        raise _refuse(wanted, fix)
    if not (pt.is_timestamp(given) or pt.is_string(given)):
        raise _refuse(wanted, "")
    tz = UTC if zoned else None
    first = pa.scalar(datetime(1, 1, 1, tzinfo=tz), wanted.arrow)
    last = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=tz), wanted.arrow)
    return lambda values: _within(values.cast(wanted.arrow), first, last)


def _array(wanted: LogicalType, given: pa.DataType) -> Cast:
    element = wanted.element
    assert element is not None
    if pt.is_string(given):
        inner = _array(wanted, pa.list_(pa.string()))
        return lambda values: inner(_each_list(values))
    if not _is_list(given):
        raise _refuse(wanted, "convert it to a list")
    cast_element = caster(element, given.value_type)

    def cast(values: pa.Array) -> pa.Array:
        # Slices carry the parent's offsets and values; flatten drops what lies outside and below nulls.
        sizes = pc.if_else(pc.is_null(values), 0, pc.list_value_length(values))
        ends = pc.cumulative_sum(sizes.cast(pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        return pa.ListArray.from_arrays(
            offsets, cast_element(values.flatten()), type=wanted.arrow, mask=pc.is_null(values)
        )

    return cast


def _each_list(values: pa.Array) -> pa.Array:
    return pa.array([None if text is None else json_items(text) for text in values.to_pylist()], pa.list_(pa.string()))


_CASTERS: dict[Kind, Callable[[LogicalType, pa.DataType], Cast]] = {
    Kind.BOOL: _bool,
    Kind.INT16: _integer,
    Kind.INT32: _integer,
    Kind.INT64: _integer,
    Kind.FLOAT32: _float,
    Kind.FLOAT64: _float,
    Kind.DECIMAL: _decimal,
    Kind.TEXT: _text,
    Kind.UUID: _uuid,
    Kind.JSON: _json,
    Kind.BYTES: _bytes,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamp,
    Kind.ENUM: _enum,
    Kind.ARRAY: _array,
}
