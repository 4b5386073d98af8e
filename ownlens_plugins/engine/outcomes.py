"""What became of each table and destination in one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ..api import LoadPlan, LoadResult, TouchedSlice
from ..contracts import Strategy
from .manifest import Manifest

COUNTS = ("rows", "inserted", "updated", "unchanged", "deleted", "rejected", "released", "spared")


class Status(StrEnum):
    """How a load ended."""

    LOADED = "loaded"
    NOTHING_NEW = "nothing new"
    FAILED = "failed"
    SKIPPED = "skipped"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """One table's staging. `manifest` is None when there was nothing new.

    `unnamed` are columns of the source that the contract does not name; `added` are columns that the contract has
    gained since the last set, so that rows loaded before hold null in them. `recovered` is a set for some destinations.
    """

    table: str
    manifest: Manifest | None
    seconds: float
    unnamed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    recovered: Manifest | None = None


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """One table's loads into one destination in this run; counts are rows, summed over its staged sets.

    `rejected` counts rows that staging set aside for these sets plus rows that the destination refused; `released`
    counts rows of earlier sets that the destination had refused, and took now; `spared` rows that are gone from the
    source and stay for others. `position` is the newest set that the destination has, 0 being none, and `owed` says
    that no validation has passed up to there.
    """

    table: str
    destination: str
    status: Status
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    released: int = 0
    spared: int = 0
    bytes: int = 0
    seconds: float = 0.0
    loads: tuple[str, ...] = ()
    error: str | None = None
    plan: LoadPlan | None = None
    result: LoadResult | None = None
    position: int = 0
    owed: bool = False

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    def document(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        names = ("table", "destination", *COUNTS, "bytes")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        values |= {"status": self.status.value, "seconds": round(self.seconds, 3), "loads": list(self.loads)}
        return values if self.error is None else {**values, "error": self.error}


def summed(table: str, destination: str, done: Sequence[tuple[LoadPlan, LoadResult]], *, seconds: float) -> LoadOutcome:
    """Sum the results of the staged sets that one run brought into one destination."""
    if not done:
        return LoadOutcome(table, destination, Status.NOTHING_NEW, seconds=seconds)
    plans, results = [plan for plan, _ in done], [result for _, result in done]
    plan = covering(plans)
    return LoadOutcome(
        table,
        destination,
        Status.LOADED,
        rows=_total(results, "rows"),
        inserted=_total(results, "inserted"),
        updated=_total(results, "updated"),
        unchanged=_total(results, "unchanged"),
        deleted=_total(results, "deleted"),
        rejected=_total(results, "rejected") + sum(plan.rejected for plan in plans),
        released=_total(results, "released"),
        spared=_total(results, "spared"),
        bytes=sum(plan.bytes for plan in plans),
        seconds=seconds,
        loads=tuple(plan.load_id for plan in plans),
        plan=plan,
        result=next(result for of, result in reversed(done) if of.sequence == plan.sequence),
    )


def _total(results: Iterable[LoadResult], name: str) -> int:
    return sum(int(getattr(result, name)) for result in results)


def covering(plans: Sequence[LoadPlan]) -> LoadPlan:
    """Return one plan for the rows that several loads of a table left, oldest first: the newest, over all their days.

    Where the newest set is empty, the newest with rows stands for them; sets before an overwrite have no rows left.
    """
    first = max((at for at, plan in enumerate(plans) if plan.strategy is Strategy.OVERWRITE), default=0)
    counted = [plan for plan in plans[first:] if not (plan.covers and plan.covers.keys_only)] or list(plans[-1:])
    newest = counted[-1]
    if newest.strategy is Strategy.OVERWRITE:
        return newest
    touched = [plan.touched for plan in counted if plan.touched is not None]
    if not touched:
        return next((plan for plan in reversed(counted) if plan.rows), newest)
    days = TouchedSlice(touched[0].column, min(t.first for t in touched), max(t.last for t in touched))
    return replace(newest, touched=days)
