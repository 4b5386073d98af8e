"""How a load becomes visible, or not, and what is said about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from ...api import Covers, LoadPlan, LoadResult, LoadSession, Receipt, StagedPart
from ...contracts import Strategy
from ...errors import Rejected, StagedSetChanged
from ...powers import SliceCounts
from ..reference import ReferenceDestination, ReferenceSession, ReferenceWriter


class _ForgetfulSession(ReferenceSession):
    def mark(self, connection: sqlite3.Connection, result: LoadResult) -> None:
        """Commit the rows without the ledger's."""


class ForgetsTheMarker(ReferenceDestination):
    """Commits rows, and not that they are there."""

    session_type = _ForgetfulSession


@dataclass(frozen=True)
class _EagerWriter(ReferenceWriter):
    def stage(self, connection: sqlite3.Connection, part: StagedPart, rows: Sequence[tuple[Any, ...]]) -> None:
        super().stage(connection, part, rows)
        landed = [(self.plan.table, *row) for row in rows]
        connection.executemany("INSERT INTO landed VALUES (?, ?, ?, ?, ?)", landed)


class _EagerSession(ReferenceSession):
    writer_type = _EagerWriter

    def insert(self, connection: sqlite3.Connection) -> int:
        """Drop what the writer landed, and insert it as it should have been."""
        columns = "name, key, version, day, row"
        query = f"DELETE FROM landed WHERE ({columns}) IN (SELECT {columns} FROM staged WHERE attempt = ?)"
        connection.execute(query, (self.attempt,))
        return super().insert(connection)


class CommitsEarly(ReferenceDestination):
    """Lands parts as they are written."""

    session_type = _EagerSession


class _LosingSession(ReferenceSession):
    def insert(self, connection: sqlite3.Connection) -> int:
        landed = super().insert(connection)
        if len(self.plan.parts) > 1:
            last = self.plan.parts[-1].part_id
            keys = "SELECT key FROM staged WHERE attempt = ? AND part = ?"
            connection.execute(
                f"DELETE FROM landed WHERE name = ? AND key IN ({keys})", (self.plan.table, self.attempt, last)
            )
        return landed


class LosesTheLastPart(ReferenceDestination):
    """Leaves out the last part when there are several."""

    session_type = _LosingSession


class _BoastingSession(ReferenceSession):
    def apply(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        result = super().apply(connection, receipts)
        if self.plan.strategy is Strategy.UPSERT:
            return replace(result, inserted=result.rows, updated=0, unchanged=0)
        return replace(result, inserted=result.inserted + 1)


class ReportsWrongCounts(ReferenceDestination):
    """Says that more was inserted than was."""

    session_type = _BoastingSession


class _UncountingSession(ReferenceSession):
    def check(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
        """Believe the receipts."""


class CountsNothing(ReferenceDestination):
    """Does not compare the rows that it holds with the manifest."""

    session_type = _UncountingSession


class _OlderSession(ReferenceSession):
    def upsert(self, connection: sqlite3.Connection) -> LoadResult:
        """Take the last row that comes for the newest."""
        if self.plan.covers is not None:  # there it is
            return super().upsert(connection)
        keys = "SELECT key FROM staged WHERE attempt = ?"
        older = "SELECT key, version FROM landed WHERE name = ?"
        same = connection.execute(
            f"SELECT count(*) FROM staged WHERE attempt = ? AND (key, version) IN ({older})",
            (self.attempt, self.plan.table),
        ).fetchone()[0]
        query = f"DELETE FROM landed WHERE name = ? AND key IN ({keys})"
        gone = connection.execute(query, (self.plan.table, self.attempt)).rowcount
        inserted = self.insert(connection) - gone
        return LoadResult(
            self.plan.load_id, self.plan.digest, self.plan.rows, inserted, updated=gone - same, unchanged=same
        )


class LetsOldVersionsWin(ReferenceDestination):
    """Upserts whatever comes last."""

    session_type = _OlderSession
    strategies = frozenset({Strategy.UPSERT})


class _EmptyHandedSession(ReferenceSession):
    def mark(self, connection: sqlite3.Connection, result: LoadResult) -> None:
        if result.rows:
            super().mark(connection, result)


class ForgetsEmptySets(ReferenceDestination):
    """Writes no marker for a load without rows."""

    session_type = _EmptyHandedSession


class _AppendingSession(ReferenceSession):
    def apply(self, connection: sqlite3.Connection, receipts: Sequence[Receipt]) -> LoadResult:
        self.check(connection, receipts)
        return LoadResult(self.plan.load_id, self.plan.digest, rows=self.plan.rows, inserted=self.insert(connection))


class OverwritesNothing(ReferenceDestination):
    """Appends, whatever the strategy is."""

    session_type = _AppendingSession
    strategies = frozenset({Strategy.OVERWRITE})


class ForgetsAfterClose(ReferenceDestination):
    """Cannot be used any more after `close`."""

    def close(self) -> None:
        self.closed = True

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        if getattr(self, "closed", False):
            return pa.RecordBatchReader.from_batches(plan.schema, [])
        return super().read(plan)


class AcceptsAnotherDigest(ReferenceDestination):
    """Takes any set with a known number for the same set."""

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        try:
            return super().found(connection, plan)
        except StagedSetChanged:
            return LoadResult(plan.load_id, plan.digest, rows=plan.rows, inserted=plan.rows)


class Mumbles(ReferenceDestination):
    """Raises the right error, and does not say where."""

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        try:
            return super().found(connection, plan)
        except StagedSetChanged as error:
            raise StagedSetChanged("another digest") from error


class AcceptsAnyStrategy(ReferenceDestination):
    """Claims fewer strategies than it takes."""

    strategies = frozenset(Strategy) - {Strategy.OVERWRITE}

    def open(self, plan: LoadPlan) -> LoadSession:
        claimed = replace(plan, strategy=Strategy.APPEND)
        return super().open(plan if plan.strategy in self.strategies else claimed)


@dataclass(frozen=True)
class _BelievingWriter(ReferenceWriter):
    def write(self, part: StagedPart) -> Receipt:
        return replace(super().write(part), rows=part.rows)


class _BelievingSession(_UncountingSession):
    writer_type = _BelievingWriter


class BelievesTheManifest(ReferenceDestination):
    """Counts what should be there instead of what is."""

    session_type = _BelievingSession


@dataclass(frozen=True)
class _SwallowingWriter(_BelievingWriter):
    def rows(self, part: StagedPart) -> Iterator[tuple[Any, ...]]:
        with suppress(Rejected):
            yield from super().rows(part)


class _SwallowingSession(_UncountingSession):
    writer_type = _SwallowingWriter


class SwallowsDamage(ReferenceDestination):
    """Takes a part that it cannot read for an empty one."""

    session_type = _SwallowingSession


class _KeepingSession(ReferenceSession):
    def follow(self, connection: sqlite3.Connection, covers: Covers) -> LoadResult:  # noqa: ARG002
        """Take the set as if it said nothing of other rows."""
        self.plan = replace(self.plan, covers=None)
        return self.upsert(connection)


class KeepsWhatIsGone(ReferenceDestination):
    """Says that it follows deletes, and keeps rows that are gone from the source."""

    session_type = _KeepingSession


class CountsTheWholeTable(ReferenceDestination):
    """Counts all rows of a table, whichever days are asked for."""

    def count(self, plan: LoadPlan) -> SliceCounts:
        return super().count(replace(plan, touched=None))
