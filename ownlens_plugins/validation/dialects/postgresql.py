"""Rows in PostgreSQL, from 15 on."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import date, time
from typing import Any
from uuid import UUID

from ...contracts import Column, Kind, LogicalType
from ..literals import TEXTS
from .base import Dialect, plain, quoted

_TYPES = {
    Kind.BOOL: "boolean",
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.DECIMAL: "numeric",
    Kind.UUID: "uuid",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.TIMESTAMPTZ: "timestamptz",
}


@dataclass(frozen=True)
class PostgreSQL(Dialect):
    """`schema` is None where the search path finds the relation."""

    schema: str | None = None

    def identifier(self, name: str) -> str:
        return quoted(name)

    def value(self, column: Column) -> str:
        name = quoted(column.name)
        # An owner's collation may hold texts equal that are not the same, and its order is not that of code points.
        return f'({name}::text COLLATE "C")' if column.type.kind in TEXTS else name

    def moment(self, column: Column) -> str:
        return f"{quoted(column.name)}::timestamp"

    def literal(self, value: Any, type_: LogicalType) -> str:
        if isinstance(value, str):
            # With escapes, this means the same whatever the server thinks of backslashes.
            return "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        shown = value.isoformat() if isinstance(value, date | time) else plain(value)
        return f"'{shown}'::{_TYPES[type_.kind]}" if not isinstance(value, UUID) else f"'{value}'::uuid"

    def is_nan(self, expression: str) -> str:
        return f"({expression} = 'NaN')"

    def matches(self, expression: str, regex: str) -> str:
        return f"{expression} ~ {self.literal(regex, LogicalType(Kind.TEXT))}"

    def length(self, expression: str) -> str:
        return f"char_length({expression})"

    def double(self, expression: str) -> str:
        return f"({expression})::double precision"

    def decimal(self, expression: str, scale: int) -> str:  # noqa: ARG002
        return f"({expression})::numeric"

    def text(self, expression: str) -> str:
        return f"({expression})::text"

    def double_text(self, expression: str) -> str:
        # As bytes: a setting of the server, extra_float_digits, may round the text.
        return f"encode(float8send({expression}), 'hex')"

    def read_double(self, text: str) -> float:
        return float(struct.unpack(">d", bytes.fromhex(text))[0])

    def sums(self, expression: str, type_: LogicalType) -> list[tuple[int, str]]:  # noqa: ARG002
        return [(1, self.text(f"sum({expression})"))]

    def variance(self, expression: str) -> str:
        return f"var_samp({expression})"

    def beside(self, table: str) -> str:
        return quoted(table) if self.schema is None else f"{quoted(self.schema)}.{quoted(table)}"
