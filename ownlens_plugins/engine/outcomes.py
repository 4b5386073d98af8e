"""What became of each table and destination in one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ..api import LoadPlan, LoadResult, TouchedSlice
from .manifest import Manifest


class Status(StrEnum):
    """How a load ended."""

    LOADED = "loaded"
    NOTHING_NEW = "nothing new"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """One table's staging. `manifest` is None when there was nothing new."""

    table: str
    manifest: Manifest | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """One table's loads into one destination in this run; counts are rows, summed over its staged sets.

    `rejected` counts rows that staging set aside for these sets plus rows that the destination refused; `released`
    counts rows of earlier sets that the destination had refused, and took now.
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
    bytes: int = 0
    seconds: float = 0.0
    loads: tuple[str, ...] = ()
    error: str | None = None
    plan: LoadPlan | None = None
    result: LoadResult | None = None

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0

    def document(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        names = ("table", "destination", "rows", "inserted", "updated", "unchanged", "deleted", "rejected", "released")
        values: dict[str, Any] = {name: getattr(self, name) for name in (*names, "bytes")}
        values |= {"status": self.status.value, "seconds": round(self.seconds, 3), "loads": list(self.loads)}
        return values if self.error is None else {**values, "error": self.error}


def summed(table: str, destination: str, done: Sequence[tuple[LoadPlan, LoadResult]], *, seconds: float) -> LoadOutcome:
    """Sum the results of the staged sets that one run brought into one destination."""
    if not done:
        return LoadOutcome(table, destination, Status.NOTHING_NEW, seconds=seconds)
    plans, results = [plan for plan, _ in done], [result for _, result in done]
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
        bytes=sum(plan.bytes for plan in plans),
        seconds=seconds,
        loads=tuple(plan.load_id for plan in plans),
        plan=_covering(plans),
        result=results[-1],
    )


def _total(results: Iterable[LoadResult], name: str) -> int:
    return sum(int(getattr(result, name)) for result in results)


def _covering(plans: Sequence[LoadPlan]) -> LoadPlan:
    """Return the newest plan, widened to the days that any of the plans touched; validation reads those."""
    touched = [plan.touched for plan in plans if plan.touched is not None]
    if not touched:
        return plans[-1]
    days = TouchedSlice(touched[0].column, min(t.first for t in touched), max(t.last for t in touched))
    return replace(plans[-1], touched=days)
