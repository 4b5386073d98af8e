"""What a run does once its loads have ended: bring the last rows in and out, and compare the stores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ownlens_plugins.api import Destination, LoadPlan, LoadResult, TouchedSlice
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.engine.planning import plan_load
from ownlens_plugins.engine.reconciling import Difference, Subject, compare
from ownlens_plugins.engine.verdicts import Verdicts
from ownlens_plugins.powers import SupportsCounting, SupportsQuarantine

from .report import Key, RunReport
from .run import LoadRun, logger

_ENDED_WELL = (Status.LOADED, Status.NOTHING_NEW)
_COUNTING_THREADS = 4


def release_again(run: LoadRun, report: RunReport) -> list[Key]:
    """Let rows go that were spared for others, and rows in that waited for others, children first.

    Only where a load of this run deleted rows or spared some: nothing else can have changed what waits.

    Returns:
        The tables and destinations into which rows came, which no validation has seen.
    """
    came: list[Key] = []
    for name, destination in run.destinations.items():
        mine = [outcome for (_, where), outcome in report.outcomes.items() if where == name]
        if not isinstance(destination, SupportsQuarantine) or not any(one.deleted or one.spared for one in mine):
            continue
        children_first = reversed(run.contracts)
        came += [(one.table, name) for one in children_first if _release(run, report, one, destination)]
    return came


def _release(run: LoadRun, report: RunReport, contract: TableContract, destination: Any) -> bool:
    key = (contract.table, destination.name)
    try:
        with run.at_work():
            plan = _standing(run, contract, destination, report.outcomes.get(key))
            result = None if plan is None else destination.release(plan)
    except Exception as error:
        # The next run asks again; what is loaded is loaded.
        logger.warning("%s: %s: rows still wait: %s", *key, run.scrubber.line(error))
        return False
    if result is None:
        return False
    logger.info("%s: %s: %d rows came back and %d went at the end", *key, result.released, result.deleted)
    report.outcomes[key] = _added(report.outcomes[key], result)
    if result.released:
        Verdicts(run.area).withdraw(*key, 1)
    return bool(result.released)


def _added(outcome: LoadOutcome, more: LoadResult) -> LoadOutcome:
    names = ("inserted", "updated", "unchanged", "deleted", "released")
    counts = {name: getattr(outcome, name) + getattr(more, name) for name in names}
    # What has gone is not spared any more.
    return replace(outcome, spared=max(0, outcome.spared - more.deleted), **counts)


def _standing(
    run: LoadRun, contract: TableContract, destination: Destination[Any, Any], outcome: LoadOutcome | None
) -> LoadPlan | None:
    """Return the plan of the newest staged set that is for a destination, when it stands there."""
    log = run.area.log(contract.table).those(lambda manifest: manifest.is_for(destination.name))
    if outcome is None or outcome.status not in _ENDED_WELL or not log or log[-1].sequence != outcome.position:
        return None
    return plan_load(destination, contract, log[-1], run.area, run.registry)


def compare_stores(run: LoadRun, report: RunReport) -> None:
    """Compare what the stores show of each table that this run loaded, and note where they differ."""
    loaded = {table for (table, _), outcome in report.outcomes.items() if outcome.status is Status.LOADED}
    contracts = [contract for contract in run.contracts if contract.table in loaded]
    with ThreadPoolExecutor(_COUNTING_THREADS, thread_name_prefix="ownlens-compare") as pool:
        for contract, found in zip(
            contracts, pool.map(lambda one: _compared(run, report, one), contracts), strict=True
        ):
            for difference in found:
                report.mismatches[contract.table, difference.destination] = difference.message
            for message in dict.fromkeys(difference.message for difference in found):
                logger.error("%s", message)


def _compared(run: LoadRun, report: RunReport, contract: TableContract) -> list[Difference]:
    try:
        with run.at_work():
            subjects = _at_newest(list(_subjects(run, report, contract)))
            found = compare(subjects, _touched(report, subjects)) if subjects else []
            # A rival that loads while we count makes stores differ for a moment; its own run compares them.
            return [] if not found or _overtaken(run, contract, subjects) else found
    except Exception as error:
        logger.warning("%s: the stores were not compared: %s", contract.table, run.scrubber.line(error))
        return []


def _subjects(run: LoadRun, report: RunReport, contract: TableContract) -> Iterator[Subject]:
    for name, destination in run.destinations.items():
        if not isinstance(destination, SupportsCounting):
            continue
        plan = _standing(run, contract, destination, report.outcomes.get((contract.table, name)))
        if plan is not None:
            yield Subject(destination, plan)


def _at_newest(subjects: list[Subject]) -> list[Subject]:
    # A store that got a set for itself alone stands elsewhere until the next set for all.
    newest = max((one.plan.sequence for one in subjects), default=0)
    return [one for one in subjects if one.plan.sequence == newest]


def _touched(report: RunReport, subjects: list[Subject]) -> TouchedSlice | None:
    """Return the days that this run touched in any of the stores; None when it may be all."""
    outcomes = [report.outcomes[one.plan.table, one.plan.destination] for one in subjects]
    plans = [outcome.plan for outcome in outcomes if outcome.plan is not None]
    touched = [plan.touched for plan in plans if plan.touched is not None]
    if not touched or len(touched) < len(plans) or any(plan.strategy is Strategy.OVERWRITE for plan in plans):
        return None
    return TouchedSlice(touched[0].column, min(t.first for t in touched), max(t.last for t in touched))


def _overtaken(run: LoadRun, contract: TableContract, subjects: list[Subject]) -> bool:
    latest = run.area.latest(contract.table)
    return latest is None or latest.sequence != subjects[0].plan.sequence
