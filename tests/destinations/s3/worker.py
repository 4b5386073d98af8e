"""Processes that load one plan each, and can be killed at a fault point."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.testing.processes import until_done
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

# A server that has imported everything forks the processes; each would take a second to start on its own.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "tests.destinations.s3.warm", __name__])


def start(config: S3Config, plan: LoadPlan, *, fault: str = "", not_before: float = 0.0) -> BaseProcess:
    """Start a process that loads the plan; `fault` is `<point>:<action>`, `not_before` a time at which all begin."""
    process = _PROCESSES.Process(target=_load, args=(config, plan, fault, not_before))
    process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    """Wait for a process; 0 means loaded, negative numbers are signals."""
    process.join(timeout=120)
    return process.exitcode


def _load(config: S3Config, plan: LoadPlan, fault: str, not_before: float) -> None:
    if fault:
        os.environ["OWNLENS_FAULT"] = fault
    time.sleep(max(0.0, not_before - time.time()))
    until_done(S3Destination(config), plan)
    sys.stdout.flush()
    os._exit(0)
