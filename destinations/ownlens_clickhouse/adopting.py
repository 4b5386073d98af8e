"""Take the rows of a table, of which the ledger knows no load, for those of one."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.errors import Rejected

from .ledger import NO_TABLE, Changes, entry_for
from .lives import standing as standing_of
from .target import Target
from .turns import turn


def adopt(target: Target, plan: LoadPlan, rows: int) -> LoadResult:
    """Record a load of the rows that are there.

    Raises:
        Rejected: the ledger knows a load of the table, or the table is gone or shows another number of rows.
        Retryable: another thread loads the table for too long.
    """
    with turn(target):
        standing = standing_of(target, plan.sequence)
        if done := standing.outcome(plan):
            return done
        if standing.newest is not None:
            raise Rejected(
                f"{plan.table}: clickhouse's ledger knows load {standing.newest.sequence} of this table; "
                "load it as usual"
            )
        table = target.uuid_of(plan.table)
        if table is None or (found := target.visible_rows()) != rows:
            there = "no table" if table is None else f"{found} rows"
            raise Rejected(f"{plan.table}: clickhouse shows {there} by now, {rows} rows were compared; run it again")
        # One row of the ledger: by its count of rows a table that is restored later is known again.
        entry = entry_for(plan, Changes(inserted=rows), NO_TABLE, life=standing.life, target=table).committed(table)
        target.ledger.add(entry)
        return entry.result()
