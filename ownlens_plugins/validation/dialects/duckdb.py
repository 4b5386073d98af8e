"""Rows of a store that speaks no SQL, in a table of DuckDB whose columns are named by place: it ignores case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ...contracts import Column, Kind, LogicalType
from ..literals import FLOATS
from .base import DAY_IN_MICROSECONDS, Dialect, as_integer, plain, quoted

# What a sum of up to 10^10 rows can hold.
_SAFE_PRECISION = 28
_HALF = 10**19
_AS_INTEGER = frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_TYPES = {Kind.INT16: "SMALLINT", Kind.INT32: "INTEGER", Kind.INT64: "BIGINT", Kind.FLOAT32: "FLOAT"}


@dataclass(frozen=True)
class DuckDB(Dialect):
    """`places` says which column of the relation is which of the contract."""

    places: Mapping[str, str]

    def identifier(self, name: str) -> str:
        return self.places[name]

    def value(self, column: Column) -> str:
        return self.identifier(column.name)

    def moment(self, column: Column) -> str:
        name = self.identifier(column.name)
        return f"(CAST({name} AS BIGINT) * {DAY_IN_MICROSECONDS})" if column.type.kind is Kind.DATE else name

    def literal(self, value: Any, type_: LogicalType) -> str:
        if type_.kind in _AS_INTEGER:
            return f"CAST({as_integer(value, type_.kind)} AS BIGINT)"
        if isinstance(value, UUID):
            return "'" + "".join(f"\\x{octet:02X}" for octet in value.bytes) + "'::BLOB"
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, bool):
            return str(value).lower()
        return f"CAST('{plain(value)}' AS {_type(type_)})"

    def is_nan(self, expression: str) -> str:
        return f"isnan({expression})"

    def matches(self, expression: str, regex: str) -> str:
        return f"regexp_matches({expression}, {self.literal(regex, LogicalType(Kind.TEXT))})"

    def length(self, expression: str) -> str:
        return f"length({expression})"

    def double(self, expression: str) -> str:
        return f"CAST({expression} AS DOUBLE)"

    def decimal(self, expression: str, scale: int) -> str:
        return f"CAST({expression} AS DECIMAL(38,{scale}))"

    def text(self, expression: str) -> str:
        return f"CAST({expression} AS VARCHAR)"

    def double_text(self, expression: str) -> str:
        return f"CAST({expression} AS VARCHAR)"

    def sums(self, expression: str, type_: LogicalType) -> list[tuple[int, str]]:
        if type_.kind is not Kind.DECIMAL or type_.precision <= _SAFE_PRECISION:
            return [(1, self.text(f"sum({expression})"))]
        # Its sums overflow at 38 digits, so large values are added in pieces.
        whole = f"CAST(trunc({expression}) AS HUGEINT)"
        upper = f"({whole} // CAST({_HALF} AS HUGEINT))"
        return [
            (_HALF, self.text(f"sum({upper})")),
            (1, self.text(f"sum({whole} - {upper} * CAST({_HALF} AS HUGEINT))")),
            (1, self.text(f"sum(CAST({expression} - trunc({expression}) AS DECIMAL(38,{type_.scale})))")),
        ]

    def variance(self, expression: str) -> str:
        return f"var_samp({expression})"

    def beside(self, table: str) -> str:
        return quoted(table)


def _type(type_: LogicalType) -> str:
    if type_.kind is Kind.DECIMAL:
        return f"DECIMAL({type_.precision},{type_.scale})"
    assert type_.kind in FLOATS or type_.kind in _TYPES
    return _TYPES.get(type_.kind, "DOUBLE")
