"""The log file of a command: every load's start, end, counts and configuration, and masked stack traces."""

from __future__ import annotations

import logging
from pathlib import Path

from ownlens_plugins.errors import SettingsInvalid

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def log_to(file: Path) -> None:
    """Send the `ownlens` loggers to a file.

    Raises:
        SettingsInvalid: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise SettingsInvalid(
            f"the log file {file} cannot be written ({error.strerror}); "
            "set log_file in the profile, or OWNLENS_LOG_FILE, to a file that can"
        ) from None
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("ownlens")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
