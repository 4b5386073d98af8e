"""Prefect's server for a run of this process: that of PREFECT_API_URL, or a temporary one that Ctrl-C leaves alone."""

from __future__ import annotations

import contextvars
import signal
import tempfile
import threading
from pathlib import Path

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    get_current_settings,
)

from ownlens_plugins.errors import OwnLensError

from .finding import find_server
from .guarding import end_with_us

# Seconds: for the start of a temporary server, and between two looks at it meanwhile.
STARTUP, _LOOK = 180, 0.1
# With this uvicorn says that the port was taken meanwhile; Prefect then tries another.
_PORT_TAKEN = 3
_ELSEWHERE = "or set PREFECT_API_URL to a server's address"


def check_server() -> None:
    """See that a run can have a Prefect server, without starting one.

    Raises:
        OwnLensError: it cannot, and nothing has been touched.
    """
    if PREFECT_API_URL.value():
        find_server(str(PREFECT_API_URL.value()))
    elif PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        _check_home(PREFECT_HOME.value())
    else:
        raise OwnLensError("Prefect may start no temporary server here: set PREFECT_API_URL to a server's address")


def ensure_server() -> None:
    """See that the Prefect server of a run is there; without PREFECT_API_URL, start a temporary one.

    Raises:
        OwnLensError: it is not, and the run cannot begin; nothing has been touched.
    """
    check_server()
    if not PREFECT_API_URL.value():
        start_temporary()


def _check_home(home: Path) -> None:
    # The server would look for its database for minutes.
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise OwnLensError(
            f"Prefect's temporary server cannot write into {home} ({error.strerror}): "
            f"set PREFECT_HOME to a folder that can be written, {_ELSEWHERE}"
        ) from None


def start_temporary() -> None:
    """Start Prefect's temporary server, once a process; it ends with the process, however that ends.

    Raises:
        OwnLensError: it did not start.
    """
    from prefect.server.api.server import SubprocessASGIServer

    errors: list[Exception] = []
    context = contextvars.copy_context()  # Prefect keeps its settings there
    # A thread of its own: what Ctrl-C must not reach is the server alone, and starting it takes seconds.
    starting = threading.Thread(target=context.run, args=(_start, errors), name="ownlens-prefect", daemon=True)
    starting.start()
    server, guarded = SubprocessASGIServer(), None
    while starting.is_alive() and not errors:
        starting.join(_LOOK)
        process = server.server_process
        if process is not None and process.pid != guarded:
            guarded = end_with_us(process.pid)
        if process is not None and process.poll() not in (None, _PORT_TAKEN):
            # Prefect would go on asking it until its time is over.
            errors.append(RuntimeError(f"exit code {process.returncode}"))
    if errors:
        raise OwnLensError(
            f"Prefect's temporary server did not start ({_named(errors[0])}): "
            f"run `prefect server start` to see why, {_ELSEWHERE}"
        ) from errors[0]


def _named(error: Exception) -> str:
    return str(error) if str(error).startswith("exit code") else type(error).__name__


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
