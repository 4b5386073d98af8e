"""The flow that loads tables: stage each once, fan out over destinations, validate, roll up honestly."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from ownlens_plugins.errors import OwnLensError

from .driving import Driver
from .parameters import tell_unknown_parameters
from .report import RunReport
from .reporting import tell_all, tell_failure
from .request import LoadRequest
from .run import LoadRun, Observer, check_destinations, ignore, prepare, shared

MAX_THREADS = 64


# Its type parameter and the flow decorator's do not agree in Prefect's own annotations.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=MAX_THREADS)


EVERYTHING = LoadRequest()


@flow(name="load-tables", task_runner=RUNNER, persist_result=False, on_crashed=[tell_unknown_parameters])
def load_tables(request: LoadRequest = EVERYTHING) -> State[Any]:
    """Load the requested tables into the requested destinations, each staged set exactly once."""
    if (ours := logging.getLogger("ownlens")).level == logging.NOTSET:
        # Prefect hands our lines to its server when prefect.yaml says so, but leaves the level at the root's: warnings.
        ours.setLevel(logging.INFO)
    report = run_loads(request)
    if report.interrupt is not None:
        # Whether this signal is a cancellation, a time limit or a crash is Prefect's to say.
        raise report.interrupt
    return roll_up(report)


def roll_up(report: RunReport) -> State[Any]:
    """Return the state of a run: one failed load, failed validation or newly refused row fails it."""
    message = "; ".join([report.message(), *report.untold])
    if report.succeeded and not report.rejections:
        return Completed(message=message)
    lines = [*report.failures, *(rejection.message for rejection in report.rejections)]
    said = "; ".join([message, *lines[:5]])
    return Cancelled(message=said) if report.stopped else Failed(message=said)


def run_loads(request: LoadRequest, *, observe: Observer = ignore) -> RunReport:
    """Run all steps of a request inside a flow run.

    Raises:
        OwnLensError: the request cannot be run at all; nothing has been touched. Its text holds no secret.
    """
    started = time.monotonic()
    try:
        run = prepare(request, observe=observe)
        report = _driven(run)
    except OwnLensError as error:
        tell_failure(str(error))
        raise
    report.seconds = time.monotonic() - started
    if report.stopped:
        # Before the server is told: it may be gone, and then this process must be able to leave without it.
        observe("stopped", "", "", report)
    tell_all(report, run.profile)
    return report


def _driven(run: LoadRun) -> RunReport:
    key = uuid4().hex
    with shared(key, run):
        _warm_up(run)
        run.workers.warm_up(run.contracts)
        check_destinations(run)
        return Driver(run, key).drive()


def _warm_up(run: LoadRun) -> None:
    if not run.validates:
        return
    from ownlens_plugins.validation import warm_up

    # Imports take a moment; staging can go on meanwhile.
    threading.Thread(target=warm_up, name="ownlens-warm-up", daemon=True).start()
