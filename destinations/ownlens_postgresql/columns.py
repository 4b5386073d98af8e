"""Logical types as PostgreSQL types, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pyarrow as pa

from ownlens_plugins.contracts import Column, Kind, LogicalType, TableContract

# As format_type() spells them, so that a table's columns compare by text.
_NAMES: Mapping[Kind, str] = {
    Kind.BOOL: "boolean",
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.TEXT: "text",
    Kind.UUID: "uuid",
    Kind.JSON: "jsonb",
    Kind.BYTES: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    # Text and a CHECK: labels can be added later without a type of their own to alter.
    Kind.ENUM: "text",
}


def type_name(type_: LogicalType) -> str:
    """Return the PostgreSQL type of a logical type, as `format_type()` prints it."""
    if type_.element is not None:
        return f"{type_name(type_.element)}[]"
    if type_.kind is Kind.DECIMAL:
        return f"numeric({type_.precision},{type_.scale})"
    return _NAMES[type_.kind]


def labels_constraint(column: Column) -> str:
    """Return the name of an enum column's CHECK; it changes with the column's labels."""
    text = "\0".join([column.name, *column.type.labels])
    return f"ownlens_labels_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def enum_columns(contract: TableContract) -> tuple[Column, ...]:
    return tuple(column for column in contract.columns if column.type.kind is Kind.ENUM)


def as_contract(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the driver's batch in contract types. Numeric arrives as text, so that no digit is lost on the way."""
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
