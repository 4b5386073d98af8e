"""Whether the table that is there can hold a contract's rows: everything that it lacks, and what cures it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ownlens_plugins.contracts import Column, Kind, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import (
    ORDINARY,
    PARTITIONED,
    ExistingColumn,
    ExistingTable,
    inherited_from,
    key_risks,
    keys_over,
    partition_columns,
    rules_of,
    storage_risks,
    unique_keys,
)
from .columns import type_name
from .connection import Connection
from .evolution import can_take_null, can_widen

_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64})
ANEW = "load it with --full-refresh, which gives the table the contract's columns"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a table, and what to do: a statement to `run`, or else to follow an `advice`."""

    what: str
    run: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Fitting:
    """One table and one contract.

    `former` names the columns of all contracts so far, and says which of them the last one has. `updates` says that the
    load may change rows that are there.
    """

    connection: Connection
    schema: str
    contract: TableContract
    existing: ExistingTable
    former: Mapping[str, bool]
    updates: bool

    @property
    def table(self) -> str:
        return sql.qualified(self.schema, self.contract.table)

    def require_loadable(self) -> None:
        """Refuse what no change of columns cures.

        Raises:
            Rejected: all of it, with the cures.
        """
        if self.existing.kind not in (ORDINARY, PARTITIONED):
            advice = "rename what has its name, or rename the contract's table"
            raise self._refused([Problem("is not a table", advice=advice)])
        self._require(
            self._storage_problems(),
            self._key_problems(),
            self._divided_problems(),
            self._generated_problems(),
            self._required_problems(),
            self._inherited_problems(),
        )

    def require_fit(self) -> None:
        """Refuse columns and keys that do not fit and are not made to.

        Raises:
            Rejected: all of them, with the cures.
        """
        self._require(self._missing_problems(), self._column_problems(), self._left_problems(), self._unique_problems())

    def _require(self, *kinds: Iterable[Problem]) -> None:
        if problems := [problem for kind in kinds for problem in kind]:
            raise self._refused(problems)

    def _refused(self, problems: list[Problem]) -> Rejected:
        what = "; it ".join(problem.what for problem in problems)
        advices = "; ".join(dict.fromkeys(problem.advice for problem in problems if problem.advice))
        statements = "; ".join(dict.fromkeys(problem.run for problem in problems if problem.run))
        # The statements last: they are copied from there to the end of the line.
        both = ", or run " if all(problem.advice for problem in problems) else "; and run "
        cures = f"{advices}{both if advices else 'run '}{statements}" if statements else advices
        return Rejected(f"{self.contract.table}: postgresql table {self.schema}.{self.contract.table} {what}; {cures}")

    # --- what no change of columns cures

    def _storage_problems(self) -> Iterator[Problem]:
        for risk in storage_risks(self.connection, self.existing.oid):
            if risk.kind == "unlogged":
                yield Problem(
                    f"keeps {risk.name} UNLOGGED: a crash of the server empties it, and the ledger would not know",
                    f"ALTER TABLE {risk.name} SET LOGGED",
                )
            elif risk.kind == "foreign":
                yield Problem(
                    f"has the foreign table {risk.name} as a partition, which does not commit with the ledger",
                    f"ALTER TABLE {self.table} DETACH PARTITION {risk.name}",
                )
            else:
                yield Problem(
                    f"has the inheritance child {risk.name}, in which no unique key of the table holds: rows would be "
                    "there twice",
                    f"ALTER TABLE {risk.name} NO INHERIT {self.table}",
                )
        for rule in rules_of(self.connection, self.existing.oid):
            yield Problem(
                f"has the rule {rule}, which would do something else than the load, or nothing",
                f"ALTER TABLE {self.table} DISABLE RULE {rule}",
            )

    def _key_problems(self) -> Iterator[Problem]:
        key = sql.listed(self.contract.key)
        for risk in key_risks(self.connection, self.existing.oid, self.contract.key):
            if risk.kind == "deferrable":
                yield Problem(
                    f"has the deferrable constraint {risk.name} over its key, which ON CONFLICT does not take",
                    f"ALTER TABLE {self.table} DROP CONSTRAINT {risk.name}, ADD UNIQUE ({key})",
                )
                continue
            cure = f"DROP INDEX {risk.name}"
            if risk.kind == "column":
                kind = type_name(self.contract.column(risk.column).type)
                column = sql.quote(risk.column)
                cure = f'ALTER TABLE {risk.name} ALTER COLUMN {column} TYPE {kind} COLLATE pg_catalog."default"'
            yield Problem(
                f"compares key column {risk.column!r} by a nondeterministic collation: a row would replace another one",
                cure,
            )

    def _divided_problems(self) -> Iterator[Problem]:
        """PostgreSQL keeps keys unique across partitions only where they hold the columns of the partitions."""
        if self.existing.kind != PARTITIONED:
            return
        columns = partition_columns(self.connection, self.existing.oid)
        if columns is not None and set(columns) <= set(self.contract.key):
            return
        by = "an expression" if columns is None else f"({sql.listed(columns)})"
        rest = "" if columns is None else f"put {by} into the contract's key, or "
        yield Problem(
            f"is partitioned by {by}, so that PostgreSQL cannot keep ({sql.listed(self.contract.key)}) unique in it",
            advice=f"{rest}rename the table, so that the load makes one without partitions",
        )

    def _inherited_problems(self) -> Iterator[Problem]:
        """A partition has the columns of the whole table, and gets no others."""
        lacking = [column.name for column in self.contract.columns if column.name not in self.existing.columns]
        for parent, change in inherited_from(self.connection, self.existing.oid):
            if lacking and "DETACH" in change:
                yield Problem(
                    f"lacks columns {', '.join(map(repr, lacking))}, and is a partition, which gets none of its own",
                    parent + change,
                    f"run {parent} ADD COLUMN for them",
                )

    def _generated_problems(self) -> Iterator[Problem]:
        for column, found in self._pairs():
            name = sql.quote(column.name)
            if found.generated:
                cure = "DROP EXPRESSION" if found.generated == "s" else ""
                yield Problem(
                    f"generates column {column.name!r} itself",
                    f"ALTER TABLE {self.table} " + (f"ALTER COLUMN {name} {cure}" if cure else f"DROP COLUMN {name}"),
                    "take it out of the contract",
                )
            if found.identity == "a" and self.updates and column.name not in self.contract.key:
                yield Problem(
                    f"always generates identity column {column.name!r}, which no load could update",
                    f"ALTER TABLE {self.table} ALTER COLUMN {name} SET GENERATED BY DEFAULT",
                )
            if found.identity and (column.nullable or column.type.kind not in _INTEGERS):
                yield Problem(
                    f"has the identity column {column.name!r}, which holds integers and never NULL",
                    f"ALTER TABLE {self.table} ALTER COLUMN {name} DROP IDENTITY",
                    "say so in the contract",
                )

    def _required_problems(self) -> Iterator[Problem]:
        """Columns of others: those that left the contract are relaxed."""
        asked = [name for name, found in self.existing.columns.items() if self._is_asked_for(name, found)]
        # First: a column of these takes no NULL.
        for what, change in keys_over(self.connection, self.existing.oid, asked):
            yield Problem(
                f"has {what} over a column that the contract lacks",
                f"ALTER TABLE {self.table} {change}",
                "add it there",
            )
        for name in asked:
            found = self.existing.columns[name]
            column = f"ALTER COLUMN {sql.quote(name)}"
            loosened = (
                f"{column} TYPE {found.type}, {column} DROP NOT NULL" if found.domain else f"{column} DROP NOT NULL"
            )
            yield Problem(
                f"requires column {name!r}, which the contract lacks",
                f"ALTER TABLE {self.table} {loosened}",
                "add it there",
            )

    def _is_asked_for(self, name: str, found: ExistingColumn) -> bool:
        known = name in self.contract.column_names or name in self.former
        return not known and found.required and not found.filled

    # --- what a full refresh, or a change of columns, cures

    def _pairs(self) -> list[tuple[Column, ExistingColumn]]:
        there = self.existing.columns
        return [(column, there[column.name]) for column in self.contract.columns if column.name in there]

    def _missing_problems(self) -> Iterator[Problem]:
        for column in self.contract.columns:
            if column.name in self.existing.columns:
                continue
            if self.contract.schema_policy == "freeze":
                yield Problem(
                    f"lacks column {column.name!r}", advice=f"add it, or set schema_policy: evolve, or {ANEW}"
                )
            elif not column.nullable:
                # No contract lets its key be null.
                others = "" if column.name in self.contract.key else f"make it {column.type}? in the contract, or "
                yield Problem(f"lacks column {column.name!r}, which is not nullable", advice=f"{others}{ANEW}")

    def _column_problems(self) -> Iterator[Problem]:
        for column, found in self._pairs():
            kind = type_name(column.type)
            if found.type != kind and not can_widen(self.contract, column, found):
                yield Problem(
                    f"has column {column.name!r} of type {found.type}, but the contract needs {kind}",
                    advice=f"change the contract, or {ANEW}",
                )
            if found.required and column.nullable and not found.identity and not can_take_null(self.contract, found):
                yield Problem(
                    f"does not allow NULL in column {column.name!r}",
                    advice=f"make it {column.type} in the contract, or {ANEW}",
                )

    def _left_problems(self) -> Iterator[Problem]:
        if self.contract.schema_policy != "freeze":
            return
        for name in self.existing.columns:
            if self.former.get(name) and name not in self.contract.column_names:
                yield Problem(
                    f"has column {name!r}, which left the contract", advice=f"set schema_policy: evolve, or {ANEW}"
                )

    def _unique_problems(self) -> Iterator[Problem]:
        if frozenset(self.contract.key) in unique_keys(self.connection, self.existing.oid):
            return
        key = sql.listed(self.contract.key)
        there = all(name in self.existing.columns for name in self.contract.key)
        unique = f"ALTER TABLE {self.table} ADD UNIQUE ({key})" if there else ""
        yield Problem(f"has no unique key ({key})", unique, ANEW)


def immovable(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, names: Iterable[str]
) -> Rejected | None:
    """Return the refusal for columns that PostgreSQL lets nobody alter: of another table's, or of a partition key."""
    fixed = [name for name in names if name in existing.columns and existing.columns[name].fixed]
    if not fixed:
        return None
    table = sql.qualified(schema, contract.table)
    where = f"{contract.table}: postgresql cannot change column{'s' * (len(fixed) > 1)} {', '.join(map(repr, fixed))}"
    if parents := inherited_from(connection, existing.oid):
        run = "; ".join(parent + change for parent, change in parents)
        return Rejected(f"{where} of a table that has them from another one; run {run}, and load again")
    return Rejected(
        f"{where}, by which the table is partitioned; run DROP TABLE {table}, and load again with --full-refresh, "
        "which makes a table without partitions"
    )
