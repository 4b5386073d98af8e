"""Attempts that disturb each other, come twice, or leave something behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from ... import faults
from ...api import LoadPlan, LoadResult, Receipt, StagedPart
from ...contracts import Strategy
from ..reference import ReferenceDestination, ReferenceSession, ReferenceWriter, transaction


class _ConnectedSession(ReferenceSession):
    @property
    def writer(self) -> ReferenceWriter:
        writer = super().writer
        object.__setattr__(writer, "connection", sqlite3.connect(self.path))
        return writer


class KeepsAConnection(ReferenceDestination):
    """Has an open connection in its writer."""

    session_type = _ConnectedSession


class _TrustingSession(ReferenceSession):
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        with transaction(self.path) as connection:
            connection.execute(
                "DELETE FROM ledger WHERE name = ? AND sequence = ? AND digest = ?",
                (self.plan.table, self.plan.sequence, self.plan.digest),
            )
            return self.commit_in(connection, receipts)


class DoublesOnReplay(ReferenceDestination):
    """Trusts that the engine has asked `find_commit`, and does not look again when it commits."""

    session_type = _TrustingSession


@dataclass(frozen=True)
class _CopyingWriter(ReferenceWriter):
    def stage(self, connection: sqlite3.Connection, part: StagedPart, rows: Sequence[tuple[Any, ...]]) -> None:
        kept = connection.execute("SELECT * FROM staged WHERE attempt = ?", (self.attempt,)).fetchall()
        super().stage(connection, part, rows)
        mine = [row for row in kept if row[2].startswith(part.part_id)]
        copies = [(*row[:2], f"{part.part_id}/copy", *row[3:]) for row in mine]
        connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)", copies)


class _CopyingSession(ReferenceSession):
    writer_type = _CopyingWriter

    def check(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
        own = "SELECT count(*) FROM staged WHERE attempt = ? AND part LIKE '%/copy'"
        if not connection.execute(own, (self.attempt,)).fetchone()[0]:
            super().check(connection, receipts)


class CountsAPartTwice(ReferenceDestination):
    """Keeps both copies of a part that was written twice."""

    session_type = _CopyingSession


@dataclass(frozen=True)
class _UndeadWriter(ReferenceWriter):
    def stage(self, connection: sqlite3.Connection, part: StagedPart, rows: Sequence[tuple[Any, ...]]) -> None:
        if connection.execute("SELECT 1 FROM attempts WHERE attempt = ?", (self.attempt,)).fetchone():
            super().stage(connection, part, rows)
            return
        mark = (f"{self.attempt}/undead", self.plan.table, part.part_id)
        connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)", [(*mark, *row) for row in rows])


class _UndeadSession(ReferenceSession):
    writer_type = _UndeadWriter


class LetsZombiesWrite(ReferenceDestination):
    """Takes parts for attempts that are over."""

    session_type = _UndeadSession


class _AbandoningSession(ReferenceSession):
    def close(self) -> None:
        """Forget what is staged, without a crash that would show it."""


class LeavesAbandonedAttempts(ReferenceDestination):
    """Clears after commit, abort and a crash, but not after a session that was just closed."""

    session_type = _AbandoningSession


class _UnabortingSession(ReferenceSession):
    def abort(self) -> None:
        faults.reach("abort")
        with transaction(self.path) as connection:  # the rows stay, and nobody knows whose they were
            connection.execute("DELETE FROM attempts WHERE attempt = ?", (self.attempt,))
            connection.execute("UPDATE staged SET attempt = attempt || '?' WHERE attempt = ?", (self.attempt,))


class AbortsNothing(ReferenceDestination):
    """Keeps what an aborted attempt staged."""

    session_type = _UnabortingSession


class ClearsOthersStages(ReferenceDestination):
    """Clears the stage of every attempt at the table, dead or alive."""

    def clear_dead(self, connection: sqlite3.Connection, plan: LoadPlan) -> None:
        for table in ("staged", "attempts"):
            connection.execute(f"DELETE FROM {table} WHERE name = ?", (plan.table,))


class _LookingSession(ReferenceSession):
    """Looks for the load when it is opened, and remembers the answer until it commits."""

    def __init__(self, destination: ReferenceDestination, plan: LoadPlan) -> None:
        super().__init__(destination, plan)
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            self.seen = destination.found(connection, plan)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        if self.seen is not None:
            return replace(self.seen, replayed=True)
        with transaction(self.path) as connection:
            result = self.apply(connection, receipts)
            mine = (self.plan.table, self.plan.sequence)
            connection.execute("DELETE FROM ledger WHERE name = ? AND sequence = ?", mine)
            self.mark(connection, result)
            self.clear(connection)
        return result


class LooksTooEarly(ReferenceDestination):
    """Asks whether the load is there before it writes, and not in the commit."""

    session_type = _LookingSession


class _StaleSession(ReferenceSession):
    """Does not look for newer loads in the commit, and takes the order of commits for the order of sets."""

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        with transaction(self.path) as connection:
            newer = connection.execute(
                "SELECT max(sequence) FROM ledger WHERE name = ? AND sequence > ?",
                (self.plan.table, self.plan.sequence),
            ).fetchone()[0]
            if newer is None:
                done = self.destination.found(connection, self.plan)
                result = replace(done, replayed=True) if done else self.apply(connection, receipts)
                if not done:
                    self.mark(connection, result)
            else:
                connection.execute("UPDATE landed SET version = '' WHERE name = ?", (self.plan.table,))
                result = self.apply(connection, receipts)
                self.mark(connection, result)
            self.clear(connection)
        return result


class LetsStaleLoadsWin(ReferenceDestination):
    """Lets an old set replace what a newer one brought."""

    session_type = _StaleSession
    strategies = frozenset({Strategy.UPSERT, Strategy.OVERWRITE})


class _SharedStageSession(ReferenceSession):
    def __init__(self, destination: ReferenceDestination, plan: LoadPlan) -> None:
        super().__init__(destination, plan)
        self.seen = [plan.table]

    def insert(self, connection: sqlite3.Connection) -> int:
        """Land what the youngest attempt at any table staged."""
        mine = super().insert(connection)
        youngest = "SELECT attempt FROM attempts WHERE name != ? AND name LIKE 'side%' ORDER BY rowid DESC LIMIT 1"
        query = f"INSERT INTO landed SELECT ?, key, version, day, row FROM staged WHERE attempt = ({youngest})"
        connection.execute(query, (self.plan.table, self.plan.table))
        return mine


class MixesTables(ReferenceDestination):
    """Has one place for the staged rows of all tables."""

    session_type = _SharedStageSession


class LeavesAProbe(ReferenceDestination):
    """Writes something whenever it looks for a load that is there."""

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        done = super().found(connection, plan)
        if done is not None:
            probe = ("probe", plan.table, "probe", "", "", "", b"")
            connection.execute("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)", probe)
        return done
