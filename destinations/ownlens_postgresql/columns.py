"""Logical types as PostgreSQL types, and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from ownlens_plugins.contracts import Column, Kind, LogicalType

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


# The integer and floating types, each with those whose every value it holds.
_NARROWER: Mapping[Kind, frozenset[str]] = {
    Kind.INT32: frozenset({"smallint"}),
    Kind.INT64: frozenset({"smallint", "integer"}),
    Kind.FLOAT64: frozenset({"real"}),
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
# The type without the limit holds more. Not so character(5), whose padding a text would keep or lose.
_LIMITED = re.compile(r"(character varying|timestamp|time)(?:\(\d+\))?( with(?:out)? time zone)?")


def wider_than(type_: LogicalType, found: str) -> bool:
    """Tell whether a logical type holds every value of another PostgreSQL type, and stays of its kind."""
    if type_.element is not None:
        return found.endswith("[]") and wider_than(type_.element, found.removesuffix("[]"))
    if type_.kind is Kind.DECIMAL and (match := _NUMERIC.fullmatch(found)):
        precision, scale = int(match[1]), int(match[2])
        return type_.scale >= scale and type_.precision - type_.scale >= precision - scale
    if match := _LIMITED.fullmatch(found):
        return type_name(type_) == {"character varying": "text"}.get(match[1], f"{match[1]}{match[2]}")
    return found in _NARROWER.get(type_.kind, frozenset())


def is_floating(type_: LogicalType) -> bool:
    """Tell whether a type, or that of its elements, is a binary fraction."""
    return (type_.element or type_).kind in (Kind.FLOAT32, Kind.FLOAT64)


def labels_constraint(column: Column, labels: Sequence[str] | None = None) -> str:
    """Return the name of an enum column's CHECK of labels, its own unless others are given; it changes with them."""
    text = "\0".join([column.name, *(column.type.labels if labels is None else labels)])
    return f"ownlens_labels_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def as_contract(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the driver's batch in contract types. Numeric arrives as text, so that no digit is lost on the way."""
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
