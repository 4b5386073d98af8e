"""A run that is told to stop does so at the next safe point: a place at which nothing of the current step has landed.

The engine has safe points between two batches of an extraction, before an attempt is opened, between its parts, and
right before `commit`. A destination that does long work inside `commit` has one more, before its own atomic step; there
`Stopped` means that it is certain that nothing landed. A step that could land is always brought to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import Stopped


class Stop:
    """Whether a run is to stop, and why. One for each run; used from all of its threads."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.reason = ""

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, reason: str) -> None:
        """Ask the run to stop; the first reason counts."""
        if not self.asked:
            self.reason = reason
        self._asked.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the run is asked to stop, at most so long; return whether it is."""
        return self._asked.wait(seconds)


_CURRENT: ContextVar[Stop | None] = ContextVar("ownlens_stop", default=None)


@contextmanager
def heeding(stop: Stop) -> Iterator[None]:
    """Let the steps of this thread heed a run's stop."""
    token = _CURRENT.set(stop)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current() -> Stop | None:
    """Return the stop that this thread heeds, for a step that waits for others and must tell them."""
    return _CURRENT.get()


def safe_point(table: str, where: str) -> None:
    """Go on, or leave off here, where nothing of the current step has landed.

    Raises:
        Stopped: the run is to stop.
    """
    stop = _CURRENT.get()
    if stop is not None and stop.asked:
        raise Stopped(f"{table}: {where}: stopped ({stop.reason}) before anything landed; the next run makes up for it")
