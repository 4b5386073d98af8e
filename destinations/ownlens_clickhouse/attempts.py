"""Attempts and the names of what they create: who owns an internal table, and whether its owner still runs."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = "_ownlens_"
MARKER = "marker"
_NAME = re.compile(
    PREFIX + r"(?P<key>[0-9a-f]{12})_(?P<sequence>\d+)_(?P<host>[0-9a-f]{8})p(?P<pid>\d+)"
    r"_(?P<attempt>[0-9a-f]{16})_(?P<role>[a-z][0-9a-z]*)"
)
_LIVE: set[str] = set()


@dataclass(frozen=True, slots=True)
class Internal:
    """An internal table or view of one attempt. The name says whose it is, so that a crash can be cleared.

    Tables are named by a hash of the target's name: with a long or unicode name of its own, a dropped table's
    metadata file would exceed the file system's 255 bytes.
    """

    key: str
    sequence: int
    host: str
    pid: int
    attempt: str
    role: str

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.key}_{self.sequence}_{self.host}p{self.pid}_{self.attempt}_{self.role}"

    @property
    def statements(self) -> str:
        """How the ids of this attempt's statements begin, so that they can be found in the server and ended."""
        return f"ownlens_{self.key}_{self.sequence}_{self.attempt}_"

    @property
    def is_marker(self) -> bool:
        """Whether its being there says that the attempt is not over, for writers that cannot ask its process."""
        return self.role == MARKER

    @property
    def is_claim(self) -> bool:
        """Whether this attempt was allowed to commit when it died."""
        return self.role.startswith("at")


def internal(table: str, sequence: int, attempt: str, role: str) -> Internal:
    """Name something that an attempt of this process creates for a table."""
    return Internal(table_key(table), sequence, host_token(), os.getpid(), attempt, role)


def parse(name: str) -> Internal | None:
    """Read a name that `Internal.name` made; None for any other."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Internal(
        found["key"], int(found["sequence"]), found["host"], int(found["pid"]), found["attempt"], found["role"]
    )


def table_key(table: str) -> str:
    """Return 12 hex digits that stand for a table in internal names."""
    return hashlib.sha256(table.encode()).hexdigest()[:12]


def begin(attempt: str) -> None:
    """Say that an attempt of this process runs."""
    _LIVE.add(attempt)


def end(attempt: str) -> None:
    """Say that an attempt is over, whatever became of it."""
    _LIVE.discard(attempt)


def is_live(attempt: str) -> bool:
    """Tell whether an attempt of this process runs."""
    return attempt in _LIVE


def is_dead(owner: Internal, *, shared: bool) -> bool:
    """Tell whether an attempt is certainly over. One on another host is not certain.

    When the store is not shared, other processes are over: this one could not have opened it otherwise.
    """
    if owner.host == host_token() and owner.pid == os.getpid():
        return not is_live(owner.attempt)
    if not shared:
        return True
    return owner.host == host_token() and not _runs(owner.pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def host_token() -> str:
    """Return 8 hex digits for this host since its last start."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else ""
    return hashlib.sha256(f"{socket.gethostname()}/{started}".encode()).hexdigest()[:8]
