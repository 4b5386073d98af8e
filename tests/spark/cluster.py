"""A standalone Spark cluster of processes: a master and workers, each with its own ports and folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ownlens_plugins.engines import SparkConfig

ROOT = str(Path(__file__).parents[2])
_PATIENCE = 60
_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"


class Cluster:
    """Started by `with`. Every process that it starts ends with it, the executors too."""

    def __init__(self, folder: Path, *, workers: int = 2, memory: str = "1500m") -> None:
        self.folder, self._count, self._memory = folder, workers, memory
        self.port, self.page = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def config(self, **conf: str) -> SparkConfig:
        settings = {
            "spark.executor.memory": "700m",
            "spark.executor.cores": "1",
            "spark.driver.host": "127.0.0.1",
            "spark.executorEnv.PYTHONPATH": ROOT,  # for writers of the tests themselves
            "spark.master.ui.port": str(self.page),
            **conf,
        }
        return SparkConfig(master=f"spark://127.0.0.1:{self.port}", conf=settings)

    def __enter__(self) -> Cluster:
        self._start(_MASTER, "--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(self.page))
        self._await(lambda: self._state() is not None)
        for _ in range(self._count):
            self.add_worker()
        self._await(lambda: self.alive() == self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            _end_group(process)

    def add_worker(self) -> None:
        number = len(self._processes)
        place = str(self.folder / f"worker-{number}")
        url = f"spark://127.0.0.1:{self.port}"
        options = ["-c", "1", "-m", self._memory, "-d", place, "--webui-port", str(free_port())]
        self._start(_WORKER, "--host", "127.0.0.1", *options, url)

    def alive(self) -> int:
        workers = (self._state() or {}).get("workers", [])
        return sum(worker["state"] == "ALIVE" for worker in workers)

    def kill_worker(self) -> None:
        """Kill one worker's process group: its executors and their Python workers die with it."""
        _end_group(self._processes.pop())
        self.add_worker()

    def executors(self) -> list[int]:
        """Return the process ids of the executors of any application."""
        return [pid for pid, words in _processes() if "CoarseGrainedExecutorBackend" in words and self._owns(words)]

    def _owns(self, words: str) -> bool:
        return str(self.folder) in words or f":{self.port}" in words or "spark://CoarseGrainedScheduler@" in words

    def _start(self, kind: str, *arguments: str) -> None:
        import pyspark

        home = Path(pyspark.__file__).parent
        environment = {
            **os.environ,
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_DAEMON_MEMORY": "256m",
            "PYSPARK_PYTHON": sys.executable,
        }
        log = (self.folder / f"{kind.rpartition('.')[2]}-{len(self._processes)}.log").open("wb")
        command = [str(home / "bin" / "spark-class"), kind, *arguments]
        self._processes.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        )

    def _state(self) -> dict[str, Any] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/json/", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return None
        return found

    def _await(self, true: Any) -> None:
        until = time.monotonic() + _PATIENCE
        while not true():
            assert time.monotonic() < until, f"the cluster did not start; its logs are in {self.folder}"
            time.sleep(0.2)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _processes() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
            except (OSError, UnicodeDecodeError):
                continue
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
