"""End the process of a stopped run in time, also when Prefect still looks for a server that is gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ownlens_flows.report import RunReport

# Seconds that Prefect has to note the end of a stopped run, and then to let the process go.
GRACE, EXIT_GRACE = 4.0, 3.0


class LastWord:
    """Says what a stopped run did and leaves, unless the flow ends by itself within `GRACE`; one of them speaks."""

    def __init__(self, say: Callable[[RunReport], int]) -> None:
        self._say, self._taken = say, threading.Lock()

    def observe(self, what: str, _table: str, _destination: str, detail: Any) -> None:
        """Begin to count when the run tells that it was stopped."""
        if what == "stopped":
            later(GRACE, self._leave, detail)

    def take(self) -> None:
        """Keep the process: the flow has ended. Does not return when the process is already leaving."""
        self._taken.acquire()

    def _leave(self, report: RunReport) -> None:
        if self._taken.acquire(blocking=False):
            code = 1
            try:
                code = self._say(report)
            finally:
                leave(code)


def later(seconds: float, act: Callable[..., None], *arguments: Any) -> None:
    """Do something after so many seconds if the process still lives then."""
    timer = threading.Timer(seconds, act, arguments)
    timer.daemon = True
    timer.start()


def leave(code: int) -> None:
    """End this process without Prefect's own farewell, which takes minutes when its server is gone."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    try:
        # Not imported only to say that there is none.
        if (serving := sys.modules.get("ownlens_flows.serving")) is not None:
            serving.end_temporary()
    finally:
        os._exit(code)
