"""The ledger: one row per load in the same transaction as its data, and one row per table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import adbc_driver_manager as adbc

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected, Retryable

from .catalog import schema_exists
from .connection import Connection
from .errors import FORBIDDEN
from .quarantine import Quarantine
from .rights import Right
from .sparing import Spared
from .sql import qualified, quote


@dataclass(frozen=True, slots=True)
class Counts:
    """What a load changed.

    `released` counts rows of older loads that came back from the quarantine with it, `spared` rows that are gone from
    the source and stay.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    released: int = 0
    spared: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger says about a table: its oid, None in a ledger of an older version, and the rows of its loads.

    `loaded` says that a load is recorded.
    """

    oid: int | None
    rows: int
    loaded: bool


class Ledger:
    """The tables of the ledger schema, for the loaded tables of one schema."""

    def __init__(self, ledger_schema: str, db_schema: str) -> None:
        self.schema = ledger_schema
        self._db_schema = db_schema
        self._loads = qualified(ledger_schema, "loads")
        self._tables = qualified(ledger_schema, "tables")
        self.quarantine = Quarantine(ledger_schema, db_schema)
        self.spared = Spared(ledger_schema, db_schema)

    def exists(self, connection: Connection) -> bool:
        """Tell whether the ledger is there, with all that this version needs of it."""
        return _DEFINITIONS.keys() <= self._present(connection) and not self._lacking(connection)

    def has_loads(self, connection: Connection) -> bool:
        """Tell whether any version's ledger is there."""
        return {"loads", "tables"} <= self._present(connection)

    def create(self, connection: Connection) -> None:
        """Create the schema and its tables where they are missing, in the caller's transaction."""
        if not schema_exists(connection, self.schema):
            connection.run(f"CREATE SCHEMA {quote(self.schema)}")
        present = self._present(connection)
        for name, definition in _DEFINITIONS.items():
            if name not in present:
                connection.run(f"CREATE TABLE {qualified(self.schema, name)} ({definition})")
                if name in _KEPT_BY_TABLE:
                    connection.run(f"CREATE INDEX ON {qualified(self.schema, name)} (table_schema, table_name)")
        for change in self._lacking(connection):
            self._widen(connection, change)

    def _widen(self, connection: Connection, change: str) -> None:
        """Add a column to a ledger that an older version made."""
        try:
            connection.run(change)
        except adbc.Error as error:
            if error.sqlstate != FORBIDDEN:
                raise
            raise Rejected(
                f"postgresql: the ledger lacks a column, and belongs to another role, which must run {change}"
            ) from None

    def _lacking(self, connection: Connection) -> list[str]:
        """Return the statements that bring the ledger of an older version up to this one."""
        columns = {(table, column) for table, column in connection.run(_COLUMNS, self.schema)}
        return [
            f"ALTER TABLE {qualified(self.schema, table)} ADD COLUMN IF NOT EXISTS {column} {kind}"
            for table, column, kind in _ADDED
            if (table, column) not in columns
        ]

    def unlogged(self, connection: Connection) -> str | None:
        """Return a table of the ledger that a crash of the server would empty, quoted, or None."""
        rows = connection.run(_UNLOGGED, self.schema)
        names = [name for (name,) in rows if name in _DEFINITIONS]
        return qualified(self.schema, names[0]) if names else None

    def _present(self, connection: Connection) -> set[str]:
        return {name for (name,) in connection.run(_RELATIONS, self.schema)}

    def rights_needed(self) -> Iterator[Right]:
        """Yield the rights on the ledger's tables."""
        for table, privileges in _PRIVILEGES.items():
            yield from (Right("TABLE", privilege, self.schema, table) for privilege in privileges)

    def describe_table(self, connection: Connection, contract: TableContract, oid: int, *, made: bool) -> None:
        """Record a table, which may have been `made` just now, and the contract it follows.

        The oid of a table that is known stays: only a load, which fills it, makes another table the known one. Columns
        of older contracts stay too, without a type: they are the loader's to drop.
        """
        place = self._place(contract.table)
        known = connection.run(
            f"SELECT contract_fingerprint FROM {self._tables} WHERE table_schema = $1::text AND table_name = $2::text",
            *place,
        )
        if known == [(contract.fingerprint,)] and not made:
            return  # an upsert would wait for a running load, which holds the row
        former = "'{}'" if made else _FORMER
        connection.run(
            f"INSERT INTO {self._tables} AS t (table_schema, table_name, columns, contract_fingerprint, table_oid) "
            "VALUES ($1::text, $2::text, $3::text::jsonb, $4::text, $5::bigint) ON CONFLICT (table_schema, table_name) "
            f"DO UPDATE SET columns = {former} || excluded.columns, "
            "contract_fingerprint = excluded.contract_fingerprint",
            *place,
            json.dumps(contract.describe()["columns"]),
            contract.fingerprint,
            oid,
        )

    def former_columns(self, connection: Connection, table: str, oid: int) -> dict[str, bool]:
        """Return the columns that contracts of a table had so far, and whether the last one has them."""
        return dict(
            connection.run(
                f"SELECT c.key, c.value <> 'null' FROM {self._tables} AS t CROSS JOIN jsonb_each(t.columns) AS c "
                "WHERE t.table_schema = $1::text AND t.table_name = $2::text "
                "AND coalesce(t.table_oid, $3::bigint) = $3::bigint",
                *self._place(table),
                oid,
            )
        )

    def forget_columns(self, connection: Connection, table: str, names: Iterable[str]) -> None:
        """Forget columns that were dropped: one of that name that comes later is somebody else's."""
        connection.run(
            f"UPDATE {self._tables} SET columns = columns - ARRAY(SELECT jsonb_array_elements_text($3::text::jsonb)) "
            "WHERE table_schema = $1::text AND table_name = $2::text",
            *self._place(table),
            json.dumps(list(names)),
        )

    def position(self, connection: Connection, table: str) -> int:
        """Return the highest sequence of a table's loads, 0 when there is none."""
        query = f"SELECT max(sequence) FROM {self._loads} WHERE table_schema = $1::text AND table_name = $2::text"
        return int(connection.run(query, *self._place(table))[0][0] or 0)

    def known(self, connection: Connection, table: str) -> Known | None:
        """Return what is recorded about a table."""
        # As a document: a ledger of an older version lacks the column, until a load may add it.
        rows = connection.run(
            "SELECT (to_jsonb(t) ->> 'table_oid')::bigint, t.rows_loaded, t.last_sequence IS NOT NULL "
            f"FROM {self._tables} AS t WHERE t.table_schema = $1::text AND t.table_name = $2::text",
            *self._place(table),
        )
        return Known(*rows[0]) if rows else None

    def adopt(self, connection: Connection, table: str, oid: int) -> bool:
        """Record that the table has this oid from now on; tell whether that was done."""
        changed = connection.change(
            f"UPDATE {self._tables} SET table_oid = $3::bigint WHERE table_schema = $1::text AND table_name = $2::text",
            *self._place(table),
            oid,
        )
        return changed == 1

    def has_aside(self, connection: Connection, table: str) -> bool:
        """Tell whether rows of a table wait in the quarantine, or are spared."""
        if self.quarantine.holds(connection, table):
            return True
        return "spared" in self._present(connection) and self.spared.holds(connection, table)

    def forget_loads(self, connection: Connection, table: str) -> None:
        """Forget all loads of a table that is no longer there, and what was kept of their rows."""
        place = self._place(table)
        self.quarantine.forget_table(connection, table)
        self.spared.forget_table(connection, table)
        connection.run(f"DELETE FROM {self._loads} WHERE table_schema = $1::text AND table_name = $2::text", *place)
        connection.run(
            f"UPDATE {self._tables} SET last_sequence = NULL, last_load_at = NULL, rows_loaded = 0 "
            "WHERE table_schema = $1::text AND table_name = $2::text",
            *place,
        )

    def _place(self, table: str) -> tuple[str, str]:
        return self._db_schema, table

    def find(self, connection: Connection, plan: LoadPlan) -> LoadResult | None:
        """Return the load's result, as a replay, when it or a newer load of its table is committed.

        Raises:
            StagedSetChanged: the load is recorded with another digest.
        """
        rows = connection.run(
            "SELECT sequence, digest, committed_at, rows, rows_inserted, rows_updated, rows_unchanged, rows_deleted, "
            "rows_rejected, rows_released, coalesce((to_jsonb(l) ->> 'rows_spared')::bigint, 0) "
            f"FROM {self._loads} AS l WHERE table_schema = $1::text AND table_name = $2::text "
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
        if not self.wait_for_loads(connection, plan.table):
            raise Retryable(f"{plan.table}: {plan.destination} lost its ledger after the load was opened; run it again")

    def wait_for_loads(self, connection: Connection, table: str) -> bool:
        """Do the same; False for a table that the ledger does not know."""
        locked = connection.run(
            f"SELECT 1 FROM {self._tables} WHERE table_schema = $1::text AND table_name = $2::text FOR UPDATE",
            *self._place(table),
        )
        return bool(locked)

    def try_lock_table(self, connection: Connection, table: str) -> bool:
        """Lock the table like a load, unless one is running."""
        locked = connection.run(
            f"SELECT 1 FROM {self._tables} WHERE table_schema = $1::text AND table_name = $2::text "
            "FOR UPDATE SKIP LOCKED",
            *self._place(table),
        )
        return bool(locked)

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
            "rows_released = $9::bigint, rows_spared = $10::bigint, seconds = $11::float8, "
            "committed_at = clock_timestamp() "
            "WHERE table_schema = $1::text AND table_name = $2::text AND sequence = $3::bigint RETURNING committed_at",
            *self._place(plan.table),
            plan.sequence,
            counts.inserted,
            counts.updated,
            counts.unchanged,
            counts.deleted,
            counts.rejected,
            counts.released,
            counts.spared,
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
        """Add rows that came back or went to the counts of the table's newest load and of the table."""
        connection.run(
            f"UPDATE {self._loads} SET rows_inserted = rows_inserted + $3::bigint, "
            "rows_updated = rows_updated + $4::bigint, rows_unchanged = rows_unchanged + $5::bigint, "
            "rows_released = rows_released + $6::bigint, rows_deleted = rows_deleted + $7::bigint "
            "WHERE table_schema = $1::text AND table_name = $2::text "
            f"AND sequence = (SELECT max(sequence) FROM {self._loads} "
            "WHERE table_schema = $1::text AND table_name = $2::text)",
            *self._place(plan.table),
            counts.inserted,
            counts.updated,
            counts.unchanged,
            counts.released,
            counts.deleted,
        )
        connection.run(
            f"UPDATE {self._tables} SET rows_loaded = rows_loaded + $3::bigint "
            "WHERE table_schema = $1::text AND table_name = $2::text",
            *self._place(plan.table),
            counts.inserted - counts.deleted,
        )
        return LoadResult(plan.load_id, plan.digest, 0, **asdict(counts))


def ownlens_version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"


_COUNTED = ("rows", "inserted", "updated", "unchanged", "deleted", "rejected", "released", "spared")

_PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "loads": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "tables": ("SELECT", "INSERT", "UPDATE"),
    "quarantine": ("SELECT", "INSERT", "DELETE"),
    "spared": ("SELECT", "INSERT", "DELETE"),
}
_KEPT_BY_TABLE = frozenset({"quarantine", "spared"})

_FORMER = "(SELECT coalesce(jsonb_object_agg(name, NULL), '{}') FROM jsonb_object_keys(t.columns) AS name)"

_RELATIONS = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1::text
"""

_COLUMNS = """
SELECT c.relname::text, a.attname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = $1::text AND c.relname IN ('loads', 'tables')
"""

_UNLOGGED = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind = 'r' AND c.relpersistence <> 'p' ORDER BY 1
"""

# Columns that a version after the first one added: ledgers only ever gain some.
_ADDED = (
    ("loads", "rows_spared", "bigint NOT NULL DEFAULT 0"),
    ("tables", "table_oid", "bigint"),
)

_DEFINITIONS: Mapping[str, str] = {
    "loads": """
        table_schema text, table_name text, sequence bigint, load_id text NOT NULL, digest text NOT NULL,
        strategy text NOT NULL, rows bigint NOT NULL, rows_inserted bigint NOT NULL DEFAULT 0,
        rows_updated bigint NOT NULL DEFAULT 0, rows_unchanged bigint NOT NULL DEFAULT 0,
        rows_deleted bigint NOT NULL DEFAULT 0, rows_rejected bigint NOT NULL DEFAULT 0,
        rows_released bigint NOT NULL DEFAULT 0, rows_spared bigint NOT NULL DEFAULT 0,
        bytes bigint NOT NULL, seconds float8 NOT NULL DEFAULT 0,
        contract_fingerprint text NOT NULL, ownlens_version text NOT NULL,
        committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (table_schema, table_name, sequence)""",
    "tables": """
        table_schema text, table_name text, columns jsonb NOT NULL, contract_fingerprint text NOT NULL,
        last_sequence bigint, last_load_at timestamptz, rows_loaded bigint NOT NULL DEFAULT 0, table_oid bigint,
        PRIMARY KEY (table_schema, table_name)""",
    "quarantine": """
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_schema text NOT NULL, table_name text NOT NULL,
        sequence bigint NOT NULL, load_id text NOT NULL, reason text NOT NULL, staged_row jsonb NOT NULL,
        quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp()""",
    "spared": """
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_schema text NOT NULL, table_name text NOT NULL,
        sequence bigint NOT NULL, row_key jsonb NOT NULL, spared_at timestamptz NOT NULL DEFAULT clock_timestamp()""",
}
