"""The steps of a run for one table: stage it once, then bring a destination up to date."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from ..api import Destination, LoadPlan, LoadResult
from ..contracts import Strategy, TableContract
from ..errors import Retryable
from ..powers import SupportsQuarantine
from ..registry import Registry
from .loading import load
from .outcomes import LoadOutcome, StageOutcome, summed
from .planning import next_request, pending
from .sources.source import Selection, Snapshot
from .staging import StagingArea
from .verdicts import Verdicts

logger = logging.getLogger("ownlens.load")


def stage_table(
    contract: TableContract, snapshot: Snapshot, area: StagingArea, *, full_refresh: bool = False
) -> StageOutcome:
    """Extract a table's new rows from a snapshot and store them as the next staged set.

    Raises:
        SourceInvalid, Rejected, Retryable: nothing was staged.
    """
    started = time.monotonic()
    request = next_request(contract, area.manifests(contract.table), snapshot.closes_at, full_refresh=full_refresh)
    with snapshot.read(contract, Selection(request.extraction, request.window)) as extracted:
        manifest = area.stage(contract, extracted, request)
    outcome = StageOutcome(contract.table, manifest, time.monotonic() - started)
    _log_staged(contract, outcome)
    return outcome


def _log_staged(contract: TableContract, outcome: StageOutcome) -> None:
    manifest = outcome.manifest
    if manifest is None:
        logger.info("%s: nothing new to stage, %.2f s", contract.table, outcome.seconds)
        return
    logger.info(
        "%s: staged set %d: %d rows, %d rejected, %d bytes, %s, window %s to %s, %.2f s",
        contract.table,
        manifest.sequence,
        manifest.rows,
        manifest.rejected,
        manifest.bytes,
        manifest.extraction,
        manifest.window.start,
        manifest.window.end,
        outcome.seconds,
    )


def load_table(
    destination: Destination[Any, Any], contract: TableContract, area: StagingArea, registry: Registry
) -> LoadOutcome:
    """Load every staged set of a table that a destination lacks, oldest first.

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
        done.append((plan, _load_one(destination, plan)))
        registry.finished(*done[-1])
    if not todo.plans and (released := _release(destination, todo.applied)):
        done.append(released)
        registry.finished(*released)
        # What came back was staged long ago, and no validation has seen it here.
        Verdicts(area).withdraw(contract.table, destination.name, 1)
    newest = todo.plans[-1] if todo.plans else todo.applied
    outcome = summed(contract.table, destination.name, done, seconds=time.monotonic() - started)
    return replace(outcome, position=newest.sequence if newest else 0)


def _load_one(destination: Destination[Any, Any], plan: LoadPlan) -> LoadResult:
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
    result = load(destination, plan)
    seconds = time.monotonic() - started
    logger.info(
        "%s: load %s into %s ended: inserted %d, updated %d, unchanged %d, deleted %d, rejected %d, released %d%s, "
        "%.2f s, %.0f rows/s",
        plan.table,
        plan.load_id,
        plan.destination,
        result.inserted,
        result.updated,
        result.unchanged,
        result.deleted,
        result.rejected,
        result.released,
        ", replayed" if result.replayed else "",
        seconds,
        plan.rows / seconds if seconds else 0.0,
    )
    return result


def _release(destination: Destination[Any, Any], applied: LoadPlan | None) -> tuple[LoadPlan, LoadResult] | None:
    if applied is None or not applied.contract.references or not isinstance(destination, SupportsQuarantine):
        return None
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
