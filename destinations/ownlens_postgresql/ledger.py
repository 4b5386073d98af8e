"""The ledger: one row per load in the same transaction as its data, one row per table, and the quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Retryable

from .catalog import schema_exists
from .columns import type_name
from .connection import Connection
from .rights import Right
from .sql import KEPT, REASON, STAGE, listed, literal, qualified, quote


@dataclass(frozen=True, slots=True)
class Counts:
    """What a load changed. `released` counts rows of older loads that came back from the quarantine with it."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    released: int = 0


class Ledger:
    """The tables of the ledger schema, for the loaded tables of one schema."""

    def __init__(self, ledger_schema: str, db_schema: str) -> None:
        self.schema = ledger_schema
        self._db_schema = db_schema
        self._loads = qualified(ledger_schema, "loads")
        self._tables = qualified(ledger_schema, "tables")
        self.quarantine = qualified(ledger_schema, "quarantine")

    def exists(self, connection: Connection) -> bool:
        return _DEFINITIONS.keys() <= self._present(connection)

    def create(self, connection: Connection) -> None:
        """Create the schema and its tables where they are missing, in the caller's transaction."""
        if not schema_exists(connection, self.schema):
            connection.run(f"CREATE SCHEMA {quote(self.schema)}")
        present = self._present(connection)
        for name, definition in _DEFINITIONS.items():
            if name not in present:
                connection.run(f"CREATE TABLE {qualified(self.schema, name)} ({definition})")
        if "quarantine" not in present:
            connection.run(f"CREATE INDEX ON {self.quarantine} (table_schema, table_name)")

    def _present(self, connection: Connection) -> set[str]:
        return {name for (name,) in connection.run(_RELATIONS, self.schema)}

    def rights_needed(self) -> Iterator[Right]:
        """Yield the rights on the ledger's tables."""
        for table, privileges in _PRIVILEGES.items():
            yield from (Right("TABLE", privilege, self.schema, table) for privilege in privileges)

    def describe_table(self, connection: Connection, contract: TableContract) -> None:
        """Record a table and the contract it follows."""
        place = self._place(contract.table)
        known = connection.run(
            f"SELECT contract_fingerprint FROM {self._tables} WHERE table_schema = $1::text AND table_name = $2::text",
            *place,
        )
        if known == [(contract.fingerprint,)]:
            return  # an upsert would wait for a running load, which holds the row
        connection.run(
            f"INSERT INTO {self._tables} (table_schema, table_name, columns, contract_fingerprint) "
            "VALUES ($1::text, $2::text, $3::text::jsonb, $4::text) ON CONFLICT (table_schema, table_name) "
            "DO UPDATE SET columns = excluded.columns, contract_fingerprint = excluded.contract_fingerprint",
            *place,
            json.dumps(contract.describe()["columns"]),
            contract.fingerprint,
        )

    def _place(self, table: str) -> tuple[str, str]:
        return self._db_schema, table

    def find(self, connection: Connection, plan: LoadPlan) -> LoadResult | None:
        """Return the load's result, as a replay, when it or a newer load of its table is committed.

        Raises:
            StagedSetChanged: the load is recorded with another digest.
        """
        rows = connection.run(
            f"SELECT sequence, digest, committed_at, rows, rows_inserted, rows_updated, rows_unchanged, rows_deleted, "
            f"rows_rejected, rows_released FROM {self._loads} WHERE table_schema = $1::text AND table_name = $2::text "
            "AND sequence >= $3::bigint ORDER BY sequence LIMIT 1",
            *self._place(plan.table),
            plan.sequence,
        )
        if not rows:
            return None
        sequence, digest, committed_at, *counts = rows[0]
        found = plan.replay(sequence, digest, dict(zip(_COUNTED, counts, strict=True)))
        return replace(found, committed_at=committed_at)

    def lock_table(self, connection: Connection, plan: LoadPlan) -> None:
        """Wait until no other load of the table is running, and keep others out until the transaction ends.

        Raises:
            Retryable: the table's row is gone.
        """
        locked = connection.run(
            f"SELECT 1 FROM {self._tables} WHERE table_schema = $1::text AND table_name = $2::text FOR UPDATE",
            *self._place(plan.table),
        )
        if not locked:
            raise Retryable(f"{plan.table}: {plan.destination} lost its ledger after the load was opened; run it again")

    def claim(self, connection: Connection, plan: LoadPlan) -> bool:
        """Insert the load's row; False when it is there. A rival that inserted it first is waited for."""
        claimed = connection.change(
            f"INSERT INTO {self._loads} (table_schema, table_name, sequence, load_id, digest, strategy, rows, bytes, "
            "contract_fingerprint, ownlens_version) VALUES ($1::text, $2::text, $3::bigint, $4::text, $5::text, "
            "$6::text, $7::bigint, $8::bigint, $9::text, $10::text) ON CONFLICT DO NOTHING",
            *self._place(plan.table),
            plan.sequence,
            plan.load_id,
            plan.digest,
            plan.strategy.value,
            plan.rows,
            plan.bytes,
            plan.contract.fingerprint,
            ownlens_version(),
        )
        return claimed == 1

    def record(self, connection: Connection, plan: LoadPlan, counts: Counts, seconds: float) -> LoadResult:
        """Write the counts into the load's row and the table's row, and return the result."""
        rows = connection.run(
            f"UPDATE {self._loads} SET rows_inserted = $4::bigint, rows_updated = $5::bigint, "
            "rows_unchanged = $6::bigint, rows_deleted = $7::bigint, rows_rejected = $8::bigint, "
            "rows_released = $9::bigint, seconds = $10::float8, committed_at = clock_timestamp() "
            "WHERE table_schema = $1::text AND table_name = $2::text AND sequence = $3::bigint RETURNING committed_at",
            *self._place(plan.table),
            plan.sequence,
            counts.inserted,
            counts.updated,
            counts.unchanged,
            counts.deleted,
            counts.rejected,
            counts.released,
            seconds,
        )
        committed_at: datetime = rows[0][0]
        connection.run(
            f"UPDATE {self._tables} SET last_sequence = $3::bigint, last_load_at = $4::text::timestamptz, "
            "rows_loaded = rows_loaded + $5::bigint WHERE table_schema = $1::text AND table_name = $2::text",
            *self._place(plan.table),
            plan.sequence,
            committed_at.isoformat(),
            counts.inserted - counts.deleted,
        )
        return LoadResult(plan.load_id, plan.digest, plan.rows, committed_at=committed_at, **asdict(counts))

    def record_release(self, connection: Connection, plan: LoadPlan, counts: Counts) -> LoadResult:
        """Add rows that came back to the counts of the table's newest load and of the table."""
        connection.run(
            f"UPDATE {self._loads} SET rows_inserted = rows_inserted + $3::bigint, "
            "rows_updated = rows_updated + $4::bigint, rows_unchanged = rows_unchanged + $5::bigint, "
            "rows_released = rows_released + $6::bigint WHERE table_schema = $1::text AND table_name = $2::text "
            f"AND sequence = (SELECT max(sequence) FROM {self._loads} "
            "WHERE table_schema = $1::text AND table_name = $2::text)",
            *self._place(plan.table),
            counts.inserted,
            counts.updated,
            counts.unchanged,
            counts.released,
        )
        connection.run(
            f"UPDATE {self._tables} SET rows_loaded = rows_loaded + $3::bigint "
            "WHERE table_schema = $1::text AND table_name = $2::text",
            *self._place(plan.table),
            counts.inserted,
        )
        return LoadResult(plan.load_id, plan.digest, 0, **asdict(counts))

    # --- quarantine

    def restore_kept(self, connection: Connection, contract: TableContract) -> int:
        """Put the table's quarantined rows back into the stage, each with its quarantine id; return how many."""
        # Every value went through PostgreSQL's own text form, which its types read back exactly. A jsonb copy of the
        # row would make one of SQL's NULL and JSON's null.
        values = ", ".join(f"(q.staged_row ->> {literal(c.name)})::{type_name(c.type)}" for c in contract.columns)
        return connection.change(
            f"INSERT INTO {STAGE} ({listed(contract.column_names)}, {KEPT}) SELECT {values}, q.id "
            f"FROM {self.quarantine} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text",
            *self._place(contract.table),
        )

    def keep_orphans(self, connection: Connection, plan: LoadPlan) -> None:
        """Put the staged rows without a parent aside."""
        names = ", ".join(literal(column.name) for column in plan.contract.columns)
        values = ", ".join(f"s.{quote(column.name)}::text" for column in plan.contract.columns)
        connection.run(
            f"INSERT INTO {self.quarantine} (table_schema, table_name, sequence, load_id, reason, staged_row) "
            f"SELECT $1::text, $2::text, $3::bigint, $4::text, s.{REASON}, "
            f"jsonb_object(ARRAY[{names}], ARRAY[{values}]) "
            f"FROM {STAGE} AS s WHERE s.{REASON} IS NOT NULL AND s.{KEPT} IS NULL",
            *self._place(plan.table),
            plan.sequence,
            plan.load_id,
        )

    def has_kept(self, connection: Connection, table: str) -> bool:
        """Tell whether rows of a table are in the quarantine."""
        query = f"SELECT EXISTS (SELECT FROM {self.quarantine} WHERE table_schema = $1::text AND table_name = $2::text)"
        return bool(connection.run(query, *self._place(table))[0][0])

    def forget_settled(self, connection: Connection, table: str) -> None:
        """Delete quarantined rows that the stage no longer holds as orphans: loaded or overtaken."""
        connection.run(
            f"DELETE FROM {self.quarantine} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text "
            f"AND NOT EXISTS (SELECT FROM {STAGE} AS s WHERE s.{KEPT} = q.id AND s.{REASON} IS NOT NULL)",
            *self._place(table),
        )


def ownlens_version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"


_COUNTED = ("rows", "inserted", "updated", "unchanged", "deleted", "rejected", "released")

_PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "loads": ("SELECT", "INSERT", "UPDATE"),
    "tables": ("SELECT", "INSERT", "UPDATE"),
    "quarantine": ("SELECT", "INSERT", "DELETE"),
}

_RELATIONS = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1::text
"""

_DEFINITIONS: Mapping[str, str] = {
    "loads": """
        table_schema text, table_name text, sequence bigint, load_id text NOT NULL, digest text NOT NULL,
        strategy text NOT NULL, rows bigint NOT NULL, rows_inserted bigint NOT NULL DEFAULT 0,
        rows_updated bigint NOT NULL DEFAULT 0, rows_unchanged bigint NOT NULL DEFAULT 0,
        rows_deleted bigint NOT NULL DEFAULT 0, rows_rejected bigint NOT NULL DEFAULT 0,
        rows_released bigint NOT NULL DEFAULT 0, bytes bigint NOT NULL, seconds float8 NOT NULL DEFAULT 0,
        contract_fingerprint text NOT NULL, ownlens_version text NOT NULL,
        committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (table_schema, table_name, sequence)""",
    "tables": """
        table_schema text, table_name text, columns jsonb NOT NULL, contract_fingerprint text NOT NULL,
        last_sequence bigint, last_load_at timestamptz, rows_loaded bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (table_schema, table_name)""",
    "quarantine": """
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_schema text NOT NULL, table_name text NOT NULL,
        sequence bigint NOT NULL, load_id text NOT NULL, reason text NOT NULL, staged_row jsonb NOT NULL,
        quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp()""",
}
