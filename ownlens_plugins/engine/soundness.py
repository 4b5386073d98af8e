"""Find values that contradict their own Arrow type: text that is not UTF-8, decimals out of range."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


class Damaged(Exception):
    """An array whose structure contradicts itself. No row of it can be trusted."""


def unsound(values: pa.Array) -> dict[int, str]:
    """Return the rows whose value no store could take, with the reason. Costs one pass when all are good.

    Arrow and Parquet files only promise valid UTF-8: neither writers nor readers check it, and PostgreSQL refuses it.

    Raises:
        Damaged: offsets, indices or lengths are wrong; reading on could leave the process's memory.
    """
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _searched(values)
    return {}


def _searched(values: pa.Array) -> dict[int, str]:
    try:
        values.validate()
        return _rows(values)
    except (pa.ArrowException, IndexError):
        raise Damaged from None


def without(values: pa.Array, rows: dict[int, str]) -> pa.Array:
    """Return the array with null in these rows."""
    if not rows:
        return values
    plain = values.cast(pa.string()) if values.type == pa.string_view() else values
    try:
        return plain.take(pa.array([None if index in rows else index for index in range(len(values))], pa.int64()))
    except pa.ArrowNotImplementedError:  # views inside of lists, for one, cannot be taken from
        nothing = pa.nulls(1, values.type)
        return pa.concat_arrays([nothing if index in rows else values.slice(index, 1) for index in range(len(values))])


def _rows(values: pa.Array) -> dict[int, str]:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return unsound(values.storage)
    if pt.is_dictionary(kind):
        return _dictionary_rows(values)
    if pt.is_struct(kind):
        members = [unsound(member) for member in values.flatten()]
        return {row: reason for member in members for row, reason in member.items()}
    if pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        return _list_rows(values)
    if pt.is_time(kind):
        return {}  # the cast looks at times of a day itself
    if not (_is_text(kind) or pt.is_decimal(kind) or pt.is_date(kind)):
        raise Damaged
    _check_structure(values)
    found: dict[int, str] = {}
    _bisect(values, 0, found)
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or kind == pa.string_view())


def _check_structure(values: pa.Array) -> None:
    # The same buffers read as bytes have everything that text has, but UTF-8.
    if pt.is_string(values.type):
        values.view(pa.binary()).validate(full=True)
    elif pt.is_large_string(values.type):
        values.view(pa.large_binary()).validate(full=True)


def _bisect(values: pa.Array, offset: int, found: dict[int, str]) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        if len(values) == 1:
            found[offset] = _reason(values.type)
            return
        middle = len(values) // 2
        _bisect(values.slice(0, middle), offset, found)
        _bisect(values.slice(middle), offset + middle, found)


def _reason(kind: pa.DataType) -> str:
    if _is_text(kind):
        return "is not valid UTF-8"
    return f"has more digits than {kind}" if pt.is_decimal(kind) else "is not a whole day"


def _dictionary_rows(values: pa.Array) -> dict[int, str]:
    # An entry that no row names harms nobody; an index beyond the entries is read from foreign memory.
    bounds = pc.min_max(values.indices).as_py()
    if bounds["min"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(values.dictionary):
        raise Damaged
    entries = unsound(values.dictionary)
    named = pc.indices_nonzero(pc.is_in(values.indices, pa.array(entries, values.indices.type))).to_pylist()
    return {row: entries[values.indices[row].as_py()] for row in named}


def _list_rows(values: pa.Array) -> dict[int, str]:
    if not pt.is_fixed_size_list(values.type):
        _check_offsets(values)
    valid = pc.indices_nonzero(values.is_valid())
    # Slices carry their parent's values, and nulls may hide some: what is left belongs to the rows of `valid`.
    dense = values.take(valid)
    parents = pc.list_parent_indices(dense)
    return {valid[parents[item].as_py()].as_py(): reason for item, reason in unsound(dense.flatten()).items()}


def _check_offsets(values: pa.Array) -> None:
    offsets = values.offsets
    steps = pc.min_max(pc.subtract(offsets.slice(1), offsets.slice(0, len(offsets) - 1)))
    bounds = pc.min_max(offsets).as_py()
    if (steps["min"].is_valid and steps["min"].as_py() < 0) or bounds["min"] < 0 or bounds["max"] > len(values.values):
        raise Damaged
