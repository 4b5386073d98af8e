"""Notice that somebody cancels this flow run, also where no worker is there to send its process a signal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from ownlens_plugins.stopping import Stop

CANCELLED = "cancellation"
# Seconds between two questions to the server, each a request of a few milliseconds.
PAUSE = 5.0


@contextmanager
def watching(stop: Stop, *, wake: Callable[[], None]) -> Iterator[None]:
    """Ask this flow run to stop when the server says that it is being cancelled, and wake its driver."""
    over = threading.Event()
    if PREFECT_API_URL.value() and (run := flow_run.get_id()):
        watch = threading.Thread(target=_watch, args=(UUID(run), stop, wake, over), name="ownlens-watch", daemon=True)
        watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(run: UUID, stop: Stop, wake: Callable[[], None], over: threading.Event) -> None:
    while not over.wait(PAUSE):
        if _is_cancelled(run):
            stop.ask(CANCELLED)
            wake()
            return


def _is_cancelled(run: UUID) -> bool:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
    except Exception:
        return False  # a server that cannot be asked cancels nothing
    return state is not None and (state.is_cancelling() or state.is_cancelled())
