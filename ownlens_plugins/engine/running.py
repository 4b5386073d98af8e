"""The steps of a run for one table: stage it once, then bring a destination up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..api import Covers, Destination, LoadPlan, LoadResult
from ..contracts import Extraction, Strategy, TableContract
from ..errors import Rejected, Retryable
from ..powers import SupportsCounting, SupportsQuarantine
from ..registry import Registry
from .last_loads import LastLoads
from .loading import load
from .manifest import Manifest
from .outcomes import LoadOutcome, StageOutcome, summed
from .planning import pending
from .positions import NOBODY, Positions, begin
from .quarantining import holds_keys_only
from .recovering import Recovery, stage_for_some
from .sources.source import Snapshot
from .staging import StagingArea
from .verdicts import Verdicts
from .windows import StageRequest, keys_of, keys_request, next_request
from .workers import HERE, Workers

logger = logging.getLogger("ownlens.load")


def stage_table(
    contract: TableContract,
    snapshot: Snapshot,
    area: StagingArea,
    *,
    full_refresh: bool = False,
    sweep_deletes: bool = False,
    source_moved: bool = False,
    positions: Positions = NOBODY,
    recovery: Recovery | None = None,
) -> StageOutcome:
    """Extract a table's new rows from a snapshot and store them as the next staged set.

    With `sweep_deletes`, the keys of a table whose deletes follow are stored as another set, where no set shows what is
    gone. `source_moved` goes on after sets that came from another place. `positions` asks the destinations how far they
    have come, where the sets cannot tell. `recovery` stages what some destinations alone need, behind it.

    Raises:
        SourceInvalid, Rejected, Retryable: nothing was staged.
    """
    started = time.monotonic()
    manifests, noted = area.log(contract.table), area.noted(contract.table)
    # After the sets are listed: of a set that a rival publishes now, this one cannot become the successor any more.
    above = begin(contract, area, manifests, positions, full_refresh=full_refresh)
    request = next_request(contract, snapshot, manifests, noted, full_refresh=full_refresh, source_moved=source_moved)
    request = None if request is None else replace(request, above=above)
    # Before rows are staged: what fails here must not fail a set that is published.
    unnamed = tuple(name for name in snapshot.columns(contract) if name not in contract.column_names)
    manifest = None if request is None else _stage(contract, snapshot, area, request)
    swept = recovered = None
    if sweep_deletes and request is not None:
        swept = stage_keys(contract, snapshot, area, after=manifest.sequence if manifest else request.after)
    if recovery is not None:
        after = _newest(swept or manifest, request, manifests)
        recovered = stage_for_some(contract, snapshot, area, recovery, after=after)
    outcome = StageOutcome(
        contract.table,
        manifest or swept,
        time.monotonic() - started,
        unnamed=unnamed,
        added=_added(contract, manifests, request),
        recovered=recovered,
    )
    _log_staged(contract, outcome)
    return outcome


def _newest(staged: Manifest | None, request: StageRequest | None, before: Sequence[Manifest]) -> int:
    """Return the set that one for some destinations is to follow."""
    if staged is not None:
        return staged.sequence
    after = None if request is None else request.after
    return after if after is not None else before[-1].sequence


def _added(contract: TableContract, manifests: Sequence[Manifest], request: StageRequest | None) -> tuple[str, ...]:
    """Return the columns that rows of earlier sets lack, unless this run stages all rows anew."""
    newest = next((each for each in reversed(manifests) if not each.only and not holds_keys_only(each)), None)
    if newest is None or (request is not None and request.extraction is Extraction.WHOLE):
        return ()
    return tuple(name for name in contract.column_names if name not in newest.schema)


def _stage(contract: TableContract, snapshot: Snapshot, area: StagingArea, request: StageRequest) -> Manifest | None:
    with snapshot.read(contract, request.selection) as extracted:
        manifest = area.stage(contract, extracted, request)
    if manifest is None:
        area.note(contract.table, request)
    return manifest


def stage_keys(contract: TableContract, snapshot: Snapshot, area: StagingArea, *, after: int | None) -> Manifest | None:
    """Stage the keys of a table whose deletes follow, so that destinations delete the rows of all other keys.

    `after` is the set that holds the rows of this very snapshot. A set of a newer one in between has rows that these
    keys lack, and that must not go.

    Raises:
        Retryable: another set was staged after that one.
    """
    if contract.deletes != "follow" or contract.extraction is not Extraction.WINDOW or not after:
        return None
    request = keys_request(contract, snapshot, after)
    with snapshot.read(contract, request.selection) as extracted:
        return area.stage(keys_of(contract), extracted, request)


def _log_staged(contract: TableContract, outcome: StageOutcome) -> None:
    if outcome.unnamed:
        logger.info("%s: columns of the source that the contract does not name: %s", contract.table, outcome.unnamed)
    if outcome.manifest is None:
        logger.info("%s: nothing new to stage, %.2f s", contract.table, outcome.seconds)
    for manifest in filter(None, (outcome.manifest, outcome.recovered)):
        _log_set(contract, manifest, outcome.seconds)


def _log_set(contract: TableContract, manifest: Manifest, seconds: float) -> None:
    logger.info(
        "%s: staged set %d%s: %d rows, %d rejected, %d bytes, %s, window %s to %s, %.2f s",
        contract.table,
        manifest.sequence,
        f" for {', '.join(manifest.only)} alone" if manifest.only else "",
        manifest.rows,
        manifest.rejected,
        manifest.bytes,
        manifest.extraction,
        manifest.window.start,
        manifest.window.end,
        seconds,
    )
    if manifest.left_out_changed:
        logger.warning(
            "%s: %d rows of keys that were staged before have changed at the source; an append keeps what it has",
            contract.table,
            manifest.left_out_changed,
        )


def load_table(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagingArea,
    registry: Registry,
    workers: Workers = HERE,
) -> LoadOutcome:
    """Load every staged set of a table that a destination lacks, oldest first; `workers` say who writes its parts.

    With none, rows that the destination keeps aside come back when what they reference has come.

    Raises:
        Any error of the load protocol; sets before the failing one stay applied.
    """
    started = time.monotonic()
    done: list[tuple[LoadPlan, LoadResult]] = []
    todo = pending(destination, contract, area, registry)
    if todo.plans:
        Verdicts(area).withdraw(contract.table, destination.name, todo.plans[0].sequence)
    for plan in todo.plans:
        done.append((plan, _load_one(destination, plan, workers)))
        registry.finished(*done[-1])
    if not todo.plans and (released := _release(destination, todo.applied)):
        done.append(released)
        registry.finished(*released)
        # What came back was staged long ago, and no validation has seen it here.
        Verdicts(area).withdraw(contract.table, destination.name, 1)
    newest = todo.plans[-1] if todo.plans else todo.applied
    outcome = summed(contract.table, destination.name, done, seconds=time.monotonic() - started)
    outcome = replace(outcome, position=newest.sequence if newest else 0)
    LastLoads(area).ended_well(outcome)
    return outcome


def _refuse_to_empty(destination: Destination[Any, Any], plan: LoadPlan) -> None:
    """Refuse an empty whole table where the destination has rows that staging knows nothing of.

    Raises:
        Rejected: the table would be emptied, and its contract does not allow it.
    """
    if plan.rows or plan.covers != Covers() or plan.contract.allow_empty:
        return
    if isinstance(destination, SupportsCounting) and (held := destination.count(replace(plan, touched=None)).rows):
        raise Rejected(
            f"{plan.table}: the source has no rows, and {plan.destination} has {held}, which would all go; check the "
            "source, or set allow_empty: true in the contract"
        )


def _load_one(destination: Destination[Any, Any], plan: LoadPlan, workers: Workers) -> LoadResult:
    _refuse_to_empty(destination, plan)
    logger.info(
        "%s: load %s into %s starts: %s, %d rows in %d parts, options %s",
        plan.table,
        plan.load_id,
        plan.destination,
        plan.strategy.value,
        plan.rows,
        len(plan.parts),
        plan.options.model_dump_json(exclude_defaults=True),
    )
    started = time.monotonic()
    result = load(destination, plan, map_parts=workers.mapping(destination, plan))
    seconds = time.monotonic() - started
    logger.info(
        "%s: load %s into %s ended: inserted %d, updated %d, unchanged %d, deleted %d, spared %d, rejected %d, "
        "released %d%s, %.2f s, %.0f rows/s",
        plan.table,
        plan.load_id,
        plan.destination,
        result.inserted,
        result.updated,
        result.unchanged,
        result.deleted,
        result.spared,
        result.rejected,
        result.released,
        ", replayed" if result.replayed else "",
        seconds,
        plan.rows / seconds if seconds else 0.0,
    )
    return result


def _release(destination: Destination[Any, Any], applied: LoadPlan | None) -> tuple[LoadPlan, LoadResult] | None:
    if applied is None or not isinstance(destination, SupportsQuarantine):
        return None
    if not applied.contract.references and applied.contract.deletes == "keep":
        return None  # no row can wait for a parent, and none was spared for a child
    result = destination.release(applied)
    if result is None:
        return None
    logger.info("%s: %d rows came back from the quarantine of %s", applied.table, result.released, destination.name)
    # The rows may belong to any day, and join those that are there.
    strategy = Strategy.UPSERT if applied.strategy is Strategy.OVERWRITE else applied.strategy
    return replace(applied, strategy=strategy, parts=(), rejected=0, touched=None), result


def is_retryable(error: BaseException) -> bool:
    """Tell whether trying the same step again may succeed."""
    return isinstance(error, Retryable)
