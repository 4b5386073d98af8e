"""Which constraint rows have violated, and what to do about it: its name alone does not say."""

from __future__ import annotations

from dataclasses import dataclass

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable

from . import sql
from .config import PostgreSQLOptions
from .connection import Connection
from .database import Database
from .errors import FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION, Diagnosis

EXCLUSION_VIOLATION = "23P01"


@dataclass(frozen=True, slots=True)
class Violated:
    """A constraint, or a unique index, as the catalogue describes it. `table` is qualified and quoted.

    `parent` is a foreign key's table, bare, None when it lies in another schema. `elsewhere` says that the constraint
    is another table's: a foreign key to the loaded one, or what a trigger's rows violate.
    """

    table: str
    columns: tuple[str, ...]
    parent: str | None
    parent_columns: tuple[str, ...]
    elsewhere: bool
    drop: str


@dataclass(frozen=True)
class Violations:
    """Explains the refusals of one load."""

    database: Database
    schema: str
    plan: LoadPlan
    options: PostgreSQLOptions

    def explain(self, found: Diagnosis) -> OwnLensError | None:
        """Return the error for a violated constraint; None where its own text says enough.

        It asks the catalogue in a transaction of its own, as the load's can answer nothing any more.
        """
        if found.sqlstate not in (UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION, EXCLUSION_VIOLATION) or not found.constraint:
            return None
        try:
            with self.database.transaction(self.database.context(self.plan.table), reading=True) as connection:
                violated = self._look(connection, found)
        except OwnLensError:
            return None
        if violated is None:
            return None
        if found.sqlstate == FOREIGN_KEY_VIOLATION:
            return self._without_parent(found, violated)
        return self._taken(found, violated)

    def _look(self, connection: Connection, found: Diagnosis) -> Violated | None:
        place = (found.schema or self.schema, found.table or self.plan.table)
        rows = connection.run(_VIOLATED, self.schema, self.plan.table, *place, found.constraint)
        if not rows:
            return None
        table, columns, parent, parent_columns, elsewhere, drop = rows[0]
        return Violated(table, tuple(columns), parent, tuple(parent_columns), elsewhere, drop)

    def _taken(self, found: Diagnosis, violated: Violated) -> Rejected | None:
        is_key = set(violated.columns) == set(self.plan.contract.key) and not violated.elsewhere
        if found.sqlstate == UNIQUE_VIOLATION and is_key:
            return None
        return Rejected(
            f"{self.plan.table}: postgresql refused: {found}; other rows of {violated.table} have the same "
            f"({sql.listed(violated.columns)}), which is not the contract's key: correct the rows in the source, "
            f"or run {violated.drop}"
        )

    def _without_parent(self, found: Diagnosis, violated: Violated) -> OwnLensError:
        where = f"{self.plan.table}: postgresql refused: {found}"
        if violated.elsewhere:
            return Rejected(
                f"{where}; rows of {violated.table} reference ({sql.listed(violated.parent_columns)}) of rows that the "
                f"load changes or deletes: correct these first, or run {violated.drop}"
            )
        if self._is_known(violated) and self.options.enforces_references:
            # Rows without parents were set aside before: a rival load has removed a parent since.
            return Retryable(
                f"{self.plan.table}: postgresql: a parent vanished while the load ran ({found}); run it again"
            )
        return Rejected(f"{where}; {self._advice(violated)}or run {violated.drop}")

    def _is_known(self, violated: Violated) -> bool:
        known = {((ref.column,), ref.table, (ref.parent_column,)) for ref in self.plan.contract.references}
        return (violated.columns, violated.parent, violated.parent_columns) in known

    def _advice(self, violated: Violated) -> str:
        """Return how rows without their parents wait for them, where they can."""
        if self._is_known(violated):
            return "set foreign_keys: enforce, so that rows wait for their parents, "
        if len(violated.columns) > 1 or violated.parent is None:
            return "load the referenced rows first, "
        reference = f"{violated.columns[0]}: {violated.parent}.{violated.parent_columns[0]}"
        return f"add {reference} to the contract's references, so that rows wait for their parents, "


def _names(numbers: str, table: str) -> str:
    return (
        f"ARRAY(SELECT a.attname::text FROM unnest({numbers}) WITH ORDINALITY AS k(number, place) "
        f"JOIN pg_attribute AS a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"
    )


def _elsewhere(table: str) -> str:
    """Return the condition that a table is neither the loaded one nor a part of it."""
    return (
        f"{table} <> loaded.oid AND NOT EXISTS (SELECT FROM pg_partition_tree(loaded.oid) AS t WHERE t.relid = {table})"
    )


_OID = "(SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {})"
_LOADED = _OID.format("n.nspname = $1::text AND c.relname = $2::text")
_NAMED = _OID.format("n.nspname = $3::text AND c.relname = $4::text")

_VIOLATED = f"""
SELECT con.conrelid::regclass::text, {_names("con.conkey", "con.conrelid")},
    (SELECT p.relname::text FROM pg_class AS p JOIN pg_namespace AS n ON n.oid = p.relnamespace
     WHERE p.oid = con.confrelid AND n.nspname = $1::text),
    {_names("con.confkey", "con.confrelid")},
    {_elsewhere("con.conrelid")},
    'ALTER TABLE ' || con.conrelid::regclass::text || ' DROP CONSTRAINT ' || quote_ident(con.conname)
FROM pg_constraint AS con CROSS JOIN {_LOADED} AS loaded
WHERE con.conname = $5::text AND con.conrelid = {_NAMED}
UNION ALL
SELECT i.indrelid::regclass::text, {_names("i.indkey::smallint[]", "i.indrelid")}, NULL, '{{}}',
    {_elsewhere("i.indrelid")},
    'DROP INDEX ' || i.indexrelid::regclass::text
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid CROSS JOIN {_LOADED} AS loaded
WHERE c.relname = $5::text AND i.indrelid = {_NAMED} LIMIT 1
"""
