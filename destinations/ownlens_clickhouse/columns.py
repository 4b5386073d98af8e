"""Logical types in ClickHouse, chosen so that every value they admit is kept exactly.

Timestamps with and without a zone are DateTime64(6, 'UTC'): microseconds from year 0001 to 9999. Times are Time64(6),
which is exact and readable. Text, JSON and bytes are String, which keeps any bytes.
"""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

from ownlens_plugins.contracts import Column, Kind, LogicalType

UuidAs = Literal["uuid", "string"]

_PLAIN: dict[Kind, str] = {
    Kind.BOOL: "Bool",
    Kind.INT16: "Int16",
    Kind.INT32: "Int32",
    Kind.INT64: "Int64",
    Kind.FLOAT32: "Float32",
    Kind.FLOAT64: "Float64",
    Kind.TEXT: "String",
    Kind.JSON: "String",
    Kind.BYTES: "String",
    Kind.ENUM: "String",
    Kind.UUID: "UUID",
    Kind.DATE: "Date32",
    Kind.TIME: "Time64(6)",
    Kind.TIMESTAMP: "DateTime64(6, 'UTC')",
    Kind.TIMESTAMPTZ: "DateTime64(6, 'UTC')",
}
LOW_CARDINALITY_KINDS = frozenset({Kind.TEXT, Kind.ENUM, Kind.INT16, Kind.INT32, Kind.INT64})


def column_type(column: Column, *, low_cardinality: bool, uuid_as: UuidAs) -> str:
    """Return a column's type, spelled as ClickHouse itself spells it in `system.columns`."""
    if column.type.element is not None:
        # Elements of an Arrow list may be null, whatever the contract says about the list.
        return f"Array(Nullable({_scalar(column.type.element, uuid_as)}))"
    name = _scalar(column.type, uuid_as)
    if column.nullable:
        name = f"Nullable({name})"
    return f"LowCardinality({name})" if low_cardinality or column.type.kind is Kind.ENUM else name


def _scalar(logical: LogicalType, uuid_as: UuidAs) -> str:
    if logical.kind is Kind.DECIMAL:
        return f"Decimal({logical.precision}, {logical.scale})"
    if logical.kind is Kind.UUID and uuid_as == "string":
        return "String"
    return _PLAIN[logical.kind]


def needs_flag(column: Column) -> bool:
    """Tell whether NULL needs a column of its own: ClickHouse has no nullable arrays."""
    return column.nullable and column.type.kind is Kind.ARRAY


def is_uuid(column: Column) -> bool:
    """Tell whether a column holds UUIDs or arrays of them."""
    return Kind.UUID in {column.type.kind, column.type.element.kind if column.type.element else None}


def restore(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Give an array that ClickHouse returned its contract type, without changing a value."""
    if array.type == target:
        return array
    if isinstance(target, pa.BaseExtensionType):
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        return pa.ExtensionArray.from_storage(target, restore(storage, target.storage_type))
    if pa.types.is_list(target):
        return pa.ListArray.from_arrays(array.offsets, restore(array.values, target.value_type), type=target)
    if pa.types.is_timestamp(target):
        # Both are microseconds since 1970 in UTC; the contract's naive timestamps were stored as such.
        return array.view(target)
    return array.cast(target)


def without_flagged(array: pa.ListArray, is_null: pa.BooleanArray) -> pa.ListArray:
    """Put back the NULL lists that ClickHouse keeps as empty lists with a flag."""
    if is_null.true_count == 0:
        return array
    return pa.ListArray.from_arrays(array.offsets, array.values, type=array.type, mask=is_null)
