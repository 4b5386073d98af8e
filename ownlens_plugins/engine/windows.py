"""Decide which rows of a source the next staged set is looked for in, so that none is missed and few are read twice.

A database says by itself which rows an earlier snapshot cannot have seen: those that a transaction wrote which was
not surely over, that is, whose number is not below the snapshot's `xmin`. The clock only says how far behind such rows
are looked for. Where a source cannot tell, the look-back is read again, and what was staged before is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from ..api import Window
from ..contracts import Extraction, Strategy, TableContract
from ..errors import Rejected
from .manifest import DayRows, Manifest, Spans
from .newest_first import Log
from .progress import Progress, reached
from .sources.source import Seen, Selection, Snapshot

logger = logging.getLogger("ownlens.load")
# Row versions carry 32 bits of a transaction's number, and compare within half of them.
_COMPARABLE = 1 << 31
# Cursors without a zone are compared as if they were UTC: the widest zones lie this far from it.
ZONES = timedelta(hours=26)


@dataclass(frozen=True, slots=True)
class StageRequest:
    """What to stage: the rows' extent and meaning, and what they follow.

    `after` is the number of the set that the request was decided from: only its direct successor may be published;
    None follows whatever set is the newest. `known` are earlier sets that may hold some of the rows. `once` looks for
    the same content among earlier sets. `gone` are days that had rows and have none. `replayed` names the quarantined
    rows that these are; `transformed` says that the plugins' transforms have made them already. `above` is the newest
    load that some destination holds: the set gets a number above it. `only` names the destinations that it is for.
    """

    extraction: Extraction
    window: Window
    full_refresh: bool = False
    once: bool = False
    after: int | None = None
    unseen_by: Seen | None = None
    days: frozenset[date] = frozenset()
    gone: frozenset[date] = frozenset()
    keys_only: bool = False
    known: tuple[Manifest, ...] = ()
    source: Mapping[str, str] | None = None
    seen: Seen | None = None
    day_rows: DayRows | None = field(default=None, compare=False)
    new_files: frozenset[str] = frozenset()
    files: Mapping[str, str] | None = None
    replayed: Spans = ()
    transformed: bool = False
    above: int = field(default=0, compare=False)
    only: tuple[str, ...] | None = None

    @property
    def selection(self) -> Selection:
        return Selection(
            self.extraction, self.window, self.unseen_by, self.days, self.keys_only, new_files=self.new_files
        )

    @property
    def known_from(self) -> datetime | None:
        """The cursor value from which on staged rows may be met again: any, when new files bring old ones."""
        return None if self.new_files else self.window.start


def next_request(
    contract: TableContract,
    snapshot: Snapshot,
    manifests: Sequence[Manifest],
    noted: Progress | None = None,
    *,
    full_refresh: bool = False,
    source_moved: bool = False,
) -> StageRequest | None:
    """Return what the next staged set of a table should hold, given the sets before it.

    None means that a newer snapshot than this one is staged already, which holds all that this one could bring.

    Raises:
        Rejected: the sets before it came from another place.
    """
    place, seen = dict(snapshot.identity(contract)), snapshot.seen(contract)
    log = Log.of(manifests)
    base = reached(log.for_all(), noted)
    if not (full_refresh or source_moved) and base is not None:
        _check_place(contract, place, base.source or place)
    after = log[-1].sequence if log else 0
    if not (full_refresh or source_moved) and base is not None and is_overtaken(seen, base.seen):
        _refuse_if_restored(contract, seen, base.seen)
        logger.info("%s: the source shows an older state than was staged already; nothing is taken", contract.table)
        return None
    request = StageRequest(
        contract.extraction,
        Window(None, snapshot.closes_at),
        full_refresh,
        after=after,
        source=place,
        seen=seen,
        files=dict(snapshot.files(contract)) or None,
    )
    if full_refresh or contract.extraction is Extraction.WHOLE:
        request = replace(request, extraction=Extraction.WHOLE)
    elif base is not None:
        request = _following(contract, request, base, log)
        # A source that was copied or taken back gives numbers out again.
        request = replace(request, unseen_by=None) if source_moved else request
    return _with_days(contract, snapshot, request, base)


def _check_place(contract: TableContract, place: Mapping[str, str], known: Mapping[str, str]) -> None:
    # What a source could not tell, for want of a right, is empty and no difference.
    told = (name for name in sorted({*known, *place}) if "" not in (known.get(name), place.get(name)))
    differs = ", ".join(
        f"{name} {known.get(name)!r}, now {place.get(name)!r}" for name in told if known.get(name) != place.get(name)
    )
    if differs:
        raise Rejected(
            f"{contract.table}: the staged sets came from another source ({differs}); give this profile a staging "
            "folder of its own, or, if the database has moved, run once with --source-moved"
        )


def is_overtaken(mine: Seen | None, theirs: Seen | None) -> bool:
    """Tell whether a snapshot may be older than one that is staged: its rows would take a whole table back.

    Numbers cannot tell: a transaction can end between two snapshots whose bounds others hold.
    """
    if mine is None or theirs is None or not _is_same_history(mine, theirs):
        return False
    return mine.wal_from < theirs.wal_to


def _refuse_if_restored(contract: TableContract, mine: Seen | None, theirs: Seen | None) -> None:
    """Refuse a primary whose log ends, by a later clock, before the place that it had reached: it was taken back.

    Raises:
        Rejected: it was. Its transactions get numbers that count as seen.
    """
    if mine is None or theirs is None or mine.taken is None or theirs.taken is None:
        return
    if mine.wal_to < theirs.wal_from and mine.taken > theirs.taken:
        raise Rejected(
            f"{contract.table}: the source was taken back to an earlier state than was staged; run once with "
            "--source-moved, or with --full-refresh to take the destinations back as well"
        )


def _is_same_history(one: Seen, other: Seen) -> bool:
    return (one.system, one.timeline) == (other.system, other.timeline)


def _following(contract: TableContract, request: StageRequest, base: Progress, log: Log) -> StageRequest:
    found = replace(
        request,
        window=Window(bound_of(contract, base, log.for_all()).start, request.window.end),
        unseen_by=base.seen if _can_tell(request.seen, base.seen) else None,
        new_files=_new_files(request.files, base.files),
    )
    return replace(found, known=met_again(bearing(contract, log), found.known_from))


def _new_files(now: Mapping[str, str] | None, before: Mapping[str, str] | None) -> frozenset[str]:
    """Return the files that were delivered, or written again, since the sets before: all their rows may be new."""
    known = before or {}
    return frozenset(name for name, fingerprint in (now or {}).items() if known.get(name) != fingerprint)


def bearing(contract: TableContract, manifests: Sequence[Manifest]) -> Log:
    """Return the sets whose rows must not be staged once more: those for all, and what filled an appending store alone.

    A store that upserts takes a row twice without harm, and the others may lack it.
    """
    return Log.of(manifests).those(lambda each: each.only is None or _fills_an_append(contract, each))


def _fills_an_append(contract: TableContract, manifest: Manifest) -> bool:
    names = [name for name in manifest.only or () if manifest.full_refresh]
    return any(contract.options_for(name)["strategy"] == Strategy.APPEND.value for name in names)


def met_again(manifests: Sequence[Manifest], start: datetime | None) -> tuple[Manifest, ...]:
    """Return the sets that a look-back may meet again, oldest first, of those whose rows the destinations still hold.

    The newest set names them as of its own look-back, and none comes back: look-backs only move on.
    """
    log, known = Log.of(manifests), list[Manifest]()
    for manifest in reversed(log):
        if manifest.covers is not None and manifest.covers.keys_only:
            break
        known.append(manifest)
        if manifest.restarts:
            break
        if manifest.recent is not None and _is_later(start, manifest.recent_from):
            older = (log.numbered(sequence) for sequence in sorted(manifest.recent, reverse=True))
            known += [each for each in older if each is not None]
            break
    return tuple(each for each in reversed(known) if may_repeat(each, start))


def _is_later(start: datetime | None, other: datetime | None) -> bool:
    return start is not None and other is not None and start >= other


def may_repeat(manifest: Manifest, start: datetime | None) -> bool:
    """Tell whether a look-back from a moment on may read rows of a set again."""
    if start is None or manifest.newest is None or manifest.newest >= start:
        return True
    return start - manifest.newest <= ZONES


@dataclass(frozen=True, slots=True)
class Bound:
    """The cursor value from which on rows may be new, None being any, and the set that told it, if an older one did."""

    start: datetime | None
    told_by: int | None = None


def bound_of(contract: TableContract, base: Progress, manifests: Sequence[Manifest]) -> Bound:
    """Return the look-back before the moment that is surely complete.

    A transaction that was open in the base's snapshot stamped its rows when it began, which no clock can tell. But it
    got its number after every snapshot whose `next` is not above it, so the newest such snapshot bounds its rows.
    """
    complete = Bound(base.moment) if base.seen is None else _complete(base, base.seen, manifests)
    if complete.start is None or contract.look_back is None:
        return Bound(None)
    try:
        return replace(complete, start=complete.start - contract.look_back)
    except OverflowError:
        return Bound(None)


def _complete(base: Progress, seen: Seen, manifests: Sequence[Manifest]) -> Bound:
    # Not `xmax`: with one transaction running, and none after it over, `xmin` and `xmax` are both its number.
    if seen.next <= seen.xmin:
        return Bound(base.moment)
    for manifest in reversed(manifests):
        older = manifest.seen
        if older is not None and _is_same_history(older, seen) and older.next <= seen.xmin:
            return Bound(manifest.window.end, manifest.sequence)
    return Bound(None)


def _can_tell(mine: Seen | None, theirs: Seen | None) -> bool:
    """Tell whether row versions can be compared with an earlier snapshot.

    After a failover numbers are given out again, which the lost end of the old timeline had used. A table that came to
    be part of this one (a partition that was attached, another table under this name) has rows of old numbers.
    """
    if mine is None or theirs is None or not _is_same_history(mine, theirs):
        return False
    if not set(mine.tables) <= set(theirs.tables):
        return False
    return 0 <= mine.xmax - theirs.xmin < _COMPARABLE


def since_full_refresh(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Return the sets from the newest full refresh on: it took away what older sets hold and it does not."""
    first = max((number for number, manifest in enumerate(manifests) if manifest.restarts), default=0)
    return tuple(manifests[first:])


def since_refresh(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Return the sets whose rows the destinations still hold for sure.

    A full refresh or a sweep of deleted keys took rows away that older sets hold: when such a row comes back, it is
    new again.
    """
    found = since_full_refresh(manifests)
    swept = (number for number, each in enumerate(found) if each.covers is not None and each.covers.keys_only)
    return found[max(swept, default=-1) + 1 :]


def _with_days(
    contract: TableContract, snapshot: Snapshot, request: StageRequest, base: Progress | None
) -> StageRequest:
    """Add days that lost rows, of which no row that stays tells."""
    if contract.extraction is not Extraction.DAYS or contract.deletes == "keep":
        return request
    now = snapshot.day_rows(contract)
    before = {} if base is None or base.day_rows is None else base.day_rows
    held = {date.fromisoformat(day): rows for day, rows in before.items()}
    changed = {day for day in held if day in now and held[day] != now[day]}
    if request.unseen_by is not None:
        changed |= snapshot.changed_days(contract, request.unseen_by)
    return replace(
        request,
        days=frozenset(changed),
        gone=frozenset(held) - frozenset(now),
        day_rows={day.isoformat(): rows for day, rows in now.items()},
    )


def keys_request(
    contract: TableContract, snapshot: Snapshot, after: int, only: tuple[str, ...] | None = None
) -> StageRequest:
    """Return the request for all keys of a table, which says what is gone.

    It follows the set of the rows of the same snapshot, so that no destination deletes what it has not seen come.
    """
    place, seen = dict(snapshot.identity(contract)), snapshot.seen(contract)
    window = Window(None, snapshot.closes_at)
    return StageRequest(Extraction.WHOLE, window, after=after, keys_only=True, source=place, seen=seen, only=only)


def keys_of(contract: TableContract) -> TableContract:
    """Return the contract of a table's keys alone."""
    columns = tuple(contract.column(name) for name in contract.key)
    return replace(contract, columns=columns, partition_by=None, version_by=None, cursor=(), references=(), checks=())
