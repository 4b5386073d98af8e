"""Contract types and their lake types. The lake holds only what Delta can hold and every reader understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ownlens_plugins.contracts import Column, Kind, LogicalType, TableContract
from ownlens_plugins.errors import Rejected

# Delta has no uuid, json, enum or time. Text and microseconds since midnight (an int64) lose nothing and need no
# extension; files that carry `arrow.uuid` cannot be read back from a Delta table.
_LAKE: dict[Kind, pa.DataType] = {
    Kind.UUID: pa.string(),
    Kind.JSON: pa.string(),
    Kind.ENUM: pa.string(),
    Kind.TIME: pa.int64(),
}
TAG = "ownlens.type"

_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)
_NIBBLE = np.full(256, 255, np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _NIBBLE[ord(_digit)] = int(_digit, 16)
_PLACES = np.array([place for place in range(36) if place not in {8, 13, 18, 23}])
_DASHES = np.array([8, 13, 18, 23])
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_NIL = "00000000-0000-0000-0000-000000000000"


def lake_type(kind: LogicalType) -> pa.DataType:
    """Return the Arrow type in which the lake's files carry a logical type."""
    if kind.element is not None:
        return pa.list_(pa.field("element", lake_type(kind.element)))
    return _LAKE.get(kind.kind, kind.arrow)


def tag(kind: LogicalType) -> str:
    """Return the text that the lake keeps beside a column, so that text and uuid stay apart. Enums leave out labels."""
    return Kind.ENUM.value if kind.kind is Kind.ENUM else str(kind)


def lake_field(column: Column) -> pa.Field:
    return pa.field(column.name, lake_type(column.type), nullable=column.nullable, metadata={TAG: tag(column.type)})


def lake_schema(contract: TableContract) -> pa.Schema:
    """Return the schema of a contract's columns as the lake holds them, without derived partition columns."""
    return pa.schema([lake_field(column) for column in contract.columns])


def to_lake(contract: TableContract, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert a staged batch into lake types.

    Raises:
        Rejected: a column that must not be null holds a null.
    """
    there = by_name(batch)
    arrays = [_lake_array(contract, column, there[column.name]) for column in contract.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=lake_schema(contract))


def by_name(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return a batch's columns by name. Asking the batch for each takes time with the square of their number."""
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def keys_to_lake(contract: TableContract, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the key columns of a batch in lake types, in the order of the contract's key.

    Raises:
        Rejected: one of them holds a null.
    """
    arrays = [_lake_array(contract, contract.column(name), batch.column(name)) for name in contract.key]
    return pa.RecordBatch.from_arrays(arrays, schema=key_schema(contract))


def key_schema(contract: TableContract) -> pa.Schema:
    """Return the lake's schema of a contract's key columns, in the order of the key."""
    return pa.schema([lake_field(contract.column(name)) for name in contract.key])


def _lake_array(contract: TableContract, column: Column, array: pa.Array) -> pa.Array:
    if array.null_count and not column.nullable:
        raise Rejected(f"{contract.table}: s3 refuses nulls in {column.name!r}; declare it nullable or stage again")
    return _converted(array, column.type, _OUT, lake_type)


def from_lake(contract: TableContract, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert a batch of the lake into contract types and order; columns that it lacks are null."""
    there = by_name(batch)
    arrays = [
        _restored(there[column.name], column.type)
        if column.name in there
        else pa.nulls(batch.num_rows, column.type.arrow)
        for column in contract.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=contract.arrow_schema)


def _restored(array: pa.Array, kind: LogicalType) -> pa.Array:
    # Readers may hand out views and other names for list elements; the cast leaves only the lake's own types.
    return _converted(array.cast(lake_type(kind)), kind, _IN, lambda wanted: wanted.arrow)


Convert = Callable[[pa.Array], pa.Array]


def _converted(
    array: pa.Array, kind: LogicalType, by_kind: dict[Kind, Convert], typed: Callable[[LogicalType], pa.DataType]
) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if kind.element is not None:
        return _list(array, kind, by_kind, typed)
    convert = by_kind.get(kind.kind)
    return array if convert is None else convert(array)


def _list(array: pa.Array, kind: LogicalType, by_kind: dict[Kind, Convert], typed: Any) -> pa.Array:
    assert kind.element is not None
    if kind.element.kind not in by_kind:
        return array.cast(typed(kind))
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))]).astype(np.int32)
    values = _converted(array.flatten(), kind.element, by_kind, typed)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=typed(kind), mask=array.is_null())


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def _text_of_uuid(array: pa.Array) -> pa.Array:
    raw = _storage(array)
    count = len(raw)
    if raw.null_count == count:
        return pa.nulls(count, pa.string())
    octets = np.frombuffer(raw.buffers()[1], np.uint8, count=16 * count, offset=16 * raw.offset).reshape(count, 16)
    digits = _HEX.take(octets).view(np.uint8)
    text = np.full((count, 36), ord("-"), np.uint8)
    for dashes, (start, end) in enumerate(_GROUPS):
        text[:, start + dashes : end + dashes] = digits[:, start:end]
    array = pa.Array.from_buffers(pa.binary(36), count, [None, pa.py_buffer(text)]).cast(pa.string())
    return pc.if_else(raw.is_valid(), array, None) if raw.null_count else array


def _uuid_of_text(array: pa.Array) -> pa.Array:
    filled = pc.fill_null(array, _NIL) if array.null_count else array
    octets = _octets(filled)
    storage = pa.Array.from_buffers(pa.binary(16), len(array), [None, pa.py_buffer(octets)])
    if array.null_count:
        storage = pc.if_else(array.is_valid(), storage, None)
    return pa.ExtensionArray.from_storage(pa.uuid(), storage.cast(pa.binary(16)))


def _octets(array: pa.Array) -> np.ndarray:
    """Return the 16 bytes of each uuid text, as one contiguous array of shape (rows, 16)."""
    try:
        fixed = array.cast(pa.binary(36))
    except pa.ArrowInvalid:
        raise ValueError("a uuid column holds text that is not a uuid") from None
    count = len(fixed)
    if count == 0:
        return np.empty((0, 16), np.uint8)
    text = np.frombuffer(fixed.buffers()[1], np.uint8, count=36 * count, offset=36 * fixed.offset).reshape(count, 36)
    nibbles = _NIBBLE[text[:, _PLACES]]
    if (nibbles == 255).any() or (text[:, _DASHES] != ord("-")).any():
        raise ValueError("a uuid column holds text that is not a uuid")
    return np.ascontiguousarray(nibbles[:, 0::2] << 4 | nibbles[:, 1::2])


def _json_of_text(array: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.json_(pa.string()), array)


_OUT: dict[Kind, Convert] = {
    Kind.UUID: _text_of_uuid,
    Kind.JSON: _storage,
    Kind.TIME: lambda array: array.cast(pa.int64()),
}
_IN: dict[Kind, Convert] = {
    Kind.UUID: _uuid_of_text,
    Kind.JSON: _json_of_text,
    Kind.TIME: lambda array: array.cast(pa.time64("us")),
}
