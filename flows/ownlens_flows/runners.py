"""Who runs the steps of a run: threads of this process, or, in `tasks`, the task runs of a Prefect flow."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from ownlens_plugins.engine.running import is_retryable
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.stopping import Stop

from . import steps
from .run import LoadRun, logger
from .schedule import LOAD, STAGE, Step

# A delay is up to this much longer, so that rivals do not meet again.
_JITTER = 0.5


class Unfinished(OwnLensError):
    """A step has not ended: it waits for its next try."""


class Runner(Protocol):
    """What the driver of a run needs of those who do the steps."""

    def submit(self, step: Step, ended: Callable[[], None]) -> None:
        """Begin a step whose inputs are there; `ended` is called from any thread when it has ended."""

    def outcome(self, step: Step, patience: float | None) -> Any:
        """Return what a step gave, after at most `patience` seconds.

        Raises:
            Unfinished: it has not ended by then. OwnLensError: it failed.
        """

    def watching(self, stop: Stop, wake: Callable[[], None]) -> AbstractContextManager[None]:
        """Ask the run to stop when somebody else than this process's signals does, and wake its driver."""


@dataclass
class Threads:
    """Runs steps in threads of this process, and tries a step again after `Retryable` as the profile says."""

    run: LoadRun
    pool: ThreadPoolExecutor
    futures: dict[Step, Future[Any]] = field(default_factory=dict)

    def submit(self, step: Step, ended: Callable[[], None]) -> None:
        """Begin a step; `ended` is called from its thread."""
        self.futures[step] = future = self.pool.submit(self._patiently, step)
        future.add_done_callback(lambda _: ended())

    def outcome(self, step: Step, patience: float | None) -> Any:
        """Return what a step gave."""
        try:
            return self.futures[step].result(patience)
        except TimeoutError:
            raise Unfinished(f"{step.table}: {step.kind} has not ended") from None

    def watching(self, stop: Stop, wake: Callable[[], None]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nobody else can ask a process without a server to stop."""
        return nullcontext()

    def _patiently(self, step: Step) -> Any:
        delay = self.run.profile.retry_delay_seconds
        for _ in range(self.run.profile.retries):
            try:
                return self._perform(step)
            except Exception as error:
                if not is_retryable(error):
                    raise
                logger.warning("%s; trying again in about %.1f s", error, delay)
            if self.run.stop.wait(delay * (1 + random.uniform(0, _JITTER))):
                raise Unfinished(f"{step.table}: {step.kind} is not tried again, as the run stops")
            delay *= 2
        return self._perform(step)

    def _perform(self, step: Step) -> Any:
        if step.kind == STAGE:
            return steps.stage(self.run, step.table)
        if step.kind == LOAD:
            return steps.load(self.run, step.table, step.destination)
        loaded = self.futures[Step(LOAD, step.table, step.destination)].result()
        return steps.validate_loaded(self.run, step.table, step.destination, loaded)


@contextmanager
def threads(run: LoadRun) -> Iterator[Threads]:
    """Give a run threads of its own."""
    pool = ThreadPoolExecutor(run.profile.max_workers, thread_name_prefix="ownlens-step")
    try:
        yield Threads(run, pool)
    finally:
        # Whoever is interrupted once more does not wait: a commit that is cut off here is made up for like any crash.
        pool.shutdown(wait=False, cancel_futures=True)
