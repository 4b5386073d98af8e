"""Stage what some destinations alone need: a whole table for a new one, or a stretch that one has lost.

Such a set follows the set for all that was staged from the same snapshot, so that whatever comes later is decided as if
it were not there: the destinations that it is for stand where the others do, and no row comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..api import Window
from ..contracts import Extraction, Strategy, TableContract
from ..errors import Retryable
from .gaps import restatable
from .manifest import Manifest
from .progress import Progress, reached
from .replaying import replay
from .sources.source import Snapshot
from .staging import StagingArea
from .windows import StageRequest, is_overtaken, keys_of, keys_request


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a run brings to its own `destinations` alone, beside what all get.

    `backfill` is the whole table, which replaces what they hold. `since` is all rows whose cursor is not below it, less
    the contract's look-back, for tables that are extracted by windows and upserted.
    """

    destinations: tuple[str, ...]
    backfill: bool = False
    since: datetime | None = None


def stage_for_some(
    contract: TableContract, snapshot: Snapshot, area: StagingArea, recovery: Recovery, *, after: int
) -> Manifest | None:
    """Stage what a recovery asks for of one table; None when that is nothing.

    `after` is the newest set once the rows of this snapshot were staged for all.

    Raises:
        SourceInvalid, Rejected: nothing was staged for some.
        Retryable: another run has staged this table meanwhile.
    """
    if recovery.backfill:
        return _backfill(contract, snapshot, area, recovery, after)
    if recovery.since is None:
        return None
    only = tuple(name for name in recovery.destinations if restatable(contract, name))
    return _restate(contract, snapshot, area, only, recovery.since, after) if only else None


def _backfill(
    contract: TableContract, snapshot: Snapshot, area: StagingArea, recovery: Recovery, after: int
) -> Manifest | None:
    if any(contract.options_for(name)["strategy"] == Strategy.APPEND.value for name in recovery.destinations):
        # The whole table holds refused rows that fit by now. All get them first, or a later replay, which is for all,
        # would bring them to a store that appends a second time.
        after = max([after, *replay(contract, area).sequences])
    request = _request(contract, snapshot, recovery.destinations, after)
    request = replace(request, extraction=Extraction.WHOLE, full_refresh=True)
    return _stage(contract, snapshot, area, request)


def _restate(
    contract: TableContract,
    snapshot: Snapshot,
    area: StagingArea,
    only: tuple[str, ...],
    since: datetime,
    after: int,
) -> Manifest | None:
    request = _request(contract, snapshot, only, after)
    window = Window(_before(since, contract.look_back), request.window.end)
    # Which files were new then is not known any more: all of their rows come.
    files = frozenset(snapshot.files(contract))
    manifest = _stage(contract, snapshot, area, replace(request, window=window, new_files=files))
    if manifest is None or contract.deletes != "follow":
        return manifest
    # What went from the source meanwhile: the sets of keys that told of it may be gone too.
    keys = replace(keys_request(contract, snapshot, manifest.sequence), only=only)
    return _stage(keys_of(contract), snapshot, area, keys) or manifest


def _before(moment: datetime, look_back: timedelta | None) -> datetime | None:
    try:
        return None if look_back is None else moment - look_back
    except OverflowError:
        return None


def _request(contract: TableContract, snapshot: Snapshot, only: tuple[str, ...], after: int) -> StageRequest:
    place, seen = dict(snapshot.identity(contract)), snapshot.seen(contract)
    window = Window(None, snapshot.closes_at)
    return StageRequest(contract.extraction, window, after=after, source=place, seen=seen, only=only)


def _stage(contract: TableContract, snapshot: Snapshot, area: StagingArea, request: StageRequest) -> Manifest | None:
    _require_newest(contract, snapshot, area)
    with snapshot.read(contract, request.selection) as extracted:
        return area.stage(contract, extracted, request)


def _require_newest(contract: TableContract, snapshot: Snapshot, area: StagingArea) -> None:
    """Refuse a snapshot that is older than what is staged for all: those rows would lack where this set replaces all.

    Raises:
        Retryable: another run has staged a newer state meanwhile.
    """
    base = reached(area.log(contract.table).for_all(), area.noted(contract.table))
    if base is not None and _is_older(contract, snapshot, base):
        raise Retryable(f"{contract.table}: another run has staged a newer state of the source; run it again")


def _is_older(contract: TableContract, snapshot: Snapshot, base: Progress) -> bool:
    seen = snapshot.seen(contract)
    if seen is None or base.seen is None:
        return snapshot.closes_at < base.moment
    return seen != base.seen and is_overtaken(seen, base.seen)
