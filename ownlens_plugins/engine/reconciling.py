"""Do the stores show the same? Their row and key counts are compared with one another's and with the manifest's.

Only what must be equal is compared. Stores that stand at different staged sets are not; a store that keeps history
(append of a table with versions) has more rows than others by design; rows that a store keeps aside for their parents,
or spares for others, are counted as if they had come or gone; days that a retention drops are left out.
"""

from __future__ import annotations

from collections import Counter
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
    """A store that shows something else than most: than the other stores and what was staged.

    The message is one line that names all sides with their numbers, and takes none for the truth. Where no side has
    most, each store is told of.
    """

    destination: str
    message: str


@dataclass(frozen=True, slots=True)
class _Side:
    """What one store shows, or what was staged; `subject` is None there. Sides agree when their `counts` are equal."""

    subject: Subject | None
    counts: tuple[int, ...]
    said: str


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
    found = list(_with_manifest(counting))
    # A store that differs from the manifest differs from the others too, and that is told.
    told = {difference.destination for difference in found}
    rest = [subject for subject in counting if subject.plan.destination not in told]
    return [*found, *_with_each_other(rest, touched)]


def _with_manifest(subjects: Sequence[Subject]) -> Iterator[Difference]:
    sides: dict[str, list[_Side]] = {}
    for subject in subjects:
        if (stretches := _covered(subject.plan)) is None or _kept(subject) is not None:
            continue
        counts = [_count(subject, stretch) for stretch in stretches]
        shown, unit = sum(one.rows for one in counts), "rows"
        if subject.plan.covers is not None and subject.plan.covers.keys_only:
            shown, unit = sum(one.keys for one in counts), "keys"
        where = _where(stretches[0] if len(stretches) == 1 else None)
        staged = _Side(None, (subject.plan.rows,), f"{subject.plan.rows} {unit} are staged")
        # Stores that replace the table and stores that replace days are asked for different parts of it.
        there = sides.setdefault(f"{where} {unit}", [staged])
        there.append(_Side(subject, (shown,), f"{subject.plan.destination} shows {shown} {unit}{where}"))
    for group in sides.values():
        yield from _differences(group)


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
        if len(group) > 1 and (narrowed := _narrowed(group, touched)):
            where = _where(narrowed[0])
            yield from _differences([_side(subject, _count(subject, narrowed[0]), where) for subject in group])


def _side(subject: Subject, shown: SliceCounts, where: str) -> _Side:
    said = f"{subject.plan.destination} shows {shown.rows} rows and {shown.keys} keys{where}"
    return _Side(subject, (shown.rows, shown.keys), said)


def _differences(sides: Sequence[_Side]) -> Iterator[Difference]:
    """Yield a difference for each store that most of the sides contradict; for all stores when no side has most."""
    counted = Counter(side.counts for side in sides)
    if len(counted) == 1:
        return
    (common, votes), *_ = counted.most_common()
    has_most = 2 * votes > len(sides)
    told = [side.subject for side in sides if side.subject and not (has_most and side.counts == common)]
    # Where the stores agree with each other against what was staged, something is wrong with all of them, or none.
    told = told or [side.subject for side in sides if side.subject]
    for subject in told:
        yield Difference(subject.plan.destination, _message(subject.plan, [side.said for side in sides]))


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


def _message(plan: LoadPlan, said: Sequence[str]) -> str:
    fix = f"load it anew with `{load_command(plan.table, '--full-refresh')}`, and report this"
    return f"{plan.table}: the counts of set {plan.sequence} differ: {', '.join(said)}; {fix}"
