"""Maintenance that takes more than it may, says what is not so, or does not stand a rival or a crash."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from ... import faults
from ...api import LoadResult, Receipt
from ...contracts import Strategy
from ...powers import Chore, Upkeep
from ..reference import ReferenceDestination, ReferenceSession, transaction

_LANDED = "SELECT * FROM landed WHERE name = ?"
_INSERT = "INSERT INTO landed VALUES (?, ?, ?, ?, ?)"


class ForgetsThePosition(ReferenceDestination):
    """Lets the ledger forget the newest load too, and with it that any other was there."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        kept = [chore for chore in super().chores(connection, replace(upkeep, settled=0)) if chore.rows]
        settled = "FROM ledger WHERE name = ? AND sequence <= ?"
        mine = (upkeep.contract.table, upkeep.settled)
        forgotten = connection.execute(f"SELECT count(*) {settled}", mine).fetchone()[0]
        if not upkeep.dry_run:
            connection.execute(f"DELETE {settled}", mine)
        return iter([*kept, Chore("ledger", forgotten)])


class ForgetsStagedLoads(ReferenceDestination):
    """Lets the ledger forget all loads but the newest, whether or not their sets are staged."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        return super().chores(connection, replace(upkeep, settled=1_000_000))


class LosesARowInCompaction(ReferenceDestination):
    """Writes the table anew, without its last row."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        last = "SELECT max(rowid) FROM landed WHERE name = ?"
        if not upkeep.dry_run:
            connection.execute(f"DELETE FROM landed WHERE rowid = ({last})", (upkeep.contract.table,))
        return super().chores(connection, upkeep)


class DoublesARowInCompaction(ReferenceDestination):
    """Writes the table anew, with its last row twice."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        if not upkeep.dry_run:
            last = f"{_LANDED} ORDER BY rowid DESC LIMIT 1"
            connection.execute(f"INSERT INTO landed {last}", (upkeep.contract.table,))
        return super().chores(connection, upkeep)


class DeletesYoungRows(ReferenceDestination):
    """Takes the oldest day that stays for one that goes."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        return super().chores(connection, replace(upkeep, today=upkeep.today + timedelta(days=1)))


class ActsInADryRun(ReferenceDestination):
    """Does what it was only asked to tell."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        return super().chores(connection, replace(upkeep, dry_run=False))


class BoastsOfChores(ReferenceDestination):
    """Tells of more rows than went."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        done = super().chores(connection, upkeep)
        return (replace(chore, rows=2 * chore.rows) if chore.name == "retention" else chore for chore in done)


class GuessesInADryRun(ReferenceDestination):
    """Tells all rows of the table for those that would go."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        later = upkeep.today + timedelta(days=1_000)
        return super().chores(connection, replace(upkeep, today=later) if upkeep.dry_run else upkeep)


class ClearsRunningAttempts(ReferenceDestination):
    """Takes every attempt for a dead one."""

    def chores(self, connection: sqlite3.Connection, upkeep: Upkeep) -> Iterator[Chore]:
        for table in () if upkeep.dry_run else ("staged", "attempts"):
            connection.execute(f"DELETE FROM {table} WHERE name = ?", (upkeep.contract.table,))
        return super().chores(connection, upkeep)


class _ExactSession(ReferenceSession):
    def commit_in(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        older = "SELECT count(*) FROM ledger WHERE name = ? AND sequence <= ?"
        if connection.execute(older, (self.plan.table, self.plan.sequence)).fetchone()[0]:
            return super().commit_in(connection, receipts)
        result = self.apply(connection, receipts)
        self.mark(connection, result)
        self.clear(connection)
        return result


class AppliesForgottenLoads(ReferenceDestination):
    """Takes a load that the ledger has forgotten for one that never came, in the commit."""

    session_type = _ExactSession


class TearsItsMaintenance(ReferenceDestination):
    """Takes the rows out in one transaction, and puts those that stay back in the next."""

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        if upkeep.dry_run:
            return super().maintain(upkeep)
        table = (upkeep.contract.table,)
        with transaction(self.config.path) as connection:
            rows = connection.execute(_LANDED, table).fetchall()
            connection.execute("DELETE FROM landed WHERE name = ?", table)
        faults.reach("before_commit")
        with transaction(self.config.path) as connection:
            connection.executemany(_INSERT, rows)
        return super().maintain(upkeep)


class UndoesRivalsLoads(ReferenceDestination):
    """Writes the table anew from what it saw when it began."""

    strategies = frozenset({Strategy.APPEND})

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        table = (upkeep.contract.table,)
        with transaction(self.config.path) as connection:
            rows = connection.execute(_LANDED, table).fetchall()
        self.wait_for_a_rival(upkeep.contract.table)
        if not upkeep.dry_run:
            with transaction(self.config.path) as connection:
                connection.execute("DELETE FROM landed WHERE name = ?", table)
                connection.executemany(_INSERT, rows)
        return super().maintain(upkeep)

    def wait_for_a_rival(self, table: str) -> None:
        """Wait, in a process of its own, until a load has come: so it is always caught, however slow the rival is."""
        before, until = self.ledger(table), time.monotonic() + 5
        while multiprocessing.parent_process() and self.ledger(table) == before and time.monotonic() < until:
            time.sleep(0.01)
