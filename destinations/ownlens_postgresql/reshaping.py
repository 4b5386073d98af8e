"""Give a table the contract's columns where columns or rows go: a full refresh, and drop_columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ownlens_plugins.contracts import Column, Kind, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import (
    ExistingColumn,
    ExistingTable,
    find_table,
    foreign_keys_from,
    label_checks,
    primary_key,
    unique_keys,
)
from .columns import labels_constraint, type_name, wider_than
from .connection import Connection
from .dependents import HELD, PINNED, WORDED, Dependent, dependents, references_to, require_none
from .evolution import not_owned
from .fitting import immovable
from .ledger import Ledger
from .references import add_references


@dataclass(frozen=True)
class Reshaping:
    """The change of one table, as it is found, in the caller's transaction: of its `whole` schema, or columns that go.

    Views, indexes, grants, comments and constraints of others stay, or the change is refused with their names: so
    columns are altered in place, and the table is neither dropped nor emptied by TRUNCATE.
    """

    connection: Connection
    schema: str
    contract: TableContract
    existing: ExistingTable
    ledger: Ledger
    whole: bool

    @property
    def table(self) -> str:
        return sql.qualified(self.schema, self.contract.table)

    @cached_property
    def gone(self) -> list[str]:
        """The columns that left the contract. Those of others stay."""
        former = self.ledger.former_columns(self.connection, self.contract.table, self.existing.oid)
        return [name for name in self.existing.columns if name in former and name not in self.contract.column_names]

    @cached_property
    def retyped(self) -> list[tuple[Column, ExistingColumn]]:
        pairs = self._pairs() if self.whole else []
        return [(column, found) for column, found in pairs if found.domain or found.type != type_name(column.type)]

    @cached_property
    def converted(self) -> list[Column]:
        """The columns whose values do not fit into the contract's type."""
        return [
            column
            for column, found in self.retyped
            if found.type != type_name(column.type) and not wider_than(column.type, found.type)
        ]

    @cached_property
    def key_changes(self) -> bool:
        return self.whole and frozenset(self.contract.key) not in unique_keys(self.connection, self.existing.oid)

    @cached_property
    def anew(self) -> bool:
        """Whether no row can stay, since its key would mean nothing."""
        return self.key_changes or any(column.name in self.contract.key for column in self.converted)

    def _pairs(self) -> list[tuple[Column, ExistingColumn]]:
        there = self.existing.columns
        return [(column, there[column.name]) for column in self.contract.columns if column.name in there]

    def check(self) -> bool:
        """Tell whether the table has to change.

        Raises:
            Rejected: something of others stands in the way, or the table is another role's.
        """
        if not (clauses := self._clauses()):
            return False
        if not self.existing.owned:
            change = sql.alter_table(self.table, clauses)
            if self.anew:
                change = f"DELETE FROM {self.table}; {change}"
            raise not_owned(self.contract, self.table, "has other columns or another key than the contract", change)
        changed = [*self.gone, *(column.name for column, _ in self.retyped)]
        if refused := immovable(self.connection, self.schema, self.contract, self.existing, changed):
            raise refused
        self._require_free(changed)
        return True

    def run(self) -> int:
        """Change the table, and return how many rows had to go before.

        Raises:
            Rejected: as `check` says, or rows do not let themselves be deleted.
        """
        if not self.check():
            return 0
        deleted = self._empty() if self.anew else 0
        # PostgreSQL alters no table for which a trigger's event is pending.
        self.connection.run(_AT_ONCE)
        self.connection.run(sql.alter_table(self.table, self._clauses()), slow=True)
        self.ledger.forget_columns(self.connection, self.contract.table, self.gone)
        return deleted

    def _empty(self) -> int:
        self.ledger.spared.forget_table(self.connection, self.contract.table)
        deleted = self.connection.change(f"DELETE FROM {self.table}", slow=True)
        if self.connection.run(f"SELECT EXISTS (SELECT FROM {self.table})", slow=True)[0][0]:
            raise Rejected(
                f"{self.contract.table}: postgresql deleted only {deleted} rows; a trigger of {self.table} keeps the "
                "others: disable it for the loader"
            )
        return deleted

    def _require_free(self, changed: list[str]) -> None:
        pinned = [column.name for column, found in self._loosened() if found.not_null_for_good]
        mine = {*self._outdated(), *self._own_keys()}
        if self.anew:  # an index of no rows takes any type
            mine.add(primary_key(self.connection, self.existing.oid) or "")
        found = dependents(self.connection, self.existing.oid, [*changed, *pinned])
        held = [
            each for each in found if self._holds(each, pinned) and not (each.constraint and each.constraint in mine)
        ]
        # Where no row can stay, those that others reference can neither, nor what identifies them.
        inward = references_to(self.connection, self.existing.oid) if self.anew else []
        require_none(self.contract, [*held, *inward])

    def _holds(self, each: Dependent, pinned: list[str]) -> bool:
        if each.column in self.gone:
            return each.kind in HELD
        if each.column in {column.name for column in self.converted}:
            return each.kind in WORDED
        return each.kind in PINNED or (each.column in pinned and each.kind == "primary key")

    # --- the clauses of one ALTER TABLE, in the order in which PostgreSQL takes them

    def _clauses(self) -> list[str]:
        dropped = [sql.drop_constraint(name) for name in (*self._outdated(), *self._own_keys())]
        loosened = [sql.drop_not_null(column.name) for column, _ in self._loosened()]
        gone = [sql.drop_column(name) for name in self.gone]
        # NULL until the set's rows are there; `finish` says NOT NULL.
        added = [sql.add_column(column, nullable=True) for column in self._added()]
        key = [sql.add_primary_key(self.contract)] if self.key_changes else []
        return [*dropped, *loosened, *gone, *self._types(), *added, *key]

    def _outdated(self) -> list[str]:
        """Return the checks of labels that the contract does not have: those of columns that left it go with these."""
        # A check stands in the way of another type; `finish` makes it again.
        steady = [column for column in self.contract.columns if column not in self.converted]
        kept = {labels_constraint(column) for column in steady if column.type.kind is Kind.ENUM}
        checks = label_checks(self.connection, self.existing.oid)
        return [check.name for check in checks if check.name not in kept and (self.whole or check.column in self.gone)]

    def _own_keys(self) -> list[str]:
        """Return the keys and foreign keys that were made here, and are made again as the contract wants them."""
        converted = {column.name for column in self.converted}
        mine = [
            key.name
            for key in foreign_keys_from(self.connection, self.existing.oid)
            if (set(key.columns) & {*converted, *self.gone} or (self.anew and key.is_own))
            and key.name == f"{self.contract.table}_{key.columns[0]}_fkey"
        ]
        primary = primary_key(self.connection, self.existing.oid) if self.key_changes else None
        return [*mine, *([primary] if primary else [])]

    def _loosened(self) -> list[tuple[Column, ExistingColumn]]:
        if not self.whole:
            return []
        emptied = set() if self.anew else {column.name for column in self.converted}
        return [
            (column, found)
            for column, found in self._pairs()
            if found.required and (column.nullable or column.name in emptied)
        ]

    def _types(self) -> list[str]:
        converted = set(self.converted)
        return [sql.convert(column) if column in converted else sql.set_type(column) for column, _ in self.retyped]

    def _added(self) -> list[Column]:
        there = self.existing.columns
        return [column for column in self.contract.columns if column.name not in there] if self.whole else []


_AT_ONCE = "SET CONSTRAINTS ALL IMMEDIATE"


def finish(connection: Connection, schema: str, contract: TableContract, *, references: bool) -> None:
    """Make a fully refreshed table as strict as the contract, now that it holds the set's rows.

    Rows that stay for others, which the set does not hold, are exempt.
    """
    existing = find_table(connection, schema, contract.table)
    if existing is None or not existing.owned:
        return
    table = sql.qualified(schema, contract.table)
    if clauses := [*_strict(connection, table, contract, existing), *_labelled(connection, table, contract, existing)]:
        connection.run(_AT_ONCE)
        connection.run(sql.alter_table(table, clauses), slow=True)
    if references:
        add_references(connection, schema, contract, existing)


def _strict(connection: Connection, table: str, contract: TableContract, existing: ExistingTable) -> Iterator[str]:
    for column in contract.columns:
        if not column.nullable and not existing.columns[column.name].required:
            query = f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t.{sql.quote(column.name)} IS NULL)"
            if not connection.run(query, slow=True)[0][0]:
                yield sql.set_not_null(column.name)


def _labelled(connection: Connection, table: str, contract: TableContract, existing: ExistingTable) -> Iterator[str]:
    present = {check.name for check in label_checks(connection, existing.oid)}
    for column in contract.columns:
        if column.type.kind is Kind.ENUM and labels_constraint(column) not in present:
            broken = connection.run(sql.breaks_labels(table, column), slow=True)[0][0]
            yield sql.add_labels(column, validated=not broken)
