"""Take the rows of a table, of which the ledger knows no load, for those of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ownlens_plugins.api import LoadPlan, LoadResult, new_attempt
from ownlens_plugins.errors import OwnLensError, Rejected

from . import attempts, settling, sql
from .attempts import Internal
from .failures import reported
from .ledger import NO_TABLE, Changes, entry_for
from .target import Target
from .turns import take, turn


def adopt(target: Target, plan: LoadPlan, rows: int) -> LoadResult:
    """Record a load of the rows that are there.

    Raises:
        Rejected: the ledger knows a load of the table, or the table is gone or shows another number of rows.
        Retryable: another thread or process loads the table for too long.
    """
    if target.uuid_of(plan.table) is None:
        raise Rejected(f"{plan.table}: clickhouse has no table to adopt; load it as usual")
    with _attempt(target, plan) as own, turn(target):
        return _adopted(target.for_attempt(own), plan, rows, own)


@contextmanager
def _attempt(target: Target, plan: LoadPlan) -> Iterator[Internal]:
    """Have an empty table of one's own, by which the turn is taken as with staged rows."""
    own = attempts.internal(plan.table, plan.sequence, new_attempt(), "adopt")
    attempts.begin(own.attempt)
    try:
        target.store.run(sql.create_token(target.store.name(own.name), own.name))
        yield own
    finally:
        # What cannot be dropped now is dropped by whoever opens the table next.
        with suppress(OwnLensError), reported(target.store.config, target.table):
            settling.discard(target, own.attempt)
        attempts.end(own.attempt)


def _adopted(target: Target, plan: LoadPlan, rows: int, own: Internal) -> LoadResult:
    taken, seen = take(target, own)
    standing = seen.standing
    if done := standing.outcome(plan):
        return done
    if standing.newest is not None:
        raise Rejected(
            f"{plan.table}: clickhouse's ledger knows load {standing.newest.sequence} of this table; load it as usual"
        )
    table = target.uuid_of(plan.table)
    if table is None or (found := target.visible_rows()) != rows:
        there = "no table" if table is None else f"{found} rows"
        raise Rejected(f"{plan.table}: clickhouse shows {there} by now, {rows} rows were compared; run it again")
    # One row of the ledger: by its count of rows a table that is restored later is known again. Whoever has lost the
    # turn meanwhile records nothing, as the statement names the table that the turn is.
    entry = entry_for(plan, Changes(inserted=rows), NO_TABLE, life=standing.life, target=table).committed(table)
    target.ledger.record(entry, target.store.name(taken.name))
    return entry.result()
