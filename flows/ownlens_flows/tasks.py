"""Thin Prefect tasks over the engine: each names its run by key, does one step, and lets the engine decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.assets import Asset, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from ownlens_plugins.engine.outcomes import COUNTS, LoadOutcome, StageOutcome
from ownlens_plugins.engine.running import is_retryable, load_table, stage_table
from ownlens_plugins.engine.verdicts import Verdicts, unvalidated
from ownlens_plugins.errors import OwnLensError, Rejected, Stopped
from ownlens_plugins.stopping import safe_point
from ownlens_plugins.validation import ValidationResult, validate

from .assets import asset_key, source_key, staged_key
from .run import LoadRun, current, logger


def _retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    # Prefect treats an exception in here as a crash of the task.
    try:
        state.result()
    except BaseException as error:
        return is_retryable(error)
    return False


def _options(run: LoadRun, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "retries": run.profile.retries,
        "retry_delay_seconds": exponential_backoff(backoff_factor=run.profile.retry_delay_seconds),
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": _retry,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }


# Prefect's overloads do not admit options that are gathered in one place.
_task: Any = task
_materialize: Any = materialize
AnyTask = Task[..., Any]


def stage_task(run: LoadRun, table: str) -> AnyTask:
    """Return the task that stages one table: the asset between its source and its destinations."""
    options = _options(run, "stage") | {"asset_deps": [Asset(key=source_key(table))]}
    asset = Asset(key=staged_key(table))
    made: AnyTask = _materialize(asset, task_run_name=_called(f"stage {table}"), **options)(_stage)
    return made


def load_task(run: LoadRun, table: str, destination: str) -> AnyTask:
    """Return the task that brings one table in one destination up to date, as an asset of that destination."""
    options = _options(run, f"load-{destination}") | {"asset_deps": [Asset(key=staged_key(table))]}
    asset = Asset(key=asset_key(table, destination))
    made: AnyTask = _materialize(asset, task_run_name=_called(f"load {table} into {destination}"), **options)(_load)
    return made


def validate_task(run: LoadRun, table: str, destination: str) -> AnyTask:
    """Return the task that validates what a load touched."""
    name = _called(f"validate {table} in {destination}")
    made: AnyTask = _task(task_run_name=name, **_options(run, "validate"))(_validate)
    return made


def _called(name: str) -> Callable[[], str]:
    # A plain text would be a template to Prefect, which fills in what it finds between braces.
    return lambda: name


def _stage(key: str, table: str) -> StageOutcome:
    run = current(key)
    assert run.snapshot is not None
    with _scrubbed(run, table, "staging"):
        outcome = stage_table(
            run.contract(table),
            run.snapshot,
            run.area,
            full_refresh=run.request.full_refresh,
            sweep_deletes=run.request.sweep_deletes,
            source_moved=run.request.source_moved,
            positions=run.positions,
        )
    if (manifest := outcome.manifest) is not None:
        counts = {"rows": manifest.rows, "rejected": manifest.rejected, "sequence": manifest.sequence}
        add_asset_metadata(staged_key(table), counts)
    return outcome


def _load(key: str, table: str, destination: str) -> LoadOutcome:
    run = current(key)
    with _scrubbed(run, table, destination):
        outcome = load_table(run.destinations[destination], run.contract(table), run.area, run.registry, run.workers)
        if run.owes_validation:
            passed = Verdicts(run.area).read(table, destination).passed
            outcome = replace(outcome, owed=passed < outcome.position)
    add_asset_metadata(asset_key(table, destination), {name: getattr(outcome, name) for name in COUNTS})
    return outcome


def _validate(key: str, table: str, destination: str, outcome: LoadOutcome) -> ValidationResult:
    run = current(key)
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
    """Log an error's masked stack trace, and let only a masked one-line error reach Prefect, which stores it."""

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
        line = self.run.scrubber.line(error)
        if isinstance(error, OwnLensError):
            raise type(error)(line) if _takes_a_line(error) else Rejected(line)
        raise Rejected(f"{self.table}: {self.where}: {type(error).__name__}: {line}; see the log") from None


def _takes_a_line(error: OwnLensError) -> bool:
    return type(error).__init__ is OwnLensError.__init__
