"""What every store can be asked, in the SQL that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from ...contracts import Column, Kind, LogicalType
from ..literals import FLOATS, MOMENTS

_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Dialect(ABC):
    """Expressions about the columns of one relation, spelt for one store.

    `value` is the form in which a column is compared, and `literal` the same form of a value: times as integers where
    the store would round or shift them, text by its code points, -0.0 as 0.0. Counts and texts are all that leaves the
    store, so that no driver converts a number.
    """

    relation: str

    @abstractmethod
    def identifier(self, name: str) -> str: ...

    @abstractmethod
    def value(self, column: Column) -> str: ...

    @abstractmethod
    def literal(self, value: Any, type_: LogicalType) -> str: ...

    @abstractmethod
    def is_nan(self, expression: str) -> str: ...

    @abstractmethod
    def matches(self, expression: str, regex: str) -> str: ...

    @abstractmethod
    def length(self, expression: str) -> str:
        """Count characters (code points)."""

    @abstractmethod
    def double(self, expression: str) -> str: ...

    @abstractmethod
    def decimal(self, expression: str, scale: int) -> str:
        """Convert a number to a decimal of 38 digits."""

    @abstractmethod
    def text(self, expression: str) -> str:
        """Convert an exact number to text."""

    @abstractmethod
    def double_text(self, expression: str) -> str:
        """Convert a floating number to text; `read_double` reads it."""

    def read_double(self, text: str) -> float:
        return float(text)

    @abstractmethod
    def sums(self, expression: str, type_: LogicalType) -> list[tuple[int, str]]:
        """Return (weight, aggregate as text) whose weighted sum is the exact sum of integers or decimals."""

    @abstractmethod
    def variance(self, expression: str) -> str:
        """Return the sample variance of doubles, by a method that is stable."""

    def statement(self, questions: Sequence[str]) -> str:
        """Return the statement that answers questions in one row, after a count of rows.

        The count makes it one row when all questions are queries of their own.
        """
        return f"SELECT count(*), {', '.join(questions)} FROM {self.relation}"

    def present(self, column: Column) -> str:
        """Return the condition that a column has a value."""
        return f"{self.identifier(column.name)} IS NOT NULL"

    def is_infinite(self, expression: str) -> str:
        return f"abs({expression}) = {self.literal(float('inf'), LogicalType(Kind.FLOAT64))}"

    def one_of(self, expression: str, values: Sequence[Any], type_: LogicalType) -> str:
        return f"{expression} IN ({', '.join(self.literal(value, type_) for value in dict.fromkeys(values))})"

    def moment(self, column: Column) -> str:
        """Return a date or timestamp without a zone so that both can be compared."""
        return self.value(column)

    def orphans(self, column: str, parent: str, parent_column: str) -> str:
        """Count rows that name a parent which is not there."""
        child, known = self.identifier(column), self.identifier(parent_column)
        lost = f"NOT EXISTS (SELECT 1 FROM {self.beside(parent)} AS parents WHERE parents.{known} = children.{child})"
        return f"(SELECT count(*) FROM {self.relation} AS children WHERE children.{child} IS NOT NULL AND {lost})"

    @abstractmethod
    def beside(self, table: str) -> str:
        """Return the full name of a table that lies beside the relation."""

    def counted(self, condition: str) -> str:
        return f"count(*) FILTER (WHERE {condition})"

    def comparable(self, column: Column) -> str:
        """Return the condition that a value takes part in an order: it is there, and it is not NaN."""
        if column.type.kind not in FLOATS:
            return self.present(column)
        return f"({self.present(column)} AND NOT {self.is_nan(self.value(column))})"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def plain(value: Any) -> str:
    """Return a value as text that every store reads exactly; decimals without an exponent."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def as_integer(value: date | time, kind: Kind) -> int:
    """Return days or microseconds since 1970, or since midnight."""
    if kind is Kind.TIME:
        assert isinstance(value, time)
        return (datetime.combine(_EPOCH, value) - _EPOCH) // timedelta(microseconds=1)
    assert kind in MOMENTS
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1)
    assert isinstance(value, date)
    return (value - _EPOCH.date()).days


DAY_IN_MICROSECONDS = 86_400_000_000
