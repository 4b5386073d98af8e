"""The log file of a command: every load's start, end, counts and configuration, and masked stack traces."""

from __future__ import annotations

import logging
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def log_to(file: Path) -> None:
    """Send the `ownlens` loggers to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("ownlens")
    logger.setLevel(logging.INFO)
    logger.handlers = [handler]
    logger.propagate = False
