"""Processes that outlive the command that starts them, found again by a lock that each holds while it lives."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ownlens_plugins.errors import OwnLensError

_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


class SandboxError(OwnLensError):
    """A server of the sandbox does not start or stop; the message names its log."""


@dataclass(frozen=True)
class Service:
    """One server process, in a session of its own so that no terminal's end reaches it.

    Args:
        name: Names its lock file and its log.
        folder: Holds `run/<name>.pid` and `log/<name>.log`.
        farewell: The signal that makes it stop cleanly.
    """

    name: str
    folder: Path
    farewell: signal.Signals = signal.SIGTERM

    @property
    def log(self) -> Path:
        return self.folder / "log" / f"{self.name}.log"

    @property
    def _lock(self) -> Path:
        return self.folder / "run" / f"{self.name}.pid"

    def pid(self) -> int | None:
        """Return its process id, or None when it does not run."""
        try:
            with self._lock.open("r+") as file:
                return None if _taken(file.fileno(), fcntl.LOCK_SH) else int(file.read() or 0)
        except FileNotFoundError:
            return None

    def start(self, command: Sequence[str], environment: Mapping[str, str], *, user: str | None = None) -> None:
        """Start it; its output goes to its log. The lock passes to the process, whichever pid it gets.

        Raises:
            SandboxError: it runs already, or the program does not start.
        """
        for place in (self._lock, self.log):
            place.parent.mkdir(parents=True, exist_ok=True)
        if self.pid() is not None:
            raise SandboxError(f"{self.name}: it runs already")
        with self._lock.open("a+") as lock, self.log.open("ab") as log:
            # Whoever only asks whether it runs holds the lock for a moment.
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
            try:
                process = subprocess.Popen(
                    command,
                    env=dict(environment),
                    user=user,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(lock.fileno(),),
                )
            except OSError as error:
                raise SandboxError(f"{self.name}: {command[0]} does not start: {error}") from None
            lock.truncate(0)
            lock.write(str(process.pid))
            # Never waited for: this command ends before it does.
            process.returncode = 0

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 90.0) -> None:
        """Wait until it answers.

        Raises:
            SandboxError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid() is None:
                raise SandboxError(f"{self.name}: it ended before it answered; {self.log} says why")
            if time.monotonic() > deadline:
                raise SandboxError(f"{self.name}: no answer within {seconds:.0f} s; {self.log} may say why")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> bool:
        """Ask its whole session to end, and end it after 30 s; returns whether it had to be killed."""
        for number in (self.farewell, signal.SIGKILL):
            if not (pid := self.pid()):
                return False
            os.killpg(pid, number)
            deadline = time.monotonic() + _STOP_SECONDS
            while self.pid() is not None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        return True


def _taken(descriptor: int, how: int) -> bool:
    """Take the lock, and say whether that was possible."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep every other command off the servers of a folder.

    Raises:
        SandboxError: another command is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "command.lock").open("w") as lock:
        if not _taken(lock.fileno(), fcntl.LOCK_EX):
            raise SandboxError(f"sandbox: another command is starting or stopping the servers of {folder}")
        yield


def free_port(wanted: int | None = None) -> int:
    """Return a port of the loopback interface that nobody listens on: the wanted one, if it is still free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port or 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SandboxError("sandbox: no free port on 127.0.0.1")
