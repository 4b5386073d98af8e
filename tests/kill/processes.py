"""Loads in processes of their own, which stop at a phase of their commit so that a tracer can be attached."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins import faults
from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_s3.destination import S3Destination

# Every process is forked from one that has imported everything but the ClickHouse engine, which starts threads.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "tests.kill.checking"])
_SECONDS = 120
_PASSED = 7
_ANY_TRACER = 0x59616D61  # PR_SET_PTRACER, with all bits set: Debian lets parents only trace by default
_KINDS: dict[str, type[Destination[Any, Any]]] = {"s3": S3Destination, "clickhouse": ClickHouseDestination}


@dataclass(frozen=True, slots=True)
class Store:
    """A destination as data: its name and configuration."""

    name: str
    config: Any

    def destination(self) -> Destination[Any, Any]:
        return _KINDS[self.name](self.config)


@dataclass(frozen=True, slots=True)
class Phase:
    """A fault point that a commit comes by, and for how many times it has."""

    point: str
    visit: int

    def __str__(self) -> str:
        return f"{self.point}/{self.visit}"


START = Phase("before_commit", 1)


class Paused:
    """A load that waits at a phase. `process.exitcode` says how it ended: see `killed`, `passed`."""

    def __init__(self, store: Store, plan: LoadPlan, phase: Phase, *, to_the_end: bool = False) -> None:
        self._ours, theirs = _PROCESSES.Pipe()
        self.process: BaseProcess = _PROCESSES.Process(target=_load, args=(store, plan, phase, to_the_end, theirs))
        self.process.start()
        theirs.close()
        if not self._ours.poll(_SECONDS):
            self.process.kill()
            raise TimeoutError(f"the load did not come to {phase}")
        self._ours.recv()

    def go_on(self) -> None:
        """Let the load go on, and wait for its end."""
        self._ours.send(None)
        self.process.join(_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError("the load did not end")

    @property
    def killed(self) -> bool:
        return self.process.exitcode == -9

    @property
    def passed(self) -> bool:
        """Whether the load was acknowledged or came to its next phase."""
        return self.process.exitcode in {0, _PASSED}


def _load(store: Store, plan: LoadPlan, phase: Phase, to_the_end: bool, parent: Connection) -> None:
    ctypes.CDLL(None).prctl(_ANY_TRACER, ctypes.c_ulong(-1), 0, 0, 0)
    visits: Counter[str] = Counter()
    waited = False

    def reach(point: str) -> None:
        nonlocal waited
        visits[point] += 1
        here = Phase(point, visits[point])
        if waited and not to_the_end:
            os._exit(_PASSED)
        if here == phase:
            waited = True
            parent.send(None)
            parent.recv()
        os.access(f"{MARK}{here}", os.F_OK)  # shows in the trace

    _watch(reach)
    load(store.destination(), plan)
    os._exit(0)


MARK = "/phase-of-the-commit/"


def _watch(reach: Callable[[str], None]) -> None:
    original = faults.reach
    for name, module in list(sys.modules.items()):
        if name.startswith("ownlens_") and getattr(module, "reach", None) is original:
            module.reach = reach  # type: ignore[attr-defined]


def call(function: Callable[..., Any], *values: Any) -> Any:
    """Run a module's function in a fresh process and return its result, which must be picklable."""
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_answer, args=(function, values, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(_SECONDS):
            raise TimeoutError(f"{function.__name__} did not end")
        answer = ours.recv()
        process.join(_SECONDS)
    finally:
        if process.is_alive():
            process.kill()
    return answer


def _answer(function: Callable[..., Any], values: tuple[Any, ...], parent: Connection) -> None:
    parent.send(function(*values))
    os._exit(0)
