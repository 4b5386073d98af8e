"""Waiting for a driver call no longer than agreed, even when the network swallows the answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Unanswered(Exception):
    """A call has not returned in time. It goes on, on a thread of its own."""


class Call:
    """One driver call on its own thread: the driver can wait for ever in C, where no signal or timeout reaches it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ownlens-postgresql")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.put((self._function(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self, seconds: float) -> Any:
        """Return what the call returns, or raise what it raises.

        Raises:
            Unanswered: it did neither within `seconds`.
        """
        try:
            value, error = self._outcome.get(timeout=seconds)
        except queue.Empty:
            raise Unanswered(f"no answer within {seconds:g} s") from None
        if error is not None:
            raise error
        return value

    def join(self) -> None:
        self._thread.join()


def answered_within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function and wait for it at most `seconds`.

    Raises:
        Unanswered: the call has not returned; it goes on in the background.
    """
    value: T = Call(function).result(seconds)
    return value
