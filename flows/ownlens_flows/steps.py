"""The steps of a run, whoever runs them: stage one table, load it into one destination, validate what was loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ownlens_plugins.commands import naming_the_table
from ownlens_plugins.engine.outcomes import LoadOutcome, StageOutcome
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.verdicts import Verdicts, unvalidated
from ownlens_plugins.errors import OwnLensError, Rejected, Stopped
from ownlens_plugins.stopping import safe_point
from ownlens_plugins.validation import ValidationResult, validate

from .run import LoadRun, logger


def stage(run: LoadRun, table: str) -> StageOutcome:
    """Stage what is new of a table.

    Raises:
        OwnLensError: nothing was staged; its text is one line without secrets.
    """
    assert run.snapshot is not None
    with _scrubbed(run, table, "staging"):
        return stage_table(
            run.contract(table),
            run.snapshot,
            run.area,
            full_refresh=run.request.full_refresh,
            sweep_deletes=run.request.sweep_deletes,
            source_moved=run.request.source_moved,
            positions=run.positions,
            recovery=run.recovery,
        )


def load(run: LoadRun, table: str, destination: str) -> LoadOutcome:
    """Bring a destination up to date with what is staged of a table.

    Raises:
        OwnLensError: sets before the failing one stay applied; its text is one line without secrets.
    """
    with _scrubbed(run, table, destination):
        outcome = load_table(run.destinations[destination], run.contract(table), run.area, run.registry, run.workers)
        if run.owes_validation:
            passed = Verdicts(run.area).read(table, destination).passed
            outcome = replace(outcome, owed=passed < outcome.position)
    return outcome


def validate_loaded(run: LoadRun, table: str, destination: str, outcome: LoadOutcome) -> ValidationResult:
    """Validate what a load touched, and what earlier loads left without a validation.

    Raises:
        ValidationFailed: an expectation is not met. OwnLensError: it could not be validated.
    """
    store, verdicts = run.destinations[destination], Verdicts(run.area)
    with _scrubbed(run, table, destination):
        plan, done = unvalidated(store, run.contract(table), run.area, run.registry, outcome)
        result = validate(store, plan, result=done)
        # The word is kept before anybody is told: a run that dies in between has still validated.
        if result.success:
            verdicts.passed(table, destination, outcome.position)
        else:
            verdicts.failed(table, destination, outcome.position, str(result.failed[0]))
        result.raise_if_failed()
        return result


class _scrubbed:  # reads as a verb in a with statement
    """Log an error's masked stack trace, and let only a masked one-line error out: reports and servers store it."""

    def __init__(self, run: LoadRun, table: str, where: str) -> None:
        self.run, self.table, self.where = run, table, where

    def __enter__(self) -> None:
        self._work = self.run.at_work()
        self._work.__enter__()
        try:
            safe_point(self.table, self.where)
        except Stopped:
            self._work.__exit__(None, None, None)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._work.__exit__(None, None, None)
        if error is None or not isinstance(error, Exception):
            return
        if isinstance(error, Stopped):
            logger.warning("%s", error)
            return
        logger.error("%s: %s failed\n%s", self.table, self.where, self.run.scrubber.trace(error))
        line = naming_the_table(self.run.scrubber.line(error), self.table)
        if isinstance(error, OwnLensError):
            raise type(error)(line) if _takes_a_line(error) else Rejected(line)
        raise Rejected(f"{self.table}: {self.where}: {type(error).__name__}: {line}; see the log") from None


def _takes_a_line(error: OwnLensError) -> bool:
    return type(error).__init__ is OwnLensError.__init__
