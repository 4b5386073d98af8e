"""What only a process that dies, or a rival in another process, brings to light."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

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


# In one process these keep each other out; a process of its own waits for its rivals, so that it is always caught.
_LOCK = threading.Lock()
_PATIENCE_SECONDS = 30
_LOOKS = "CREATE TABLE IF NOT EXISTS looks (name TEXT, sequence INT, process INT)"
_LOADS = "(SELECT count(*) FROM ledger WHERE name = :name)"
_RIVALS = "SELECT 1 FROM looks WHERE name = :name AND sequence >= :sequence AND process != :process"
_NOBODY_WAITS = "INSERT INTO looks SELECT :name, 1000000, 0 WHERE :loads < "


class _LookingSession(ReferenceSession):
    """Looks at the table, and commits once a rival has looked too or has committed since.

    The first of some rivals commits after one with a later set has looked, and the one with the last set when another
    has committed. So one of them always commits what it made of a table that is no more, however slow they are.
    """

    def look(self, connection: sqlite3.Connection) -> Mapping[str, Any]:
        """Tell rivals that this process looks at the table; return what the other two methods take."""
        me = {"name": self.plan.table, "sequence": self.plan.sequence, "process": os.getpid()}
        connection.execute(_LOOKS)
        connection.execute("INSERT INTO looks VALUES (:name, :sequence, :process)", me)
        return {**me, "loads": connection.execute(f"SELECT {_LOADS}", me).fetchone()[0]}

    def wait_for_a_rival(self, look: Mapping[str, Any]) -> None:
        """Return when a rival has come; at once in a process that races with no other."""
        races = multiprocessing.parent_process() is not None and "OWNLENS_FAULT" not in os.environ
        until = time.monotonic() + (_PATIENCE_SECONDS if races else 0)
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            while time.monotonic() < until:
                if connection.execute(f"SELECT :loads < {_LOADS} OR EXISTS ({_RIVALS})", look).fetchone()[0]:
                    return
                time.sleep(0.005)

    def go_on(self, connection: sqlite3.Connection, look: Mapping[str, Any]) -> None:
        """Before the commit: when the table has changed since the look, rivals that come yet wait for nobody."""
        connection.execute(_NOBODY_WAITS + _LOADS, look)


class _LocallyLockedSession(_LookingSession):
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        with _LOCK:
            with transaction(self.path) as connection:
                done, look = self.destination.found(connection, self.plan), self.look(connection)
            if done is None:
                self.wait_for_a_rival(look)
            with transaction(self.path) as connection:
                result = replace(done, replayed=True) if done else self.apply(connection, receipts)
                if done is None:
                    self.go_on(connection, look)
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


class _RewritingSession(_LookingSession):
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        with _LOCK:
            with transaction(self.path) as connection:
                done, look = self.destination.found(connection, self.plan), self.look(connection)
                before = connection.execute("SELECT * FROM landed WHERE name = :name", look).fetchall()
            if done is None:
                self.wait_for_a_rival(look)
            with transaction(self.path) as connection:
                if self.destination.found(connection, self.plan) is None:
                    self.go_on(connection, look)
                    connection.execute("DELETE FROM landed WHERE name = :name", look)
                    connection.executemany("INSERT INTO landed VALUES (?, ?, ?, ?, ?)", before)
                result = self.commit_in(connection, receipts)
        faults.reach("commit_sent")
        return result


class RewritesTheTable(ReferenceDestination):
    """Writes the whole table again from what it read before, and keeps out its own process only."""

    session_type = _RewritingSession
    strategies = frozenset({Strategy.APPEND})
