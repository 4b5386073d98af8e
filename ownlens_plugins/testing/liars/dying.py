"""What only a process that dies, or a rival in another process, brings to light."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from ... import faults
from ...api import LoadPlan, LoadResult, Receipt
from ...contracts import Strategy
from ..reference import ReferenceDestination, ReferenceSession, transaction


class LeavesItsStage(ReferenceDestination):
    """Does not clear what a crash left."""

    def clear_dead(self, connection: sqlite3.Connection, plan: LoadPlan) -> None:
        """Leave it."""


class _TornSession(ReferenceSession):
    """Lands rows in one transaction and the marker in the next."""

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        faults.reach("before_commit")
        with transaction(self.path) as connection:
            if done := self.destination.found(connection, self.plan):
                self.clear(connection)
                return replace(done, replayed=True)
            result = self.apply(connection, receipts)
        faults.reach("commit_sent")
        with transaction(self.path) as connection:
            self.mark(connection, result)
            self.clear(connection)
        return result


class TearsTheCommit(ReferenceDestination):
    """Commits the rows and the marker one after the other; only a process that dies between them shows it."""

    session_type = _TornSession
    strategies = frozenset({Strategy.APPEND})


class _SnapshotSession(ReferenceSession):
    """Builds the new table from what it saw when it was opened."""

    def __init__(self, destination: ReferenceDestination, plan: LoadPlan) -> None:
        super().__init__(destination, plan)
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            self.before = connection.execute("SELECT * FROM landed WHERE name = ?", (plan.table,)).fetchall()

    def apply(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        connection.execute("DELETE FROM landed WHERE name = ?", (self.plan.table,))
        connection.executemany("INSERT INTO landed VALUES (?, ?, ?, ?, ?)", self.before)
        return super().apply(connection, receipts)


class LosesRivalsRows(ReferenceDestination):
    """Undoes every load that committed between its own `open` and `commit`."""

    session_type = _SnapshotSession
    strategies = frozenset({Strategy.APPEND})

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        query = "SELECT digest FROM ledger WHERE name = ? AND sequence = ?"
        row = connection.execute(query, (plan.table, plan.sequence)).fetchone()
        return super().found(connection, plan) if row else None


class ClearsOnlyItsOwnLoad(ReferenceDestination):
    """Clears what a crash left when the same load is run again, and never when a newer one comes."""

    def clear_dead(self, connection: sqlite3.Connection, plan: LoadPlan) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS opened (name TEXT, sequence INT)")
        load = (plan.table, plan.sequence)
        if connection.execute("SELECT 1 FROM opened WHERE name = ? AND sequence = ?", load).fetchone():
            super().clear_dead(connection, plan)
        connection.execute("INSERT INTO opened VALUES (?, ?)", load)


_LOCK = threading.Lock()


def _let_others_go_on() -> None:
    # Only processes that race have rivals of another process; on a busy machine these need a while.
    time.sleep(0.1 if multiprocessing.parent_process() is None else 1.0)


class _LocallyLockedSession(ReferenceSession):
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        with _LOCK:
            with transaction(self.path) as connection:
                done = self.destination.found(connection, self.plan)
            _let_others_go_on()
            with transaction(self.path) as connection:
                result = replace(done, replayed=True) if done else self.apply(connection, receipts)
                if done is None:
                    mine = (self.plan.table, self.plan.sequence)
                    connection.execute("DELETE FROM ledger WHERE name = ? AND sequence = ?", mine)
                    self.mark(connection, result)
                self.clear(connection)
        faults.reach("commit_sent")
        return result


class LocksItsProcessOnly(ReferenceDestination):
    """Keeps out the other threads of its process while it looks and commits, and no other process."""

    session_type = _LocallyLockedSession
    strategies = frozenset({Strategy.APPEND})


class _RewritingSession(ReferenceSession):
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        mine = (self.plan.table,)
        with _LOCK:
            with transaction(self.path) as connection:
                before = connection.execute("SELECT * FROM landed WHERE name = ?", mine).fetchall()
            _let_others_go_on()
            with transaction(self.path) as connection:
                if self.destination.found(connection, self.plan) is None:
                    connection.execute("DELETE FROM landed WHERE name = ?", mine)
                    connection.executemany("INSERT INTO landed VALUES (?, ?, ?, ?, ?)", before)
            return super().commit(receipts)


class RewritesTheTable(ReferenceDestination):
    """Writes the whole table again from what it read before, and keeps out its own process only."""

    session_type = _RewritingSession
    strategies = frozenset({Strategy.APPEND})
