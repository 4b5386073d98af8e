"""The quarantine: rows whose parents are missing, kept aside until the parents come."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Column, TableContract

from . import sql
from .columns import type_name
from .connection import Connection
from .sql import KEPT, REASON, STAGE, listed, literal, quote


class Quarantine:
    """The quarantined rows of the tables of one schema. Each statement is part of a load's transaction."""

    def __init__(self, ledger_schema: str, db_schema: str) -> None:
        self.relation = sql.qualified(ledger_schema, "quarantine")
        self._db_schema = db_schema

    def _place(self, table: str) -> tuple[str, str]:
        return self._db_schema, table

    def holds(self, connection: Connection, table: str) -> bool:
        """Tell whether rows of a table are kept aside."""
        query = f"SELECT EXISTS (SELECT FROM {self.relation} WHERE table_schema = $1::text AND table_name = $2::text)"
        return bool(connection.run(query, *self._place(table))[0][0])

    def restore(self, connection: Connection, contract: TableContract) -> int:
        """Put the table's quarantined rows back into the stage, each with its quarantine id; return how many."""
        # Every value went through PostgreSQL's own text form, which its types read back exactly. A jsonb copy of the
        # row would make one of SQL's NULL and JSON's null.
        values = ", ".join(f"(q.staged_row ->> {literal(c.name)})::{type_name(c.type)}" for c in contract.columns)
        return connection.change(
            f"INSERT INTO {STAGE} ({listed(contract.column_names)}, {KEPT}) SELECT {values}, q.id "
            f"FROM {self.relation} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text",
            *self._place(contract.table),
        )

    def widen(self, connection: Connection, table: str, column: Column, old: str) -> None:
        """Give the rows kept aside the values that a column's wider type has for those of its `old` one.

        The shortest text of a binary fraction, 0.1 say, is another number in the wider type.
        """
        name, place = literal(column.name), "table_schema, table_name, sequence, load_id, reason"
        value = f"(o.staged_row ->> {name})::{old}::{type_name(column.type)}::text"
        # All of them, in their order, as of two with one key the later one counts; a loader may not UPDATE them.
        connection.run(
            f"WITH old AS (DELETE FROM {self.relation} WHERE table_schema = $1::text AND table_name = $2::text "
            f"RETURNING *) INSERT INTO {self.relation} ({place}, staged_row, quarantined_at) "
            f"SELECT {place}, o.staged_row || jsonb_build_object({name}, {value}), o.quarantined_at "
            "FROM old AS o ORDER BY o.id",
            *self._place(table),
            slow=True,
        )

    def breaks_labels(self, connection: Connection, table: str, column: Column) -> bool:
        """Tell whether rows kept aside hold texts in a column that are no label of it."""
        value = f"(q.staged_row ->> {literal(column.name)})"
        query = (
            f"SELECT EXISTS (SELECT FROM {self.relation} AS q WHERE q.table_schema = $1::text "
            f"AND q.table_name = $2::text AND NOT ({sql.is_label(value, column)}))"
        )
        return bool(connection.run(query, *self._place(table))[0][0])

    def keep_orphans(self, connection: Connection, plan: LoadPlan) -> None:
        """Put the staged rows without a parent aside."""
        names = ", ".join(literal(column.name) for column in plan.contract.columns)
        values = ", ".join(f"s.{quote(column.name)}::text" for column in plan.contract.columns)
        connection.run(
            f"INSERT INTO {self.relation} (table_schema, table_name, sequence, load_id, reason, staged_row) "
            f"SELECT $1::text, $2::text, $3::bigint, $4::text, s.{REASON}, "
            f"jsonb_object(ARRAY[{names}], ARRAY[{values}]) "
            f"FROM {STAGE} AS s WHERE s.{REASON} IS NOT NULL AND s.{KEPT} IS NULL",
            *self._place(plan.table),
            plan.sequence,
            plan.load_id,
        )

    def forget_settled(self, connection: Connection, table: str) -> None:
        """Delete quarantined rows that the stage no longer holds as orphans: loaded, overtaken or gone."""
        connection.run(
            f"DELETE FROM {self.relation} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text "
            f"AND NOT EXISTS (SELECT FROM {STAGE} AS s WHERE s.{KEPT} = q.id AND s.{REASON} IS NOT NULL)",
            *self._place(table),
        )

    def forget_unstaged(self, connection: Connection, contract: TableContract) -> None:
        """Delete quarantined rows whose keys are not staged: they are gone, and would come back."""
        connection.run(
            f"DELETE FROM {self.relation} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text "
            f"AND NOT EXISTS (SELECT FROM {STAGE} AS s WHERE {sql.same_stored_key(contract, 'q.staged_row', 's')})",
            *self._place(contract.table),
            slow=True,
        )

    def count_where(self, connection: Connection, table: str, condition: str) -> int:
        """Count the quarantined rows of a table that meet a condition on `q.staged_row`."""
        query = (
            f"SELECT count(*) FROM {self.relation} AS q WHERE q.table_schema = $1::text "
            f"AND q.table_name = $2::text AND {condition}"
        )
        return int(connection.run(query, *self._place(table), slow=True)[0][0])

    def forget_where(self, connection: Connection, table: str, condition: str) -> int:
        """Delete them, and return how many they were."""
        return connection.change(
            f"DELETE FROM {self.relation} AS q WHERE q.table_schema = $1::text "
            f"AND q.table_name = $2::text AND {condition}",
            *self._place(table),
            slow=True,
        )

    def forget_table(self, connection: Connection, table: str) -> None:
        """Delete all quarantined rows of a table."""
        connection.run(
            f"DELETE FROM {self.relation} WHERE table_schema = $1::text AND table_name = $2::text", *self._place(table)
        )
