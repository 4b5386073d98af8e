"""Parts that workers of other processes bring in: each into an UNLOGGED table of its own, which the commit empties.

A worker has a connection and a transaction of its own, so its rows cannot be in the one that commits the load. The
tables lie in the ledger's schema and are named with the load, the attempt and the part; only those that a receipt names
are read. A crash of the server empties them, which is why the rows are counted where they are taken.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ownlens_plugins.api import LoadPlan, Receipt, StagedPart, new_attempt
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_plugins.faults import reach

from . import sql
from .catalog import tables_named
from .columns import type_name
from .config import PostgreSQLConfig
from .connection import Connection
from .database import Database
from .rights import Right, Rights
from .streaming import StagedRows

PREFIX = "_ownlens_part_"
# Longer than any attempt takes; what is older was left by one that died.
OLD_SECONDS = 7 * 86_400
_NAME = re.compile(
    PREFIX + r"(?P<key>[0-9a-f]{8})_(?P<sequence>\d+)_(?P<made>[0-9a-f]{8})_(?P<attempt>[0-9a-f]{8})_[0-9a-f]{8}"
)
_MARKER = "0" * 8


@dataclass(frozen=True)
class Spread:
    """The tables of one attempt. The marker among them says that the attempt is not over."""

    config: PostgreSQLConfig
    plan: LoadPlan
    prefix: str

    @property
    def marker(self) -> str:
        return f"{self.prefix}{_MARKER}"

    def begin(self, database: Database) -> SpreadWriter:
        """Make the marker, and return the writer.

        Raises:
            Rejected: the role may not make tables in the ledger's schema. Retryable: not reachable now.
        """
        context = database.context(self.plan.table)
        schema = self.config.ledger_schema
        with database.transaction(context) as connection:
            Rights(connection, self.config, context).require([Right("SCHEMA", "CREATE", schema)])
            connection.run(f"CREATE UNLOGGED TABLE {sql.qualified(schema, self.marker)} ()")
            _commit(database, connection, self.plan)
        return SpreadWriter(self.config, self.plan, self)

    def end(self, database: Database) -> None:
        """Drop the attempt's tables; a worker that goes on finds the marker gone, and leaves nothing."""
        with database.transaction(database.context(self.plan.table)) as connection:
            schema = self.config.ledger_schema
            drop(connection, schema, _names(connection, schema, self.prefix))
            _commit(database, connection, self.plan)


def spread(config: PostgreSQLConfig, plan: LoadPlan) -> Spread:
    """Name what an attempt at a plan makes."""
    prefix = f"{PREFIX}{_key(config, plan.table)}_{plan.sequence}_{int(time.time()):08x}_{new_attempt()[:8]}_"
    return Spread(config, plan, prefix)


def _key(config: PostgreSQLConfig, table: str) -> str:
    return sha256(f"{config.db_schema}.{table}".encode()).hexdigest()[:8]


@dataclass(frozen=True)
class SpreadWriter:
    """Writes parts from any process. Every call makes a table of its own, so a part written twice is two tables."""

    config: PostgreSQLConfig
    plan: LoadPlan
    spread: Spread

    def write(self, part: StagedPart) -> Receipt:
        """Copy one part into a new table, and name it in the receipt.

        Raises:
            Retryable: it was not written, or the attempt is over. Rejected: PostgreSQL refuses the rows.
        """
        database = Database(self.config)
        name = f"{self.spread.prefix}{secrets.token_hex(4)}"
        with database.transaction(database.context(self.plan.table)) as connection:
            self._copy(connection, name, part)
            # After the rows' long way: a table that is made after the attempt's end would stay.
            if self.spread.marker not in tables_named(connection, self.config.ledger_schema, [self.spread.marker]):
                raise Retryable(f"{self.plan.table}: this attempt at postgresql is over; run the load again")
            _commit(database, connection, self.plan)
        reach("part_written")
        return Receipt(part.part_id, part.rows, {"table": name})

    def _copy(self, connection: Connection, name: str, part: StagedPart) -> None:
        columns = columns_of(self.plan)
        connection.run(_create(self.config.ledger_schema, name, self.plan, columns))
        source = StagedRows(self.plan, [part], columns)
        try:
            sent = connection.copy(name, self.config.ledger_schema, source.reader())
        except Exception:
            if source.error is not None:
                raise source.translated() from source.error
            raise
        if sent != part.rows:
            raise Rejected(
                f"{self.plan.table}: a part for postgresql has {sent} rows and not {part.rows}; the staged set is "
                f"damaged: load it anew with {refresh_options(self.plan.table)}"
            )


def columns_of(plan: LoadPlan) -> tuple[str, ...]:
    """Return the columns that the parts of a plan have."""
    keys_only = plan.covers is not None and plan.covers.keys_only
    return plan.contract.key if keys_only else plan.contract.column_names


def _create(schema: str, name: str, plan: LoadPlan, columns: Iterable[str]) -> str:
    typed = ", ".join(f"{sql.quote(each)} {type_name(plan.contract.column(each).type)}" for each in columns)
    # It is read once and dropped: nothing of it is worth a vacuum.
    return f"CREATE UNLOGGED TABLE {sql.qualified(schema, name)} ({typed}) WITH (autovacuum_enabled = off)"


def _commit(database: Database, connection: Connection, plan: LoadPlan) -> None:
    try:
        database.commit(connection, database.context(plan.table))
    except CommitUnknown as error:  # a table that is there and that no receipt names goes with the attempt
        raise Retryable(str(error)) from None


# --- in the load's own transaction


@dataclass(frozen=True)
class Taken:
    """The tables that receipts name, in the ledger's schema."""

    schema: str
    names: Sequence[str]

    def into(self, connection: Connection, table: str, plan: LoadPlan, columns: Sequence[str] | None) -> int:
        """Move the rows into a table, quoted and with its schema; return how many there were.

        Raises:
            Retryable: a table is gone, or a crash of the server has emptied it.
        """
        listed = sql.listed(columns_of(plan) if columns is None else columns)
        present = tables_named(connection, self.schema, self.names)
        if len(present) < len(set(self.names)):
            raise self._lost(plan)
        moved = 0
        for name in self.names:
            source = sql.qualified(self.schema, name)
            moved += connection.change(f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {source}", slow=True)
        if moved < plan.rows:
            raise self._lost(plan)
        return moved

    @staticmethod
    def _lost(plan: LoadPlan) -> OwnLensError:
        return Retryable(
            f"{plan.table}: postgresql lost rows that workers had brought, by a crash or another attempt; run it again"
        )


def clear_settled(connection: Connection, config: PostgreSQLConfig, table: str, sequence: int) -> None:
    """Drop what attempts at loads up to this one left, in the transaction that settles them."""
    schema = config.ledger_schema
    drop(connection, schema, (name for name, made in _left(connection, config, table) if made.sequence <= sequence))


def left_over(connection: Connection, config: PostgreSQLConfig, table: str, sequence: int) -> list[str]:
    """Return the tables of attempts at loads up to this one, and those that are older than any attempt."""
    oldest = time.time() - OLD_SECONDS
    found = _left(connection, config, table)
    return [name for name, made in found if made.sequence <= sequence or made.moment < oldest]


def drop(connection: Connection, schema: str, names: Iterable[str]) -> None:
    for name in names:
        connection.run(f"DROP TABLE IF EXISTS {sql.qualified(schema, name)}")


@dataclass(frozen=True, slots=True)
class _Made:
    sequence: int
    moment: int


def _left(connection: Connection, config: PostgreSQLConfig, table: str) -> list[tuple[str, _Made]]:
    names = _names(connection, config.ledger_schema, f"{PREFIX}{_key(config, table)}_")
    matches = [found for name in names if (found := _NAME.fullmatch(name))]
    return [(found[0], _Made(int(found["sequence"]), int(found["made"], 16))) for found in matches]


def _names(connection: Connection, schema: str, prefix: str) -> list[str]:
    # The sign behind the last underscore: a range, unlike a pattern, is found in the index of names.
    rows = connection.run(_MADE, schema, prefix, f"{prefix[:-1]}`")
    return [name for (name,) in rows]


_MADE = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind = 'r' AND c.relname >= $2::text::name AND c.relname < $3::text::name
    AND pg_has_role(c.relowner, 'USAGE')
ORDER BY 1
"""
