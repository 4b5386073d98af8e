"""What a table shows of a slice, counted where the rows are, so that stores can be compared with one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from ownlens_plugins.api import LoadPlan, TouchedSlice
from ownlens_plugins.contracts import Kind, LogicalType
from ownlens_plugins.powers import SliceCounts

from . import sql
from .catalog import tables_named, unique_keys
from .columns import type_name
from .connection import Connection
from .ledger import Ledger


@dataclass(frozen=True)
class Counting:
    """The rows of one plan's table, as one transaction sees them."""

    connection: Connection
    schema: str
    ledger: Ledger
    plan: LoadPlan

    def count(self) -> SliceCounts:
        """Count rows and keys in the touched slice. A table that no load has made yet has none."""
        oid = tables_named(self.connection, self.schema, [self.plan.table]).get(self.plan.table)
        if oid is None:
            return SliceCounts(0, 0)
        rows, keys = self._visible(oid)
        if not self.ledger.exists(self.connection):
            return SliceCounts(rows, keys)
        return SliceCounts(rows, keys, self._aside(), self._spared())

    @property
    def _table(self) -> str:
        return sql.qualified(self.schema, self.plan.table)

    def _visible(self, oid: int) -> tuple[int, int]:
        key = self.plan.contract.key
        # While the unique key is there, rows are keys.
        unique = frozenset(key) in unique_keys(self.connection, oid)
        keys = "count(*)" if unique else f"count(DISTINCT ({sql.listed(key, 't')}))"
        where = self._within("t.{name}")
        rows = self.connection.run(f"SELECT count(*), {keys} FROM {self._table} AS t WHERE {where}", slow=True)
        return rows[0][0], rows[0][1]

    def _aside(self) -> int:
        contract, quarantine = self.plan.contract, self.ledger.quarantine
        keys = ", ".join(f"q.staged_row ->> {sql.literal(name)}" for name in contract.key)
        held = f"EXISTS (SELECT FROM {self._table} AS t WHERE {sql.same_stored_key(contract, 'q.staged_row', 't')})"
        return self._one(
            f"SELECT count(DISTINCT ({keys})) FROM {quarantine.relation} AS q WHERE {self._of_table()} "
            f"AND {self._within('(q.staged_row ->> {text})::{type}')} AND NOT {held}"
        )

    def _spared(self) -> int:
        contract, spared = self.plan.contract, self.ledger.spared
        return self._one(
            f"SELECT count(*) FROM {spared.relation} AS q JOIN {self._table} AS t "
            f"ON {sql.same_stored_key(contract, 'q.row_key', 't')} WHERE {self._of_table()} "
            f"AND {self._within('t.{name}')}"
        )

    def _one(self, query: str) -> int:
        return int(self.connection.run(query, slow=True)[0][0])

    def _of_table(self) -> str:
        return f"q.table_schema = {sql.literal(self.schema)} AND q.table_name = {sql.literal(self.plan.table)}"

    def _within(self, value: str) -> str:
        """Return the condition of the touched slice; `value` is the column's value, with its name, text and type."""
        touched = self.plan.touched
        if touched is None:
            return "true"
        column = self.plan.contract.column(touched.column)
        named = {"name": sql.quote(column.name), "text": sql.literal(column.name), "type": type_name(column.type)}
        return " AND ".join(bounds(value.format(**named), column.type, touched))


def bounds(value: str, type_: LogicalType, touched: TouchedSlice) -> Iterator[str]:
    """Yield the conditions that a value of a date or time lies in a touched slice."""
    after = None if touched.last == date.max else touched.last + timedelta(days=1)
    yield f"{value} >= {moment_of(touched.first, type_)}"
    if after is not None:
        yield f"{value} < {moment_of(after, type_)}"


def moment_of(day: date, type_: LogicalType) -> str:
    """Return the beginning of a day as a constant of the column's type; days of timestamps are days of UTC."""
    if type_.kind is Kind.DATE:
        return f"date {sql.literal(day.isoformat())}"
    if type_.kind is Kind.TIMESTAMP:
        return f"timestamp {sql.literal(f'{day.isoformat()} 00:00:00')}"
    return f"timestamptz {sql.literal(f'{day.isoformat()} 00:00:00+00')}"
