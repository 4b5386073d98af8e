"""Load one plan in a process of its own, which a fault point may kill."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination

# Children start from a clean process that has the imports behind it, not from this one with its threads.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def start_load(config: PostgreSQLConfig, plan: LoadPlan, fault: str = "") -> multiprocessing.process.BaseProcess:
    """Start a load that meets a fault, as `OWNLENS_FAULT` spells it."""
    return _start(_load, config, plan, fault)


def start_release(config: PostgreSQLConfig, plan: LoadPlan, fault: str = "") -> multiprocessing.process.BaseProcess:
    """Start to bring a table's quarantined rows back."""
    return _start(_release, config, plan, fault)


def _start(
    step: Callable[[PostgreSQLDestination, LoadPlan], object], config: PostgreSQLConfig, plan: LoadPlan, fault: str
) -> multiprocessing.process.BaseProcess:
    process = _PROCESSES.Process(target=_run, args=(step, config, plan, fault), daemon=True)
    process.start()
    return process


def _run(
    step: Callable[[PostgreSQLDestination, LoadPlan], object], config: PostgreSQLConfig, plan: LoadPlan, fault: str
) -> None:
    if fault:
        os.environ["OWNLENS_FAULT"] = fault
    step(PostgreSQLDestination(config), plan)


def _load(destination: PostgreSQLDestination, plan: LoadPlan) -> None:
    load(destination, plan)


def _release(destination: PostgreSQLDestination, plan: LoadPlan) -> None:
    destination.release(plan)
