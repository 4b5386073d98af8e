"""Which types of PostgreSQL a contract's types can take, and as what the driver gets them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ...contracts import Kind, LogicalType


class NativeType(NamedTuple):
    """A column's type in the source; domains count as what lies below them, however deep.

    Names are those of `pg_type`, and spelled with their schema where another schema hides behind a built-in name.
    `element` is the type of an array's items, `of_enum` says that the type or its items are an enum, `of_domain` that
    the items are of a domain. `shown` is the type as its owner knows it.
    """

    name: str
    element: str
    of_enum: bool
    of_domain: bool
    not_null: bool
    shown: str


class Way(Enum):
    """How a value leaves PostgreSQL: as the driver delivers it, as `::text` prints it, or as `to_jsonb` writes it."""

    NATIVE = "native"
    TEXT = "text"
    JSON = "json"


# char(n) comes as `::text` prints it: PostgreSQL itself compares it without the blanks at its end, and a key with them
# would be another key than that of the text column that references it.
_TEXTS = frozenset({"text", "varchar", "bpchar"})
_NAMES = _TEXTS | {"name", "char", "citext"}
_INTEGERS = frozenset({"int2", "int4", "int8"})
# Types that the driver delivers exactly.
_NATIVE: Mapping[Kind, frozenset[str]] = {
    Kind.BOOL: frozenset({"bool"}),
    Kind.INT16: _INTEGERS,
    Kind.INT32: _INTEGERS,
    Kind.INT64: _INTEGERS,
    Kind.FLOAT32: frozenset({"float4"}),
    Kind.FLOAT64: frozenset({"float4", "float8"}),
    Kind.DECIMAL: _INTEGERS | {"numeric"},
    Kind.TEXT: frozenset({"text", "varchar"}),
    Kind.UUID: frozenset({"uuid"}),
    Kind.JSON: frozenset({"jsonb"}),
    Kind.BYTES: frozenset({"bytea"}),
    Kind.DATE: frozenset({"date"}),
    Kind.TIME: frozenset({"time"}),
    Kind.TIMESTAMP: frozenset({"timestamp"}),
    Kind.TIMESTAMPTZ: frozenset({"timestamptz"}),
    Kind.ENUM: frozenset({"text", "varchar"}),
}
# Types whose text the contract's type reads exactly, or refuses row by row.
_AS_TEXT: Mapping[Kind, frozenset[str]] = {
    Kind.INT16: frozenset({"numeric", "oid"}),
    Kind.INT32: frozenset({"numeric", "oid"}),
    Kind.INT64: frozenset({"numeric", "oid"}),
    Kind.UUID: _TEXTS,
    Kind.JSON: _TEXTS | {"json"},
    Kind.ENUM: _NAMES,
}
# Items that JSON writes in one way only. Others (times, bytes) would be texts of a form that nobody asked for.
NUMBERS = frozenset({"numeric", "float4", "float8"})
_IN_JSON = _TEXTS | _INTEGERS | NUMBERS | {"bool", "uuid", "json", "jsonb"}
_NATURAL: Mapping[str, str] = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "oid": "int64",
    "float4": "float32",
    "float8": "float64",
    "numeric": "decimal(p,s)",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
    "bytea": "bytes",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}


def way(wanted: LogicalType, native: NativeType) -> Way | None:
    """Return how values of a column reach a contract's type exactly; None when they cannot."""
    if wanted.element is not None:
        return _plain_way(wanted.element.kind, native.element, native.of_enum) if native.element else None
    if wanted.kind is Kind.JSON and native.element:
        return Way.JSON if native.of_enum or native.element in _IN_JSON else None
    return _plain_way(wanted.kind, native.name, native.of_enum and not native.element)


def _plain_way(kind: Kind, name: str, of_enum: bool) -> Way | None:
    if name in _NATIVE[kind]:
        return Way.NATIVE
    # PostgreSQL prints every type exactly; only bytes have a type of their own that text must not stand for.
    printed = name != "bytea" if kind is Kind.TEXT else of_enum and kind is Kind.ENUM
    return Way.TEXT if printed or name in _AS_TEXT.get(kind, frozenset()) else None


def suiting(native: NativeType) -> str:
    """Return the types of a contract that suit a column, for a message."""
    if native.element:
        item = _NATURAL.get(native.element, "text")
        fitting = [] if item in ("json", "bytes") else [f"array<{item}>"]
        if native.of_enum or native.element in _IN_JSON:
            fitting.append("json")
        return " or ".join([*fitting, "text"])
    if native.of_enum:
        return "enum(...) or text"
    natural = _NATURAL.get(native.name, "text")
    return natural if natural in ("text", "bytes") else f"{natural} or text"
