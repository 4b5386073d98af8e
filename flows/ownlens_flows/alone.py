"""Run a request in this process alone, without Prefect and its server: the same steps, order, limits and retries."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .executing import execute
from .report import RunReport
from .request import LoadRequest
from .run import Observer, ignore, prepare
from .runners import threads


class Terminated(BaseException):
    """SIGTERM, raised in the main thread as Ctrl-C raises KeyboardInterrupt."""

    signal = signal.SIGTERM


def run_alone(request: LoadRequest, *, observe: Observer = ignore) -> RunReport:
    """Run a request and return what it did, also when a signal stopped it.

    Raises:
        OwnLensError: the request cannot be run at all; nothing has been touched.
    """
    with _raising_on_sigterm():
        return execute(prepare(request, observe=observe), threads)


@contextmanager
def _raising_on_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def terminate(_number: int, _frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
