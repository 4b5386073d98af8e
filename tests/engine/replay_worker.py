"""`ownlens quarantine replay states` in a process of its own, which dies at a point: `replay_worker CONFIG POINT`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from ownlens_cli.main import run
from ownlens_plugins.engine import replaying, staging
from ownlens_plugins.object_store import S3Folder
from ownlens_plugins.storage import LocalFolder

POINTS = ("chosen", "upload", "uploaded", "publish", "published")


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(function: Any) -> Any:
    return lambda *given: die(function(*given))


def prepare(point: str) -> None:
    if point == "chosen":
        replaying._staged_in = die
    elif point == "upload":
        staging.StagingArea._bring = die  # type: ignore[method-assign]
    elif point == "uploaded":
        staging.StagingArea._bring = dying_after(staging.StagingArea._bring)  # type: ignore[method-assign]
    elif point == "publish":
        LocalFolder.create = S3Folder.create = die  # type: ignore[method-assign,assignment]
    elif point == "published":
        for folder in (LocalFolder, S3Folder):
            folder.create = dying_after(folder.create)  # type: ignore[method-assign]


if __name__ == "__main__":
    prepare(sys.argv[2])
    sys.exit(run(["quarantine", "replay", "states", "--config", sys.argv[1]]))
