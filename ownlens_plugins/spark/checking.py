"""`ownlens spark check`: what keeps loads from running on a cluster, one line for each thing, with its fix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..engines import SparkConfig
from ..errors import OwnLensError
from . import jars, sessions
from .failures import translate

OLDEST_JAVA = 17
_TAG = "ownlens spark check"
_ANSWER = "python string, ownlens string"
_MEMORY = re.compile(r"(?P<number>\d+)\s*(?P<unit>[kmgt])?b?", re.IGNORECASE)
_MEBIBYTES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024**2}


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: problems, each a line with its fix, and what the executors run when there is none."""

    problems: tuple[str, ...]
    executors: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        return not self.problems


def check(config: SparkConfig) -> Report:
    """Look at everything that can be seen from here, then start a session and let an executor answer."""
    found = list(_before(config))
    if any(line for line in found if not line.startswith("spark: jars")):
        return Report(tuple(found))
    try:
        with sessions.running(config) as session:
            executors = _executors(session, config)
    except OwnLensError as error:
        return Report((*found, str(error)))
    return Report((*found, *_unlike(executors)), executors)


def _before(config: SparkConfig) -> Iterator[str]:
    try:
        sessions.require_pyspark()
        if config.remote is None:
            yield from java_problems()
        sessions.require_reachable(config)
    except OwnLensError as error:
        yield str(error)
    yield from _interpreter_problems(config)
    yield from _memory_problems(config)
    if config.remote is None and (lost := jars.missing(config)):
        yield f"spark: jars: {jars.folder(config)} lacks {', '.join(lost)}; run `ownlens spark jars` on each node"


def java_problems() -> Iterator[str]:
    """Yield what is wrong with the Java that the driver would start."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java") or "java"
    fix = f"install Java {OLDEST_JAVA} or newer, and point JAVA_HOME to it"
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        place = f"JAVA_HOME is {home}, which has no java that runs" if home else "Java is not installed"
        yield f"spark: {place}; {fix}"
        return
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if found is None or int(found[1]) < OLDEST_JAVA:
        yield f"spark: {program} is Java {found[1] if found else 'of an unknown version'}; {fix}"


def _interpreter_problems(config: SparkConfig) -> Iterator[str]:
    # On other nodes only the executors themselves can tell.
    program = sessions.interpreter(config)
    if config.is_local and shutil.which(program) is None:
        word = "python in [profiles.NAME.spark]" if config.python else "PYSPARK_PYTHON"
        yield f"spark: {program} is no interpreter here; correct {word}, or take it out to use {sys.executable}"


# --- memory that no worker has: Spark itself only waits, and says so in a log


def _memory_problems(config: SparkConfig) -> Iterator[str]:
    workers = _workers(config)
    if not workers:
        return
    wanted = _mebibytes(config.conf.get("spark.executor.memory", "1g"))
    most = max(worker.get("memory", 0) for worker in workers)
    if wanted > most:
        yield (
            f"spark: spark.executor.memory is {wanted} MiB, and no worker of {config.place} has more than {most}; set "
            f'"spark.executor.memory" = "{most}m" or less in [profiles.NAME.spark.conf], or give the workers more'
        )


def _workers(config: SparkConfig) -> list[dict[str, Any]]:
    """Return the living workers of a standalone master, if its page can be read; it may be elsewhere, or closed."""
    if not config.place.startswith("spark://"):
        return []
    host, port = config.place.removeprefix("spark://").split(",")[0].rpartition(":")[0], _page_port(config)
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/json/", timeout=5) as answer:
            listed: list[dict[str, Any]] = json.load(answer)["workers"]
    except (OSError, ValueError, KeyError):
        return []
    return [worker for worker in listed if worker.get("state") == "ALIVE"]


def _page_port(config: SparkConfig) -> str:
    return config.conf.get("spark.master.ui.port", "8080")


def _mebibytes(text: str) -> int:
    found = _MEMORY.fullmatch(text.strip())
    return int(int(found["number"]) * _MEBIBYTES[(found["unit"] or "m").lower()]) if found else 0


# --- the executors' own word


@dataclass(frozen=True)
class Probe:
    """Runs on an executor; to arrive there at all, this package must be there."""

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in numbers:
            yield pa.RecordBatch.from_pydict({"python": [f"Python {_short_version()}"], "ownlens": [_ownlens()]})


def _short_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _ownlens() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"


def _executors(session: Any, config: SparkConfig) -> tuple[str, ...]:
    """Return what the executors run.

    Raises:
        Rejected, Retryable: none answers in time, or one cannot run our functions.
    """
    answers: list[Any] = []
    errors: list[BaseException] = []
    operations = sessions.Operations.of(session, config, _TAG)
    thread = threading.Thread(target=_ask, args=(operations, answers, errors), daemon=True)
    thread.start()
    thread.join(config.start_timeout)
    if thread.is_alive():
        operations.interrupt()
        raise _nobody(config)
    if errors:
        raise translate(errors[0], "spark check", "run a task on an executor")
    return tuple(sorted({f"{row['python']}, ownlens {row['ownlens']}" for row in answers}))


def _ask(operations: sessions.Operations, answers: list[Any], errors: list[BaseException]) -> None:
    try:
        answers += operations.tagged().range(0, 2, 1, 2).mapInArrow(Probe(), _ANSWER).collect()
    except BaseException as error:
        errors.append(error)


def _nobody(config: SparkConfig) -> OwnLensError:
    memory, cores = (config.conf.get(f"spark.executor.{name}", "the default") for name in ("memory", "cores"))
    return OwnLensError(
        f"spark: {config.place} gave no executor within {config.start_timeout} s: no worker has {memory} of memory and "
        f"{cores} cores free; lower spark.executor.memory and spark.executor.cores in profiles.NAME.spark.conf, start "
        "workers, or raise start_timeout"
    )


def _unlike(executors: tuple[str, ...]) -> Iterator[str]:
    mine = _ownlens()
    for each in executors:
        if not each.endswith(f"ownlens {mine}"):
            yield f"spark: executors run {each}, and this process ownlens {mine}; install the same version there"
