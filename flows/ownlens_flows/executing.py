"""Execute a prepared run with a given runner of steps: the same for a flow run and for a process without Prefect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from .driving import Driver
from .report import RunReport
from .run import LoadRun, check_destinations
from .runners import Runner


def execute(run: LoadRun, runners: Callable[[LoadRun], AbstractContextManager[Runner]]) -> RunReport:
    """Run all steps of a request and return what they did, also when a signal stopped them. Closes the run.

    Raises:
        OwnLensError: the source cannot be opened; nothing has been touched.
    """
    started = time.monotonic()
    with closing(run):
        _warm_up(run)
        run.workers.warm_up(run.contracts)
        check_destinations(run)
        with runners(run) as runner:
            report = Driver(run, runner).drive()
    report.seconds = time.monotonic() - started
    if report.stopped:
        # Before a server is told: it may be gone, and then this process must be able to leave without it.
        run.observe("stopped", "", "", report)
    return report


def _warm_up(run: LoadRun) -> None:
    if not run.validates:
        return
    from ownlens_plugins.validation import warm_up

    # Imports take a moment; staging can go on meanwhile.
    threading.Thread(target=warm_up, name="ownlens-warm-up", daemon=True).start()
