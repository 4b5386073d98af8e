"""Processes that load one plan each: all at once, or until they are killed at a fault point."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Retryable

# A server that has imported everything forks the processes; each would take a second to start on its own.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", __name__])
_PATIENCE = 120


def race(config: ClickHouseConfig, runs: Sequence[Sequence[LoadPlan]]) -> list[list[LoadResult]]:
    """Start a process for each run, all at the same moment; each loads its plans in order and repeats what it may.

    Returns:
        The results of each run. A process that fails raises here.
    """
    begin, racers = time.time() + 0.5, []
    for plans in runs:
        receiver, sender = _PROCESSES.Pipe(duplex=False)
        process = _PROCESSES.Process(target=_run, args=(config, plans, begin, sender))
        process.start()
        sender.close()
        racers.append((process, receiver))
    results = []
    for process, receiver in racers:
        assert receiver.poll(_PATIENCE)
        results.append(receiver.recv())
        process.join(_PATIENCE)
    return results


def _run(config: ClickHouseConfig, plans: Sequence[LoadPlan], begin: float, sender: Connection) -> None:
    destination = ClickHouseDestination(config)
    time.sleep(max(0.0, begin - time.time()))
    sender.send([until_done(destination, plan) for plan in plans])


def until_done(destination: ClickHouseDestination, plan: LoadPlan) -> LoadResult:
    """Load as the flow does: again after every error that says so."""
    for _ in range(60):
        try:
            return load(destination, plan)
        except Retryable:
            time.sleep(0.05)
    raise AssertionError("it never succeeded")


def start(config: ClickHouseConfig, plan: LoadPlan, *, fault: str = "") -> BaseProcess:
    """Start a process that loads the plan once; `fault` is `<point>:<action>`."""
    process = _PROCESSES.Process(target=_load, args=(config, plan, fault))
    process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    """Wait for a process; 0 means loaded, negative numbers are signals."""
    process.join(_PATIENCE)
    return process.exitcode


def _load(config: ClickHouseConfig, plan: LoadPlan, fault: str) -> None:
    if fault:
        os.environ["OWNLENS_FAULT"] = fault
    load(ClickHouseDestination(config), plan)
