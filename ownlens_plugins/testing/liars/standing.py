"""Overviews that say what is not so, and adoptions that take what they may not."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...api import LoadPlan, LoadResult
from ...contracts import TableContract
from ...errors import Rejected
from ...powers import TableState
from ..reference import ReferenceDestination, transaction


class PromisesTheNextLoad(ReferenceDestination):
    """Tells a position above the newest load."""

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        found = super().overview(contracts)
        return {table: replace(state, position=state.position + 1) for table, state in found.items()}


class IsSureOfGaps(ReferenceDestination):
    """Takes a set that never came for one that still may, and is sure of it in its overview."""

    def found(self, connection: sqlite3.Connection, plan: LoadPlan) -> LoadResult | None:
        query = "SELECT 1 FROM ledger WHERE name = ? AND sequence = ?"
        known = connection.execute(query, (plan.table, plan.sequence)).fetchone()
        return super().found(connection, plan) if known else None


class TellsTheFirstLoad(ReferenceDestination):
    """Tells the digest of the oldest load beside the newest position."""

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        found = super().overview(contracts)
        oldest = "SELECT digest FROM ledger WHERE name = ? ORDER BY sequence LIMIT 1"
        with transaction(self.config.path) as connection:
            return {
                table: replace(state, digest=connection.execute(oldest, (table,)).fetchone()[0])
                for table, state in found.items()
            }


class AdoptsWithALoss(ReferenceDestination):
    """Deletes a row once the load is marked."""

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        result, last = super().adopt(plan, rows), "SELECT max(rowid) FROM landed WHERE name = ?"
        with transaction(self.config.path) as connection:
            connection.execute(f"DELETE FROM landed WHERE rowid = ({last})", (plan.table,))
        return result


class AdoptsAnyCount(ReferenceDestination):
    """Does not count the rows again."""

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        with transaction(self.config.path) as connection:
            query = "SELECT count(*) FROM landed WHERE name = ?"
            rows = connection.execute(query, (plan.table,)).fetchone()[0]
        return super().adopt(plan, rows)


class MarksBeforeItCounts(ReferenceDestination):
    """Refuses another count of rows when the load is marked already."""

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        with transaction(self.config.path) as connection:
            query = "SELECT count(*) FROM landed WHERE name = ?"
            there = connection.execute(query, (plan.table,)).fetchone()[0]
        result = super().adopt(plan, there)
        if rows != there:
            raise Rejected(f"{plan.table}: reference shows {there} rows by now, {rows} were compared; run it again")
        return result


class AdoptsOverALedger(ReferenceDestination):
    """Marks a load, whatever the ledger knows."""

    def newest(self, connection: sqlite3.Connection, table: str) -> int:  # noqa: ARG002
        return 0
