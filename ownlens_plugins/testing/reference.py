"""A small complete destination: tables in one SQLite file. It keeps every promise, and the liars break one each."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from .. import faults
from ..api import (
    Covers,
    Destination,
    DestinationOptions,
    LoadPlan,
    LoadResult,
    LoadSession,
    Receipt,
    StagedPart,
    StrictModel,
    new_attempt,
)
from ..contracts import Strategy, TableContract
from ..errors import Rejected, Retryable
from ..powers import Chore, SliceCounts, TableState, Upkeep
from .owners import is_alive

_TABLES = """
CREATE TABLE ledger (name TEXT, sequence INT, digest TEXT, result TEXT, PRIMARY KEY (name, sequence));
CREATE TABLE landed (name TEXT, key TEXT, version TEXT, day TEXT, row BLOB);
CREATE INDEX landed_key ON landed (name, key);
CREATE TABLE attempts (attempt TEXT PRIMARY KEY, owner INT, name TEXT);
CREATE TABLE staged (attempt TEXT, name TEXT, part TEXT, key TEXT, version TEXT, day TEXT, row BLOB);
"""
_COUNTS = ("rows", "inserted", "updated", "unchanged", "deleted")
_DAY = "substr(day, 1, 10)"
_SAME = "landed.name = staged.name AND landed.key = staged.key"


class ReferenceConfig(StrictModel):
    """`path` names the SQLite file."""

    path: str


@contextmanager
def transaction(path: str) -> Iterator[sqlite3.Connection]:
    """Run one transaction that keeps all others out.

    Raises:
        Retryable: the file is busy or cannot be opened.
    """
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by it
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise Retryable(f"reference: {path} cannot be used now ({error}); run the load again") from error


def encoded(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Return each row as Arrow writes it, so that any value comes back as it was."""
    for number in range(batch.num_rows):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch.slice(number, 1))
        yield sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class ReferenceWriter:
    """Stages parts under the attempt's name."""

    path: str
    plan: LoadPlan
    attempt: str

    def write(self, part: StagedPart) -> Receipt:
        rows = list(self.rows(part))
        with transaction(self.path) as connection:
            self.stage(connection, part, rows)
        return Receipt(part.part_id, len(rows), {"attempt": self.attempt})

    def stage(self, connection: sqlite3.Connection, part: StagedPart, rows: Sequence[tuple[Any, ...]]) -> None:
        """Put rows where no reader looks; a part that is written again replaces itself.

        Raises:
            Retryable: the attempt is over, and nobody would look for its rows any more.
        """
        if not connection.execute("SELECT 1 FROM attempts WHERE attempt = ?", (self.attempt,)).fetchone():
            raise Retryable(f"{self.plan.table}: this attempt at reference is over; run the load again")
        connection.execute("DELETE FROM staged WHERE attempt = ? AND part = ?", (self.attempt, part.part_id))
        mark = (self.attempt, self.plan.table, part.part_id)
        connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)", [(*mark, *row) for row in rows])

    def rows(self, part: StagedPart) -> Iterator[tuple[Any, ...]]:
        """Yield key, version, day and the encoded row.

        Raises:
            Rejected: the part's file is damaged.
        """
        contract = self.plan.contract
        keys_only = self.plan.covers is not None and self.plan.covers.keys_only
        try:
            for batch in self.plan.read_part(part, list(contract.key) if keys_only else None):
                for row, content in zip(batch.to_pylist(), self.encode(batch), strict=True):
                    key = json.dumps([row[name] for name in contract.key], default=str)
                    version = str(row.get(contract.version_by) or "") if contract.version_by else ""
                    yield key, version, str(row.get(contract.partition_by or "")), content
        except (OSError, pa.ArrowInvalid) as error:
            raise Rejected(
                f"{contract.table}: a part for reference is damaged ({type(error).__name__}); stage the table again"
            ) from error

    def encode(self, batch: pa.RecordBatch) -> Iterable[bytes]:
        return encoded(batch)


class ReferenceSession(LoadSession):
    """One attempt: parts are staged, then one transaction moves them and writes the ledger."""

    writer_type: type[ReferenceWriter] = ReferenceWriter

    def __init__(self, destination: ReferenceDestination, plan: LoadPlan) -> None:
        self.destination, self.plan, self.attempt = destination, plan, new_attempt()
        self.path = destination.config.path

    @property
    def writer(self) -> ReferenceWriter:
        return self.writer_type(self.path, self.plan, self.attempt)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        faults.reach("before_commit")
        with transaction(self.path) as connection:
            result = self.commit_in(connection, receipts)
        faults.reach("commit_sent")
        return result

    def commit_in(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        """Do all that one transaction holds: look, apply, mark and clear."""
        if done := self.destination.found(connection, self.plan):
            result = replace(done, replayed=True)
        else:
            result = self.apply(connection, receipts)
            faults.reach("before_ledger")
            self.mark(connection, result)
        self.clear(connection)
        return result

    def apply(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        """Move the attempt's rows into the table.

        Raises:
            Rejected: they are not as many as the plan names.
        """
        plan = self.plan
        self.check(connection, receipts)
        if plan.strategy is Strategy.UPSERT:
            return self.upsert(connection)
        deleted = self.replaced(connection)
        return LoadResult(plan.load_id, plan.digest, plan.rows, self.insert(connection), deleted=deleted)

    def replaced(self, connection: sqlite3.Connection) -> int:
        """Delete the rows that an overwrite or a replaced partition stands for; return how many."""
        plan = self.plan
        if plan.strategy is Strategy.OVERWRITE:
            return connection.execute("DELETE FROM landed WHERE name = ?", (plan.table,)).rowcount
        if plan.strategy is not Strategy.REPLACE_PARTITION:
            return 0
        gone = [str(day) for day in (plan.covers.days or () if plan.covers else ())]
        days = "SELECT day FROM staged WHERE attempt = ? UNION SELECT value FROM json_each(?)"
        values = (plan.table, self.attempt, json.dumps(gone))
        return connection.execute(f"DELETE FROM landed WHERE name = ? AND day IN ({days})", values).rowcount

    def check(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
        """Compare what is staged with the plan."""
        mine = "SELECT count(*) FROM staged WHERE attempt = ?"
        staged = connection.execute(mine, (self.attempt,)).fetchone()[0]
        if staged != self.plan.rows or len(receipts) != len(self.plan.parts):
            raise Rejected(
                f"{self.plan.table}: reference holds {staged} of {self.plan.rows} staged rows; stage the table again"
            )

    def insert(self, connection: sqlite3.Connection) -> int:
        """Copy staged rows into the table; return how many."""
        columns = "name, key, version, day, row"
        query = f"INSERT INTO landed SELECT {columns} FROM staged WHERE attempt = ?"
        return connection.execute(query, (self.attempt,)).rowcount

    def upsert(self, connection: sqlite3.Connection) -> LoadResult:
        """Replace rows by newer ones, and delete what a set that covers a part of the table shows to be gone."""
        plan, mine = self.plan, (self.attempt,)
        if plan.covers is not None:
            return self.follow(connection, plan.covers)
        older = f"SELECT 1 FROM landed WHERE {_SAME} AND landed.version >= staged.version"
        dropped = connection.execute(f"DELETE FROM staged WHERE attempt = ? AND EXISTS ({older})", mine).rowcount
        newer = f"SELECT 1 FROM staged WHERE {_SAME} AND staged.attempt = ?"
        updated = connection.execute(f"DELETE FROM landed WHERE EXISTS ({newer})", mine).rowcount
        inserted = self.insert(connection) - updated
        return LoadResult(plan.load_id, plan.digest, plan.rows, inserted, updated, unchanged=dropped)

    def follow(self, connection: sqlite3.Connection, covers: Covers) -> LoadResult:
        """Make the covered part of the table what the set is; rows of a set of keys stay as they are."""
        plan, mine = self.plan, (self.attempt,)
        staged = f"SELECT 1 FROM staged WHERE {_SAME} AND staged.attempt = ?"
        gone = f"DELETE FROM landed WHERE name = ? AND {_within(covers)} AND NOT EXISTS ({staged})"
        deleted = connection.execute(gone, (plan.table, *mine)).rowcount
        if covers.keys_only:
            return LoadResult(plan.load_id, plan.digest, plan.rows, 0, unchanged=plan.rows, deleted=deleted)
        equal = f"SELECT 1 FROM landed WHERE {_SAME} AND landed.row = staged.row"
        same = connection.execute(f"DELETE FROM staged WHERE attempt = ? AND EXISTS ({equal})", mine).rowcount
        updated = connection.execute(f"DELETE FROM landed WHERE EXISTS ({staged})", mine).rowcount
        inserted = self.insert(connection) - updated
        return LoadResult(plan.load_id, plan.digest, plan.rows, inserted, updated, unchanged=same, deleted=deleted)

    def mark(self, connection: sqlite3.Connection, result: LoadResult) -> None:
        """Write the ledger's row, in the same transaction as the table's."""
        _mark(connection, self.plan, result)

    def clear(self, connection: sqlite3.Connection) -> None:
        """End the attempt and drop what it staged."""
        for table in ("staged", "attempts"):
            connection.execute(f"DELETE FROM {table} WHERE attempt = ?", (self.attempt,))

    def abort(self) -> None:
        faults.reach("abort")
        with transaction(self.path) as connection:
            self.clear(connection)

    def close(self) -> None:
        with suppress(Retryable), transaction(self.path) as connection:
            self.clear(connection)


class ReferenceDestination(Destination[ReferenceConfig, DestinationOptions]):
    """Slow, and right. Several threads and processes may use one file."""

    name = "reference"
    config_type = ReferenceConfig
    strategies = frozenset(Strategy)
    follows_deletes = True
    session_type: type[ReferenceSession] = ReferenceSession

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        with transaction(self.config.path) as connection:
            return self.found(connection, plan)

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        """Return what the ledger says of the load; one that a newer load overtook is done, with 0 rows."""
        query = "SELECT sequence, digest, result FROM ledger WHERE name = ? AND sequence >= ? ORDER BY 1 LIMIT 1"
        row = connection.execute(query, (plan.table, plan.sequence)).fetchone()
        return None if row is None else plan.replay(row[0], row[1], json.loads(row[2]))

    def open(self, plan: LoadPlan) -> LoadSession:
        self.require_strategy(plan)
        with transaction(self.config.path) as connection:
            self.clear_dead(connection, plan)
            session = self.session_type(self, plan)
            connection.execute("INSERT INTO attempts VALUES (?, ?, ?)", (session.attempt, os.getpid(), plan.table))
        faults.reach("stage_open")
        return session

    def clear_dead(self, connection: sqlite3.Connection, plan: LoadPlan) -> None:
        """Delete what the attempts of dead processes staged for the table."""
        query = "SELECT attempt, owner FROM attempts WHERE name = ?"
        for attempt, owner in connection.execute(query, (plan.table,)).fetchall():
            if not is_alive(owner):
                for table in ("staged", "attempts"):
                    connection.execute(f"DELETE FROM {table} WHERE attempt = ?", (attempt,))

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        with transaction(self.config.path) as connection:
            rows = connection.execute("SELECT row FROM landed WHERE name = ?", (plan.table,)).fetchall()
        return pa.RecordBatchReader.from_batches(plan.schema, self.decoded(plan, [row for (row,) in rows]))

    def count(self, plan: LoadPlan) -> SliceCounts:
        """Count what readers see; an optional power, with which stores are compared after a run."""
        where, days = "true", tuple[str, ...]()
        if plan.touched is not None:
            where, days = f"{_DAY} BETWEEN ? AND ?", (str(plan.touched.first), str(plan.touched.last))
        with transaction(self.config.path) as connection:
            query = f"SELECT count(*), count(DISTINCT key) FROM landed WHERE name = ? AND {where}"
            return SliceCounts(*connection.execute(query, (plan.table, *days)).fetchone())

    def kept_since(self, plan: LoadPlan) -> date | None:
        """Return the oldest day that stays; stores are compared from there on."""
        return Upkeep(plan.contract, plan.options, 0, datetime.now(UTC).date()).oldest_kept

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Keep a table small, in one transaction; an optional power."""
        with transaction(self.config.path) as connection:
            done = [chore for chore in self.chores(connection, upkeep) if chore.rows]
            faults.reach("before_commit")
        return done

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        """Delete rows that are too old, and what the ledger may forget: never the newest load, the table's position."""
        if upkeep.oldest_kept is not None:
            yield Chore("retention", _gone(connection, upkeep, "landed", f"{_DAY} < ?", str(upkeep.oldest_kept)))
        newest = "(SELECT max(sequence) FROM ledger AS newer WHERE newer.name = ledger.name)"
        settled = f"sequence <= ? AND sequence < {newest}"
        yield Chore("ledger", _gone(connection, upkeep, "ledger", settled, upkeep.settled))

    def decoded(self, plan: LoadPlan, rows: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        for row in rows:
            with pa.ipc.open_stream(row) as stream:
                yield from (batch.select(plan.schema.names) for batch in stream)

    def position(self, contract: TableContract) -> int:
        """Return the newest load of a table; an optional power, which a log of staged sets that begins anew asks."""
        return max(self.ledger(contract.table), default=0)

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        """Return where each table stands; an optional power. `found` takes all loads up to the newest for done."""
        query = "SELECT name, max(sequence), digest, result FROM ledger GROUP BY 1"
        with transaction(self.config.path) as connection:
            rows = connection.execute(query).fetchall()
        states = {row[0]: TableState(row[1], row[2], rows=json.loads(row[3])["rows"], is_sure=True) for row in rows}
        return {each.table: states[each.table] for each in contracts if each.table in states}

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        """Take the rows that are there for those of a load, when the ledger is lost; an optional power."""
        with transaction(self.config.path) as connection:
            if done := self.found(connection, plan):
                return done
            if known := self.newest(connection, plan.table):
                raise Rejected(f"{plan.table}: reference knows load {known} of this table; load it as usual")
            there = connection.execute("SELECT count(*) FROM landed WHERE name = ?", (plan.table,)).fetchone()[0]
            if there != rows:
                raise Rejected(f"{plan.table}: reference shows {there} rows, {rows} were compared; run it again")
            result = LoadResult(plan.load_id, plan.digest, plan.rows, inserted=rows)
            _mark(connection, plan, result)
        return result

    def newest(self, connection: sqlite3.Connection, table: str) -> int:
        """Return the newest load in the ledger, 0 being none."""
        query = "SELECT coalesce(max(sequence), 0) FROM ledger WHERE name = ?"
        return int(connection.execute(query, (table,)).fetchone()[0])

    def ledger(self, table: str) -> list[int]:
        """Return the sequences of the table's loads."""
        with transaction(self.config.path) as connection:
            rows = connection.execute("SELECT sequence FROM ledger WHERE name = ? ORDER BY 1", (table,)).fetchall()
        return [sequence for (sequence,) in rows]

    def staged_parts(self, table: str) -> list[str]:
        """Return the names of parts that attempts left."""
        with transaction(self.config.path) as connection:
            rows = connection.execute("SELECT DISTINCT attempt, part FROM staged WHERE name = ?", (table,)).fetchall()
        return [f"{attempt}/{part}" for attempt, part in rows]


def _mark(connection: sqlite3.Connection, plan: LoadPlan, result: LoadResult) -> None:
    counts = {name: getattr(result, name) for name in _COUNTS}
    row = (plan.table, plan.sequence, plan.digest, json.dumps(counts))
    connection.execute("INSERT INTO ledger VALUES (?, ?, ?, ?)", row)


def _gone(connection: sqlite3.Connection, upkeep: Upkeep, table: str, which: str, value: object) -> int:
    """Delete rows, or only count them in a dry run; return how many."""
    where, values = f"FROM {table} WHERE name = ? AND {which}", (upkeep.contract.table, value)
    if upkeep.dry_run:
        return int(connection.execute(f"SELECT count(*) {where}", values).fetchone()[0])
    return connection.execute(f"DELETE {where}", values).rowcount


def _within(covers: Covers) -> str:
    if covers.days is None:
        return "true"
    return f"{_DAY} IN ({', '.join(repr(str(day)) for day in covers.days)})"
