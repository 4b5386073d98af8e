"""Named points at which a test can kill or fail a load. Without `OWNLENS_FAULT` they cost one dictionary look-up."""

from __future__ import annotations

import os
import signal

POINTS = (
    "stage_open",
    "part_written",
    "before_commit",
    "commit_sent",
    "after_commit",
    "before_ledger",
    "cleanup",
    "abort",
)


def reach(point: str) -> None:
    """Mark a phase of a load. `OWNLENS_FAULT=<point>:kill` sends SIGKILL to this process, `:raise` raises OSError."""
    wanted = os.environ.get("OWNLENS_FAULT")
    if wanted is None:
        return
    name, _, action = wanted.partition(":")
    if name != point:
        return
    if action == "raise":
        raise OSError(f"fault injected at {point}")
    os.kill(os.getpid(), signal.SIGKILL)
