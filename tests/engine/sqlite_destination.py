"""A small real destination: tables in one SQLite file, with the ledger in the same transaction as the rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ownlens_plugins import (
    Destination,
    DestinationOptions,
    LoadPlan,
    LoadResult,
    LoadSession,
    Receipt,
    Retryable,
    StagedPart,
    StagedSetChanged,
    Strategy,
    StrictModel,
    hookimpl,
)
from ownlens_plugins.api import new_attempt

_TABLES = """
CREATE TABLE IF NOT EXISTS ledger (name TEXT, sequence INT, digest TEXT, rows INT, PRIMARY KEY (name, sequence));
CREATE TABLE IF NOT EXISTS landed (name TEXT, key TEXT, version TEXT, row TEXT, PRIMARY KEY (name, key));
CREATE TABLE IF NOT EXISTS staged (attempt TEXT, part TEXT, key TEXT, version TEXT, row TEXT);
"""
_NEWER_WINS = (
    "ON CONFLICT DO UPDATE SET version = excluded.version, row = excluded.row WHERE excluded.version >= version"
)


class SqliteConfig(StrictModel):
    path: str


@contextmanager
def transaction(path: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.executescript(_TABLES)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise Retryable(f"sqlite: {path} cannot be used now: {error}") from error


@dataclass(frozen=True)
class SqliteWriter:
    """Stages parts under the attempt's name."""

    path: str
    plan: LoadPlan
    attempt: str

    def write(self, part: StagedPart) -> Receipt:
        contract = self.plan.contract
        rows = [row for batch in self.plan.read_part(part) for row in batch.to_pylist()]
        values = [
            (
                self.attempt,
                part.part_id,
                json.dumps([row[name] for name in contract.key], default=str),
                str(row[contract.version_by]) if contract.version_by else "",
                json.dumps(row, default=str),
            )
            for row in rows
        ]
        with transaction(self.path) as connection:
            connection.execute("DELETE FROM staged WHERE attempt = ? AND part = ?", (self.attempt, part.part_id))
            connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?)", values)
        return Receipt(part.part_id, len(rows))


class SqliteSession(LoadSession):
    def __init__(self, path: str, plan: LoadPlan) -> None:
        self.path, self.plan, self.attempt = path, plan, new_attempt()

    @property
    def writer(self) -> SqliteWriter:
        return SqliteWriter(self.path, self.plan, self.attempt)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        plan = self.plan
        with transaction(self.path) as connection:
            mark = (plan.table, plan.sequence, plan.digest, plan.rows)
            connection.execute("INSERT INTO ledger VALUES (?, ?, ?, ?)", mark)
            if plan.strategy is Strategy.OVERWRITE:
                connection.execute("DELETE FROM landed WHERE name = ?", (plan.table,))
            conflict = _NEWER_WINS if plan.strategy is Strategy.UPSERT else ""
            connection.execute(
                f"INSERT INTO landed SELECT ?, key, version, row FROM staged WHERE attempt = ? {conflict}",
                (plan.table, self.attempt),
            )
            connection.execute("DELETE FROM staged WHERE attempt = ?", (self.attempt,))
        return LoadResult(plan.load_id, plan.digest, rows=plan.rows, inserted=plan.rows)

    def abort(self) -> None:
        with transaction(self.path) as connection:
            connection.execute("DELETE FROM staged WHERE attempt = ?", (self.attempt,))


class SqliteDestination(Destination[SqliteConfig, DestinationOptions]):
    name = "sqlite"
    aliases = ("lite",)
    config_type = SqliteConfig
    options_type = DestinationOptions
    strategies = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE})
    session_type: type[SqliteSession] = SqliteSession

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        with transaction(self.config.path) as connection:
            mark = (plan.table, plan.sequence)
            done = connection.execute(
                "SELECT digest, rows FROM ledger WHERE name = ? AND sequence = ?", mark
            ).fetchone()
        if done is None:
            return None
        if done[0] != plan.digest:
            raise StagedSetChanged(f"{plan.table}: sqlite holds {plan.load_id} with another digest")
        return LoadResult(plan.load_id, plan.digest, rows=done[1], inserted=done[1])

    def open(self, plan: LoadPlan) -> LoadSession:
        return self.session_type(self.config.path, plan)

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        raise AssertionError("tests look into this store with `landed`")

    def landed(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows as JSON values, ordered by key."""
        with transaction(self.config.path) as connection:
            rows = connection.execute("SELECT row FROM landed WHERE name = ? ORDER BY key", (table,)).fetchall()
        return [json.loads(row) for (row,) in rows]

    def staged(self) -> int:
        with transaction(self.config.path) as connection:
            return int(connection.execute("SELECT count(*) FROM staged").fetchone()[0])


@hookimpl
def ownlens_destinations() -> list[type[SqliteDestination]]:
    return [SqliteDestination]
