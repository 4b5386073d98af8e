"""Prefect's server for a run of this process: that of PREFECT_API_URL, or a temporary one that Ctrl-C leaves alone."""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    get_current_settings,
    temporary_settings,
)

from ownlens_plugins.errors import OwnLensError

# Seconds: for one answer, for a server that is only just starting, and for the start of a temporary one.
BRIEF, PATIENCE, STARTUP = 2.0, 3.0, 180


def ask_server(seconds: float = BRIEF) -> Exception | None:
    """Ask the Prefect server once whether it is there; return what kept it from answering, if anything did."""
    # Prefect's own client would ask for minutes.
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": seconds}, sync_client=True) as client,
        ):
            return client.api_healthcheck()
    except Exception as error:
        return error


def ensure_server() -> None:
    """See that the Prefect server of a run is there; without PREFECT_API_URL, start a temporary one.

    Raises:
        OwnLensError: it is not, and the run cannot begin; nothing has been touched.
    """
    if PREFECT_API_URL.value():
        _find(str(PREFECT_API_URL.value()))
    elif PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        start_temporary()
    else:
        raise OwnLensError("Prefect may start no temporary server here: set PREFECT_API_URL to a server's address")


def _find(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while (trouble := ask_server()) is not None:
        status = trouble.response.status_code if isinstance(trouble, PrefectHTTPStatusError) else None
        if status in (401, 403):
            fix = "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
            raise OwnLensError(f"Prefect's server at {_shown(url)} refuses this login (HTTP {status}): {fix}")
        if status is not None and status < 500:
            return  # it answers, and knows no such question
        if time.monotonic() > until:
            why = type(trouble).__name__ if status is None else f"HTTP {status}"
            fix = "start it (prefect server start), or unset PREFECT_API_URL to load with a temporary server"
            raise OwnLensError(f"Prefect's server at {_shown(url)} does not answer ({why}): {fix}")
        time.sleep(0.5)


def _shown(url: str) -> str:
    """Return an address without a user and password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def start_temporary() -> None:
    """Start Prefect's temporary server, once a process; it ends with the process.

    Raises:
        OwnLensError: it did not start.
    """
    errors: list[Exception] = []
    context = contextvars.copy_context()  # Prefect keeps its settings there
    # A thread of its own: what Ctrl-C must not reach is the server alone, and starting it takes seconds.
    starting = threading.Thread(target=context.run, args=(_start, errors), name="ownlens-prefect", daemon=True)
    starting.start()
    starting.join()
    if errors:
        raise OwnLensError(
            f"Prefect's temporary server did not start ({type(errors[0]).__name__}): "
            "run `prefect server start` to see why, or set PREFECT_API_URL to a server's address"
        ) from errors[0]


def _start(errors: list[Exception]) -> None:
    from prefect.server.api.server import SubprocessASGIServer

    # The server inherits the mask. A terminal sends Ctrl-C to its whole process group: the server would be gone before
    # a run that stops could tell it so, and Prefect would look for it for minutes.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    ephemeral = get_current_settings().server.ephemeral
    chosen = "startup_timeout_seconds" in ephemeral.model_fields_set
    try:
        # Prefect's default of 20 s is missed on a busy machine with a new database.
        SubprocessASGIServer().start(timeout=ephemeral.startup_timeout_seconds if chosen else STARTUP)
    except Exception as error:
        errors.append(error)


def end_temporary() -> None:
    """Tell the temporary server of this process to end, and do not wait for it."""
    from prefect.server.api.server import SubprocessASGIServer

    if (process := SubprocessASGIServer().server_process) is not None:
        process.terminate()
