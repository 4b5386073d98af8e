"""Drive a run: submit steps as they become ready, gather what became of them, and stop when told to."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from signal import Signals
from typing import Any

from ownlens_plugins.commands import load_command
from ownlens_plugins.engine.outcomes import LoadOutcome, StageOutcome, Status
from ownlens_plugins.engine.quarantining import refused_line
from ownlens_plugins.engine.sources.source import Snapshot
from ownlens_plugins.errors import Stopped, ValidationFailed

from .closing import compare_stores, release_again
from .report import Rejection, RunReport
from .run import LoadRun, logger
from .runners import Runner, Unfinished
from .schedule import LOAD, STAGE, VALIDATE, Schedule, Step

# Seconds for a step that has ended to hand over what became of it.
_HANDOVER = 5.0


@dataclass
class Driver:
    """Hands steps to its runner as they become ready and gathers their results; lives in the caller's own thread."""

    run: LoadRun
    runner: Runner
    report: RunReport = field(default_factory=RunReport)
    submitted: set[Step] = field(default_factory=set)
    collected: set[Step] = field(default_factory=set)
    # None wakes the driver, because the run is to stop.
    ended: queue.SimpleQueue[Step | None] = field(default_factory=queue.SimpleQueue)

    def drive(self) -> RunReport:
        """Run all steps. An interrupted run comes back with what it did, and with the interrupt.

        Raises:
            OwnLensError: the source cannot be opened.
        """
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
        with self._snapshot() if usable else nullcontext() as run.snapshot:
            self.report.held = run.snapshot.held if run.snapshot else ""
            self._run(schedule)
        return self.report

    @contextmanager
    def _snapshot(self) -> Iterator[Snapshot]:
        """Open the source; that no table could be loaded is noted for each, as the error ends the run."""
        with ExitStack() as open_until_the_end:
            try:
                snapshot = open_until_the_end.enter_context(self.run.source.snapshot())
            except Exception as error:
                for contract in self.run.contracts:
                    for name in set(self.run.destinations) - set(self.run.unreachable):
                        self.run.last_loads.failed(contract.table, name, self.run.scrubber.line(error))
                raise
            yield snapshot

    def _run(self, schedule: Schedule) -> None:
        try:
            with self.runner.watching(self.run.stop, lambda: self.ended.put(None)):
                self._loop(schedule)
                if not self.run.stop.asked:
                    self._finish(schedule)
        except BaseException as error:
            # A signal, a time limit, or Prefect that gave up: no task may outlive the connections that it uses.
            self.run.stop.ask(_named(error))
            self._settle(schedule)
            if isinstance(error, Exception):
                raise
            self.report.interrupt = error
        else:
            if self.run.stop.asked:
                self._settle(schedule)

    def _finish(self, schedule: Schedule) -> None:
        """Do what can only be done once all loads have ended."""
        came = release_again(self.run, self.report)
        self._validate_again(came, schedule)
        compare_stores(self.run, self.report)

    def _validate_again(self, keys: Sequence[tuple[str, str]], schedule: Schedule) -> None:
        if self.run.owes_validation:
            self.report.owed.update(keys)
        for step in [Step(VALIDATE, *key) for key in keys if self.run.validates]:
            self._submit(step)
            self._collect(step, schedule)

    def _loop(self, schedule: Schedule) -> None:
        active = 0
        while not self.run.stop.asked:
            for step in schedule.ready(self.run.profile.max_workers - active):
                self._submit(step)
                active += 1
            self._note_skipped(schedule.skipped)
            if not active:
                return
            if (ended := self.ended.get()) is not None:
                active -= 1
                self._collect(ended, schedule)

    def _settle(self, schedule: Schedule) -> None:
        """Wait until every task has left off or ended, and note what became of it."""
        self.report.stopped = self.run.stop.reason
        logger.warning("the run stops (%s): loads that have not begun to commit leave off", self.run.stop.reason)
        self.run.wait_until_idle()
        for step in self.submitted - self.collected:
            self._collect(step, schedule)
        for contract in self.run.contracts:
            for destination in self.run.destinations:
                if (contract.table, destination) not in self.report.outcomes:
                    self._stopped(contract.table, destination)

    def _note_unreachable(self) -> None:
        for name, reason in self.run.unreachable.items():
            for contract in self.run.contracts:
                self._failed(contract.table, name, f"{name}: {reason}" if name not in reason else reason)

    def _submit(self, step: Step) -> None:
        self.submitted.add(step)
        self.runner.submit(step, lambda: self.ended.put(step))

    def _collect(self, step: Step, schedule: Schedule) -> None:
        self.collected.add(step)
        try:
            # The step has ended, or waits for a next try that a stopped run does not grant.
            result = self.runner.outcome(step, _HANDOVER if self.run.stop.asked else None)
        except Exception as error:
            schedule.ended(step, well=False)
            self._note_failure(step, error)
            return
        schedule.ended(step, well=True, changed=self._note_result(step, result))

    def _note_result(self, step: Step, result: Any) -> bool:
        if isinstance(result, StageOutcome):
            self._note_staged(result)
            return True
        if isinstance(result, LoadOutcome):
            self._note_loaded(result)
            self.run.observe("loaded", step.table, step.destination, result)
            return result.owed
        self.report.owed.discard((step.table, step.destination))
        self.report.validations[step.table, step.destination] = result
        self.run.observe("validated", step.table, step.destination, result)
        return True

    def _note_loaded(self, outcome: LoadOutcome) -> None:
        key = (outcome.table, outcome.destination)
        self.report.outcomes[key] = outcome
        if outcome.owed:
            self.report.owed.add(key)
        plan, result = outcome.plan, outcome.result
        if plan is not None and result is not None and result.rows not in (plan.rows, 0 if result.replayed else -1):
            self.report.mismatches[key] = (
                f"{outcome.table}: {outcome.destination}: says {result.rows} rows, but {plan.rows} are staged; "
                f"load it again with `{load_command(outcome.table, '--full-refresh')}`"
            )

    def _note_staged(self, outcome: StageOutcome) -> None:
        self.run.observe("staged", outcome.table, "", outcome)
        self._note_columns(outcome)
        for manifest in filter(None, (outcome.manifest, outcome.recovered)):
            self.report.staged_rows += manifest.rows
            if manifest.rejected:
                line = refused_line(manifest, self.run.area.address(manifest.quarantine or ""))
                logger.warning("%s", line)
                self.report.rejections.append(Rejection(outcome.table, manifest.rejected, line, manifest.reasons))

    def _note_columns(self, outcome: StageOutcome) -> None:
        if outcome.unnamed:
            self.report.unnamed[outcome.table] = outcome.unnamed
        if outcome.added:
            self.report.added[outcome.table] = outcome.added

    def _note_failure(self, step: Step, error: BaseException) -> None:
        reason = str(error)
        if isinstance(error, Stopped) or (
            step.kind != VALIDATE and self.run.stop.asked and isinstance(error, Unfinished)
        ):
            self._note_stopped(step)
        elif step.kind == STAGE:
            for destination in self.run.destinations:
                if destination not in self.run.unreachable:
                    self._failed(step.table, destination, reason)
        elif step.kind == LOAD:
            self._failed(step.table, step.destination, reason)
        else:
            self._note_invalid((step.table, step.destination), error)

    def _note_invalid(self, key: tuple[str, str], error: BaseException) -> None:
        reason = str(error)
        self.report.invalid[key] = reason
        self.report.owed.discard(key)
        if isinstance(error, ValidationFailed):
            self.report.mismatches[key] = reason
        self.run.observe("invalid", *key, reason)

    def _note_stopped(self, step: Step) -> None:
        if step.kind == LOAD:
            self._stopped(step.table, step.destination)

    def _note_skipped(self, skipped: Mapping[Step, str]) -> None:
        for step, parent in skipped.items():
            key = (step.table, step.destination)
            if key not in self.report.outcomes:
                reason = f"{step.table}: {step.destination}: not loaded, because its parent {parent} was not"
                self.report.outcomes[key] = LoadOutcome(*key, Status.SKIPPED, error=reason)
                self.run.last_loads.failed(*key, reason)
                self.run.observe("failed", step.table, step.destination, reason)

    def _stopped(self, table: str, destination: str) -> None:
        reason = f"{table}: {destination}: not loaded, because the run was stopped ({self.run.stop.reason})"
        self.report.outcomes[table, destination] = LoadOutcome(table, destination, Status.STOPPED, error=reason)

    def _failed(self, table: str, destination: str, reason: str) -> None:
        self.report.outcomes[table, destination] = LoadOutcome(table, destination, Status.FAILED, error=reason)
        self.run.last_loads.failed(table, destination, reason)
        self.run.observe("failed", table, destination, reason)


def _named(error: BaseException) -> str:
    """Return what stopped the run, in the words of a person."""
    if (number := getattr(error, "signal", None)) is not None:
        return Signals(number).name
    return "SIGINT" if isinstance(error, KeyboardInterrupt) else type(error).__name__
