"""Do the stores show the same? Their row and key counts are compared with one another's and with the manifest's.

Only what must be equal is compared. Stores that stand at different staged sets are not; a store that keeps history
(append of a table with versions) has more rows than others by design; rows that a store keeps aside for their parents,
or spares for others, are counted as if they had come or gone; days that a retention drops are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from ..api import Destination, LoadPlan, TouchedSlice
from ..commands import load_command
from ..contracts import Strategy
from ..powers import SliceCounts, SupportsCounting

_WHOLESALE = frozenset({Strategy.OVERWRITE, Strategy.REPLACE_PARTITION})
# More stretches of days than these would be more questions than the answer is worth.
_MOST_STRETCHES = 31


@dataclass(frozen=True, slots=True)
class Subject:
    """A store, and the plan of the newest staged set, which it has applied."""

    destination: Destination[Any, Any]
    plan: LoadPlan


@dataclass(frozen=True, slots=True)
class Difference:
    """What a store shows otherwise than the manifest or another store; one line with both numbers."""

    destination: str
    message: str


def compare(subjects: Sequence[Subject], touched: TouchedSlice | None) -> list[Difference]:
    """Compare what stores show of one table, all of which have applied the same sets.

    Args:
        subjects: Those that cannot count are left out.
        touched: The days that the run touched, None being the whole table.

    Raises:
        Retryable: a store cannot be asked now.
    """
    counting = [subject for subject in subjects if isinstance(subject.destination, SupportsCounting)]
    if not counting:
        return []
    found = [*_with_manifest(counting), *_with_each_other(counting, touched)]
    # A store that differs from the manifest differs from the others too; the first is told.
    return list({difference.destination: difference for difference in reversed(found)}.values())


def _with_manifest(subjects: Sequence[Subject]) -> Iterator[Difference]:
    for subject in subjects:
        if (stretches := _covered(subject.plan)) is None or _kept(subject) is not None:
            continue
        counts = [_count(subject, stretch) for stretch in stretches]
        shown, unit = sum(one.rows for one in counts), "rows"
        if subject.plan.covers is not None and subject.plan.covers.keys_only:
            shown, unit = sum(one.keys for one in counts), "keys"
        if shown != subject.plan.rows:
            where = _where(stretches[0] if len(stretches) == 1 else None)
            yield _difference(subject, f"shows {shown} {unit}{where}, but {subject.plan.rows} are staged")


def _covered(plan: LoadPlan) -> list[TouchedSlice | None] | None:
    """Return the stretches of days in which a store must show the plan's rows and no others; None when unknown."""
    covers = plan.covers
    if plan.strategy is Strategy.OVERWRITE or (covers is not None and covers.days is None):
        return [None]
    if covers is None or covers.days is None or covers.column is None or plan.strategy is Strategy.APPEND:
        return None
    stretches: list[TouchedSlice | None] = [*_stretches(covers.column, sorted(covers.days))]
    return stretches if 0 < len(stretches) <= _MOST_STRETCHES else None


def _stretches(column: str, days: Sequence[date]) -> Iterator[TouchedSlice]:
    first = last = None
    for day in days:
        if last is not None and first is not None and day != last + timedelta(days=1):
            yield TouchedSlice(column, first, last)
            first = None
        first, last = first or day, day
    if first is not None and last is not None:
        yield TouchedSlice(column, first, last)


def _with_each_other(subjects: Sequence[Subject], touched: TouchedSlice | None) -> Iterator[Difference]:
    for group in _groups(subjects):
        if len(group) < 2 or not (narrowed := _narrowed(group, touched)):
            continue
        (first, expected), *others = [(subject, _count(subject, narrowed[0])) for subject in group]
        for subject, shown in others:
            if shown != expected:
                theirs, where = first.plan.destination, _where(narrowed[0])
                said = f"shows {shown.rows} rows and {shown.keys} keys{where}, but {theirs} {expected.rows} and "
                yield _difference(subject, f"{said}{expected.keys}")


def _groups(subjects: Sequence[Subject]) -> Iterator[list[Subject]]:
    """Yield stores that must show the same rows."""
    current = [subject for subject in subjects if not _keeps_history(subject)]
    if all(subject.plan.contract.deletes == "follow" for subject in current):
        yield current
        return
    # What is gone from the source stays where rows are merged, and leaves where they are replaced wholesale.
    yield [subject for subject in current if subject.plan.options.strategy in _WHOLESALE]
    yield [subject for subject in current if subject.plan.options.strategy not in _WHOLESALE]


def _keeps_history(subject: Subject) -> bool:
    plan = subject.plan
    return plan.options.strategy is Strategy.APPEND and (
        plan.contract.version_by is not None or plan.contract.deletes == "follow"
    )


def _narrowed(group: Sequence[Subject], touched: TouchedSlice | None) -> list[TouchedSlice | None]:
    """Return the slice in which all stores of a group keep their rows, as a list; empty when there is none."""
    kept = [day for subject in group if (day := _kept(subject)) is not None]
    if not kept:
        return [touched]
    # The oldest day may be dropped while the stores are counted.
    first = max(kept) + timedelta(days=1)
    if touched is None or touched.last < first:
        return []
    return [replace(touched, first=max(first, touched.first))]


def _kept(subject: Subject) -> date | None:
    assert isinstance(subject.destination, SupportsCounting)
    return subject.destination.kept_since(subject.plan)


def _count(subject: Subject, touched: TouchedSlice | None) -> SliceCounts:
    """Return the rows and keys that a store would show, had all that waits in it come or gone."""
    assert isinstance(subject.destination, SupportsCounting)
    shown = subject.destination.count(replace(subject.plan, touched=touched))
    waiting = shown.aside - shown.spared
    return SliceCounts(shown.rows + waiting, shown.keys + waiting)


def _where(touched: TouchedSlice | None) -> str:
    return "" if touched is None else f" from {touched.first} to {touched.last}"


def _difference(subject: Subject, said: str) -> Difference:
    plan = subject.plan
    fix = f"load it anew with `{load_command(plan.table, '--full-refresh')}`, and report this"
    return Difference(plan.destination, f"{plan.table}: {plan.destination} {said} (set {plan.sequence}); {fix}")
