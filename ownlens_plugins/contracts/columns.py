"""The logical types of contract columns and their Arrow types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class Kind(StrEnum):
    """The name of a logical type, without its parameters."""

    BOOL = "bool"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    TEXT = "text"
    UUID = "uuid"
    JSON = "json"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    ENUM = "enum"
    ARRAY = "array"


_PLAIN: dict[Kind, pa.DataType] = {
    Kind.BOOL: pa.bool_(),
    Kind.INT16: pa.int16(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.FLOAT32: pa.float32(),
    Kind.FLOAT64: pa.float64(),
    Kind.TEXT: pa.string(),
    Kind.UUID: pa.uuid(),
    Kind.JSON: pa.json_(pa.string()),
    Kind.BYTES: pa.binary(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.TIMESTAMPTZ: pa.timestamp("us", tz="UTC"),
    Kind.ENUM: pa.string(),
}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_ENUM = re.compile(r"enum\((.*)\)", re.DOTALL)
_ARRAY = re.compile(r"array<(.*)>", re.DOTALL)
MAX_PRECISION = 38


@dataclass(frozen=True, slots=True)
class LogicalType:
    """A column's type as the contract states it, without its nullability."""

    kind: Kind
    precision: int = 0
    scale: int = 0
    labels: tuple[str, ...] = ()
    element: LogicalType | None = None

    def __str__(self) -> str:
        if self.kind is Kind.DECIMAL:
            return f"decimal({self.precision},{self.scale})"
        if self.kind is Kind.ENUM:
            return f"enum({', '.join(self.labels)})"
        if self.element is not None:
            return f"array<{self.element}>"
        return self.kind.value

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which staged parts and `Destination.read` carry this column."""
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(self.precision, self.scale)
        if self.element is not None:
            return pa.list_(self.element.arrow)
        return _PLAIN[self.kind]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract."""

    name: str
    type: LogicalType
    nullable: bool = False

    def __str__(self) -> str:
        return f"{self.type}{'?' if self.nullable else ''}"

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, self.type.arrow, nullable=self.nullable)


def parse_type(text: str) -> tuple[LogicalType, bool]:
    """Read `decimal(12,2)?` as a logical type and whether it may be null.

    Raises:
        ValueError: the text names no logical type.
    """
    body = text.strip()
    nullable = body.endswith("?")
    return _parse_body(body.removesuffix("?").strip()), nullable


def _parse_body(body: str) -> LogicalType:
    if match := _DECIMAL.fullmatch(body):
        return _decimal(int(match[1]), int(match[2]))
    if match := _ENUM.fullmatch(body):
        return _enum(match[1])
    if match := _ARRAY.fullmatch(body):
        return _array(match[1].strip())
    if body in {"decimal", "enum", "array"} or body not in set(Kind):
        if body.count("(") != body.count(")"):
            raise ValueError(f"type {body!r} is cut at its comma; inside of {{ }} quote it, such as 'decimal(12,2)'")
        raise ValueError(f"unknown type {body!r}; known: {_known_types()}")
    return LogicalType(Kind(body))


def _decimal(precision: int, scale: int) -> LogicalType:
    if not 1 <= precision <= MAX_PRECISION or scale > precision:
        raise ValueError(f"decimal({precision},{scale}) needs 1 <= precision <= {MAX_PRECISION} and scale <= precision")
    return LogicalType(Kind.DECIMAL, precision=precision, scale=scale)


def _enum(body: str) -> LogicalType:
    labels = tuple(label.strip() for label in body.split(","))
    if not all(labels) or len(set(labels)) != len(labels):
        raise ValueError("enum(...) needs distinct, non-empty labels")
    return LogicalType(Kind.ENUM, labels=labels)


def _array(body: str) -> LogicalType:
    element = _parse_body(body)
    if element.kind in {Kind.ARRAY, Kind.JSON, Kind.ENUM, Kind.BYTES}:
        raise ValueError(f"array<{body}> is not supported; use json for nested values")
    return LogicalType(Kind.ARRAY, element=element)


def _known_types() -> str:
    plain = [kind.value for kind in _PLAIN if kind is not Kind.ENUM]
    return ", ".join([*plain, "decimal(p,s)", "enum(a, b)", "array<T>"])
