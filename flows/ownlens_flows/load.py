"""The flow that loads tables: stage each once, fan out over destinations, validate, roll up honestly."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from ownlens_plugins.engine.outcomes import LoadOutcome, StageOutcome, Status
from ownlens_plugins.engine.quarantining import refused_line
from ownlens_plugins.errors import OwnLensError, ValidationFailed

from .report import Rejection, RunReport
from .request import LoadRequest
from .run import LoadRun, Observer, check_destinations, ignore, logger, prepare, shared
from .schedule import LOAD, STAGE, Schedule, Step
from .signals import FAILED, tell, tell_report
from .tasks import load_task, stage_task, validate_task

MAX_THREADS = 64


# Its type parameter and the flow decorator's do not agree in Prefect's own annotations.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=MAX_THREADS)


EVERYTHING = LoadRequest()


@flow(name="load-tables", task_runner=RUNNER, persist_result=False)
def load_tables(request: LoadRequest = EVERYTHING) -> State[Any]:
    """Load the requested tables into the requested destinations, each staged set exactly once."""
    if (ours := logging.getLogger("ownlens")).level == logging.NOTSET:
        # Prefect hands our lines to its server when prefect.yaml says so, but leaves the level at the root's: warnings.
        ours.setLevel(logging.INFO)
    return roll_up(run_loads(request))


def roll_up(report: RunReport) -> State[Any]:
    """Return the state of a run: one failed load, failed validation or newly refused row fails it."""
    if report.succeeded and not report.rejections:
        return Completed(message=report.message())
    lines = [*report.failures, *(rejection.message for rejection in report.rejections)]
    return Failed(message="; ".join([report.message(), *lines[:5]]))


def run_loads(request: LoadRequest, *, observe: Observer = ignore) -> RunReport:
    """Run all steps of a request inside a flow run.

    Raises:
        OwnLensError: the request cannot be run at all; nothing has been touched. Its text holds no secret.
    """
    started = time.monotonic()
    try:
        run = prepare(request, observe=observe)
    except OwnLensError as error:
        tell(FAILED, str(error))
        raise
    key = uuid4().hex
    with shared(key, run):
        _warm_up(run)
        check_destinations(run)
        report = _Driver(run, key).drive()
    report.seconds = time.monotonic() - started
    create_table_artifact(key="ownlens-load-summary", table=report.table_rows(), description=report.message())
    tell_report(report, run.profile)
    return report


def _warm_up(run: LoadRun) -> None:
    if not run.validates:
        return
    from ownlens_plugins.validation import warm_up

    # Importing Great Expectations takes seconds; staging can go on meanwhile.
    threading.Thread(target=warm_up, name="ownlens-warm-up", daemon=True).start()


@dataclass
class _Driver:
    """Submits steps as they become ready and gathers their results; lives in the flow's own thread."""

    run: LoadRun
    key: str
    report: RunReport = field(default_factory=RunReport)
    futures: dict[Step, PrefectFuture[Any]] = field(default_factory=dict)
    ended: queue.SimpleQueue[Step] = field(default_factory=queue.SimpleQueue)

    def drive(self) -> RunReport:
        run = self.run
        usable = [name for name in run.destinations if name not in run.unreachable]
        self._note_unreachable()
        schedule = Schedule(
            run.contracts,
            usable,
            frozenset(name for name in usable if run.destinations[name].enforces_references),
            {name: run.slots(name) for name in usable},
            run.validates,
        )
        with run.source.snapshot() if usable else nullcontext() as run.snapshot:
            self._loop(schedule if usable else None)
        return self.report

    def _note_unreachable(self) -> None:
        for name, reason in self.run.unreachable.items():
            for contract in self.run.contracts:
                self._failed(contract.table, name, f"{name}: {reason}" if name not in reason else reason)

    def _loop(self, schedule: Schedule | None) -> None:
        active = 0
        while schedule is not None:
            for step in schedule.ready(self.run.profile.max_workers - active):
                self._submit(step)
                active += 1
            self._note_skipped(schedule.skipped)
            if not active:
                return
            step = self.ended.get()
            active -= 1
            self._collect(step, schedule)

    def _submit(self, step: Step) -> None:
        future = self._future(step)
        self.futures[step] = future
        future.add_done_callback(lambda _: self.ended.put(step))

    def _future(self, step: Step) -> PrefectFuture[Any]:
        # Unquoted, Prefect would take a text that some result also holds for a lineage between the two tasks.
        key, table, destination = quote(self.key), quote(step.table), quote(step.destination)
        if step.kind == STAGE:
            return stage_task(self.run, step.table).submit(key, table)
        if step.kind == LOAD:
            staged = self.futures[Step(STAGE, step.table)]
            task = load_task(self.run, step.table, step.destination)
            return task.submit(key, table, destination, wait_for=[staged])
        loaded = self.futures[Step(LOAD, step.table, step.destination)]
        return validate_task(self.run, step.table, step.destination).submit(key, table, destination, loaded)

    def _collect(self, step: Step, schedule: Schedule) -> None:
        future = self.futures[step]
        # The task has ended; this only fetches its final state.
        future.wait()
        state = future.state
        if not state.is_completed():
            schedule.ended(step, well=False)
            self._note_failure(step, _error(state))
            return
        result = future.result()
        schedule.ended(step, well=True, changed=self._note_result(step, result))

    def _note_result(self, step: Step, result: Any) -> bool:
        if isinstance(result, StageOutcome):
            self._note_staged(result)
            return True
        if isinstance(result, LoadOutcome):
            self._note_loaded(result)
            self.run.observe("loaded", step.table, step.destination, result)
            return result.status is Status.LOADED
        self.report.validations[step.table, step.destination] = result
        self.run.observe("validated", step.table, step.destination, result)
        return True

    def _note_loaded(self, outcome: LoadOutcome) -> None:
        key = (outcome.table, outcome.destination)
        self.report.outcomes[key] = outcome
        plan, result = outcome.plan, outcome.result
        if plan is not None and result is not None and result.rows != plan.rows:
            self.report.mismatches[key] = (
                f"{outcome.table}: {outcome.destination}: says {result.rows} rows, but {plan.rows} are staged; "
                "load the table again with full_refresh"
            )

    def _note_staged(self, outcome: StageOutcome) -> None:
        self.run.observe("staged", outcome.table, "", outcome)
        manifest = outcome.manifest
        if manifest is None:
            return
        self.report.staged_rows += manifest.rows
        if manifest.rejected:
            line = refused_line(manifest, self.run.area.address(manifest.quarantine or ""))
            logger.warning("%s", line)
            self.report.rejections.append(Rejection(outcome.table, manifest.rejected, line, manifest.reasons))

    def _note_failure(self, step: Step, error: BaseException) -> None:
        reason = str(error)
        if step.kind == STAGE:
            for destination in self.run.destinations:
                if destination not in self.run.unreachable:
                    self._failed(step.table, destination, reason)
        elif step.kind == LOAD:
            self._failed(step.table, step.destination, reason)
        else:
            self.report.invalid[step.table, step.destination] = reason
            if isinstance(error, ValidationFailed):
                self.report.mismatches[step.table, step.destination] = reason
            self.run.observe("invalid", step.table, step.destination, reason)

    def _note_skipped(self, skipped: Mapping[Step, str]) -> None:
        for step, parent in skipped.items():
            key = (step.table, step.destination)
            if key not in self.report.outcomes:
                reason = f"{step.table}: {step.destination}: not loaded, because its parent {parent} was not"
                self.report.outcomes[key] = LoadOutcome(*key, Status.SKIPPED, error=reason)
                self.run.observe("failed", step.table, step.destination, reason)

    def _failed(self, table: str, destination: str, reason: str) -> None:
        self.report.outcomes[table, destination] = LoadOutcome(table, destination, Status.FAILED, error=reason)
        self.run.observe("failed", table, destination, reason)


def _error(state: State[Any]) -> BaseException:
    """Return why a task ended as it did, with a message that people may see."""
    try:
        state.result()
    except OwnLensError as error:
        return error
    except BaseException as error:
        logger.error("a task ended in state %s: %s", state.name, type(error).__name__)
    return OwnLensError(f"{state.name}: {state.message or 'no reason given'}")
