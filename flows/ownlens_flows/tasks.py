"""Thin Prefect tasks over the engine: each names its run by key, does one step, and lets the engine decide."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from prefect import task
from prefect.assets import Asset, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.tasks import Task, exponential_backoff
from prefect.utilities.annotations import quote

from ownlens_plugins.engine.outcomes import COUNTS, LoadOutcome, StageOutcome
from ownlens_plugins.engine.running import is_retryable
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.stopping import Stop
from ownlens_plugins.validation import ValidationResult

from . import steps
from .assets import asset_key, source_key, staged_key
from .cancelling import watching
from .run import LoadRun, current, logger
from .runners import Unfinished
from .schedule import LOAD, STAGE, Step


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
    outcome = steps.stage(current(key), table)
    if (manifest := outcome.manifest) is not None:
        counts = {"rows": manifest.rows, "rejected": manifest.rejected, "sequence": manifest.sequence}
        add_asset_metadata(staged_key(table), counts)
    return outcome


def _load(key: str, table: str, destination: str) -> LoadOutcome:
    outcome = steps.load(current(key), table, destination)
    add_asset_metadata(asset_key(table, destination), {name: getattr(outcome, name) for name in COUNTS})
    return outcome


def _validate(key: str, table: str, destination: str, outcome: LoadOutcome) -> ValidationResult:
    return steps.validate_loaded(current(key), table, destination, outcome)


@dataclass
class TaskRuns:
    """Runs each step as a task run of the flow run that this is called in. `key` names the run in this process."""

    run: LoadRun
    key: str
    futures: dict[Step, PrefectFuture[Any]] = field(default_factory=dict)

    def submit(self, step: Step, ended: Callable[[], None]) -> None:
        """Begin a step; `ended` is called from another thread when it has ended."""
        self.futures[step] = future = self._future(step)
        future.add_done_callback(lambda _: ended())

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

    def outcome(self, step: Step, patience: float | None) -> Any:
        """Return what a step gave.

        Raises:
            Unfinished: it has not ended within `patience` seconds. OwnLensError: it failed.
        """
        future = self.futures[step]
        future.wait(patience)
        if not future.state.is_completed():
            raise _error(future.state)
        return future.result()

    def watching(self, stop: Stop, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Ask the run to stop when the server says that its flow run is being cancelled."""
        return watching(stop, wake=wake)


def _error(state: State[Any]) -> BaseException:
    """Return why a task ended as it did, with a message that people may see."""
    if not state.is_final():
        return Unfinished(f"{state.name}: {state.message or 'no reason given'}")
    try:
        state.result()
    except OwnLensError as error:
        return error
    except BaseException as error:
        logger.error("a task ended in state %s: %s", state.name, type(error).__name__)
    return OwnLensError(f"{state.name}: {state.message or 'no reason given'}")
