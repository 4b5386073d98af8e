"""Defaults for the libraries below OwnLens, set before any of them is imported. What the user has set stays."""

from __future__ import annotations

import os

DEFAULTS = {
    # No dependency reports usage anywhere.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    # The default of 20 s is missed on a busy machine with a new database.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # One commit per event costs the server four times the CPU of batches.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # The terminal shows one line for each error; stack traces go to the log file.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def quiet_dependencies() -> None:
    """Set every default that the environment does not set itself."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
