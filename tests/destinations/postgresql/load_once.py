"""Load one plan in a process of its own, which a fault point may kill."""

from __future__ import annotations

import multiprocessing
import os

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination

# Children start from a clean process that has the imports behind it, not from this one with its threads.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def start_load(config: PostgreSQLConfig, plan: LoadPlan, fault: str = "") -> multiprocessing.process.BaseProcess:
    """Start a load that meets a fault, as `OWNLENS_FAULT` spells it."""
    process = _PROCESSES.Process(target=_load, args=(config, plan, fault), daemon=True)
    process.start()
    return process


def _load(config: PostgreSQLConfig, plan: LoadPlan, fault: str) -> None:
    if fault:
        os.environ["OWNLENS_FAULT"] = fault
    load(PostgreSQLDestination(config), plan)
