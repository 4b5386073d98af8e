"""Writers that stop on their way, so that a test can kill what runs them there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ownlens_plugins.api import Receipt, StagedPart

_PATIENCE = 90


@dataclass(frozen=True)
class Halting:
    """Writes, and halts for a while before or after the writing of one part, the first time that anybody does.

    The file that it leaves has the process ids of the Python worker and of its executor.
    """

    write_part: Callable[[StagedPart], Receipt]
    folder: Path
    part: str
    after: bool
    seconds: float = 6.0

    def write(self, part: StagedPart) -> Receipt:
        if self.after:
            receipt = self.write_part(part)
            self._halt(part)
            return receipt
        zombie = self._halt(part)
        try:
            return self.write_part(part)
        finally:
            if zombie:
                (self.folder / "ended").touch()

    def _halt(self, part: StagedPart) -> bool:
        """Halt where the test wants it; tell whether that was here."""
        if part.part_id != self.part:
            return False
        # Else the daemon's last signal may end this process, or not: the harder case is to go on, as some do.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        draft = self.folder / f".{os.getpid()}"
        draft.write_text(f"{os.getpid()} {_parent(os.getppid())}")
        try:
            os.link(draft, self.folder / "halted")
        except FileExistsError:
            return False  # the part is written a second time
        time.sleep(self.seconds)
        (self.folder / "went on").touch()
        return True


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def halted(folder: Path) -> tuple[int, int]:
    """Wait until the writer halts; return the process ids of its worker and its executor."""
    until = time.monotonic() + _PATIENCE
    while not (folder / "halted").exists():
        assert time.monotonic() < until, "no worker came by"
        time.sleep(0.05)
    worker, executor = (folder / "halted").read_text().split()
    return int(worker), int(executor)


def wait_for(true: Callable[[], object], what: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.1)
