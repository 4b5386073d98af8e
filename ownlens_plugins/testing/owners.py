"""Whether the process that made something still runs."""

from __future__ import annotations

import os


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that is dead, and that nobody has asked about, does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
