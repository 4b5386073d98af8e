"""Loads in processes of their own, which can be killed at a named moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from ..api import Destination, LoadPlan, LoadResult, LoadSession, Receipt
from ..engine.loading import load
from ..errors import Retryable
from ..powers import Chore, Upkeep

# Moments between the engine's calls: every destination comes by them, without any help of its own.
CALLS = ("opened", "written", "committing", "committed", "aborting")
PATIENCE_SECONDS = 120
# Arrow imports pandas, where it is installed, when it first converts values: that takes longer than a load.
_SLOW_TO_IMPORT = ("pandas", "pyarrow.compute", "pyarrow.pandas_compat", "pyarrow.parquet")

_Done = TypeVar("_Done")
_PROCESSES = multiprocessing.get_context("forkserver")


_PRELOADED: set[str] = set()


def prepare(modules: Iterable[str]) -> None:
    """Add modules that every process starts with; without effect once the first process has been started."""
    _PRELOADED.update(modules)
    # A process forked from one that has imported everything starts in milliseconds, and has no threads of ours.
    _PROCESSES.set_forkserver_preload(["pytest", *_SLOW_TO_IMPORT, __name__, *sorted(_PRELOADED)])


@dataclass(frozen=True)
class Work:
    """What one process does: load the plans one after the other, then each upkeep; again after errors that say so.

    `fault` is a moment of `CALLS` or a point of `ownlens_plugins.faults`; the process dies when it comes by. A process
    that `waits` starts its work when `Running.go` says so.
    """

    destination_type: type[Destination[Any, Any]]
    config: Any
    plans: Sequence[LoadPlan]
    fault: str = ""
    waits: bool = False
    upkeeps: Sequence[Upkeep] = ()


class Running:
    """A started process."""

    def __init__(self, work: Work) -> None:
        self._results, theirs = _PROCESSES.Pipe()
        self._process: BaseProcess = _PROCESSES.Process(target=_run, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until a process that `waits` has started."""
        assert self._results.poll(PATIENCE_SECONDS), "a loading process did not start in time"
        self._results.recv()

    def go(self) -> None:
        self._results.send("go")

    def killed(self) -> bool:
        """Wait for the end; tell whether the process was killed before it was done.

        Raises:
            AssertionError: it ended with an error, or not in time.
        """
        self._process.join(PATIENCE_SECONDS)
        code = self._process.exitcode
        assert code in {0, -signal.SIGKILL}, f"a loading process ended with {code}: see its output"
        return code != 0

    def kill(self) -> None:
        """Kill the process now, wherever it is."""
        self._process.kill()
        self._process.join()

    def results(self) -> list[LoadResult]:
        """Wait for the end; return one result a plan, and nothing of upkeeps.

        Raises:
            AssertionError: the process failed.
        """
        assert self._results.poll(PATIENCE_SECONDS), "a loading process did not end in time"
        try:
            outcome = self._results.recv()
        except EOFError:
            outcome = f"exit code {self._process.exitcode}"
        self._process.join(PATIENCE_SECONDS)
        assert isinstance(outcome, list), f"a loading process failed: {outcome}"
        return outcome


def race(racers: Sequence[Running]) -> list[LoadResult]:
    """Let waiting processes go at the same time; return the results of their plans."""
    for racer in racers:
        racer.wait_until_ready()
    for racer in racers:
        racer.go()
    return [result for racer in racers for result in racer.results()]


def _run(work: Work, results: Connection) -> None:
    destination: Any = work.destination_type(work.config)
    if work.fault in CALLS:
        destination = _Mortal(destination, work.fault)
    elif work.fault:
        os.environ["OWNLENS_FAULT"] = f"{work.fault}:kill"
    if work.waits:
        results.send("ready")
        results.recv()
    try:
        done = [until_done(destination, plan) for plan in work.plans]
        for upkeep in work.upkeeps:
            until_maintained(destination, upkeep)
        results.send(done)
    except Exception as error:
        results.send(f"{type(error).__name__}: {error}")
        if not work.fault:
            raise
    destination.close()
    sys.stdout.flush()
    # Threads of drivers may wait for ever; the work is done.
    os._exit(0)


def until_done(destination: Destination[Any, Any], plan: LoadPlan, *, seconds: float = 60) -> LoadResult:
    """Load as a flow does: again after every error that says so, until the time is over."""
    return _insisting(destination, lambda: load(destination, plan), seconds)


def until_maintained(destination: Any, upkeep: Upkeep, *, seconds: float = 60) -> list[Chore]:
    """Maintain, again after every error that says so; return the last call's chores."""
    return list(_insisting(destination, lambda: destination.maintain(upkeep), seconds))


def _insisting(destination: Destination[Any, Any], step: Callable[[], _Done], seconds: float) -> _Done:
    until, pause = time.monotonic() + seconds, 0.02
    while True:
        try:
            return step()
        except Retryable:
            if time.monotonic() > until:
                raise
            # An embedded store may admit one process at a time: let another one in, for long enough.
            destination.close()
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, 1)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Mortal:
    """A destination whose process dies between two calls of the engine."""

    def __init__(self, inner: Destination[Any, Any], call: str) -> None:
        self._inner, self._call = inner, call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def open(self, plan: LoadPlan) -> _MortalSession:
        session = self._inner.open(plan)
        if self._call == "opened":
            _die()
        return _MortalSession(session, self._call)


class _MortalSession(LoadSession):
    def __init__(self, inner: LoadSession, call: str) -> None:
        self._inner, self._call = inner, call

    @property
    def writer(self) -> Any:
        return _MortalWriter(self._inner.writer, self._call)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        if self._call == "committing":
            _die()
        result = self._inner.commit(receipts)
        if self._call == "committed":
            _die()
        return result

    def abort(self) -> None:
        if self._call == "aborting":
            _die()
        self._inner.abort()

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class _MortalWriter:
    inner: Any
    call: str

    def write(self, part: Any) -> Receipt:
        receipt: Receipt = self.inner.write(part)
        if self.call == "written":
            _die()
        return receipt
