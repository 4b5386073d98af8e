"""Rows in ClickHouse, whose literals lose fractions of seconds and whose sums wrap around unless they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from typing import Any
from uuid import UUID

from ...contracts import Column, Kind, LogicalType
from ..literals import FLOATS
from .base import DAY_IN_MICROSECONDS, Dialect, as_integer, plain

_TYPES = {
    Kind.INT16: "Int16",
    Kind.INT32: "Int32",
    Kind.INT64: "Int64",
    Kind.FLOAT32: "Float32",
    Kind.FLOAT64: "Float64",
}


@dataclass(frozen=True)
class ClickHouse(Dialect):
    """`null_flags` names the column that is true where an array is NULL, for arrays here cannot be."""

    database: str | None = None
    null_flags: Mapping[str, str] = field(default_factory=dict)

    def identifier(self, name: str) -> str:
        return "`" + _escaped(name, "`") + "`"

    def value(self, column: Column) -> str:
        name, kind = self.identifier(column.name), column.type.kind
        if kind in FLOATS:
            return f"if(isNaN({name}), {name}, {name} + 0)"  # sets and groups would tell -0.0 from 0.0
        if kind is Kind.DATE:
            return f"toInt32({name})"
        if kind in {Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
            return f"toUnixTimestamp64Micro({name})"
        return f"toString({name})" if kind is Kind.UUID else name

    def moment(self, column: Column) -> str:
        value = self.value(column)
        return f"(toInt64({value}) * {DAY_IN_MICROSECONDS})" if column.type.kind is Kind.DATE else value

    def literal(self, value: Any, type_: LogicalType) -> str:
        if isinstance(value, time):
            return f"CAST('{value.isoformat()}' AS Time64(6))"
        if type_.kind in {Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
            return f"toInt64({as_integer(value, type_.kind)})"
        if isinstance(value, str | UUID):
            return "'" + _escaped(str(value), "'") + "'"
        if isinstance(value, bool):
            return str(value).lower()
        return f"CAST('{plain(value)}' AS {_type(type_)})"

    def present(self, column: Column) -> str:
        if column.name in self.null_flags:
            return f"NOT {self.identifier(self.null_flags[column.name])}"
        return super().present(column)

    def is_nan(self, expression: str) -> str:
        return f"isNaN({expression})"

    def matches(self, expression: str, regex: str) -> str:
        return f"match({expression}, {self.literal(regex, LogicalType(Kind.TEXT))})"

    def length(self, expression: str) -> str:
        return f"lengthUTF8({expression})"

    def double(self, expression: str) -> str:
        return f"toFloat64({expression})"

    def decimal(self, expression: str, scale: int) -> str:
        return f"toDecimal128({expression}, {scale})"

    def text(self, expression: str) -> str:
        return f"toString({expression})"

    def double_text(self, expression: str) -> str:
        return f"toString({expression})"

    def sums(self, expression: str, type_: LogicalType) -> list[tuple[int, str]]:
        wide = f"toDecimal256({expression}, {type_.scale})" if type_.kind is Kind.DECIMAL else f"toInt256({expression})"
        return [(1, self.text(f"sum({wide})"))]

    def variance(self, expression: str) -> str:
        return f"varSampStable({expression})"

    def orphans(self, column: str, parent: str, parent_column: str) -> str:
        # As a lookup in a hash table, which is what NOT EXISTS is to PostgreSQL.
        name = self.identifier(column)
        known = f"SELECT {self.identifier(parent_column)} FROM {self.beside(parent)}"
        return f"(SELECT count(*) FROM {self.relation} WHERE {name} IS NOT NULL AND {name} NOT IN ({known}))"

    def beside(self, table: str) -> str:
        name = self.identifier(table)
        return name if not self.database else f"{self.identifier(self.database)}.{name}"


def _type(type_: LogicalType) -> str:
    if type_.kind is Kind.DECIMAL:
        return f"Decimal({type_.precision}, {type_.scale})"
    return _TYPES[type_.kind]


def _escaped(text: str, mark: str) -> str:
    # No percent sign may stand in a statement: the driver takes two of them for one, parameters or not.
    return text.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("%", "\\x25")
