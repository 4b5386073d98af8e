"""`ownlens load` in a process of its own, to be killed or told to stop, on the server of these tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from .conftest import Project

PATIENCE = 60.0
# The process dies where the first validation begins: its load is committed then.
DYING_AT_VALIDATION = """
import os, signal, sys
import ownlens_flows.steps
ownlens_flows.steps.validate = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from ownlens_cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def environment() -> dict[str, str]:
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    return {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_HOME": str(PREFECT_HOME.value())}


def die_at_validation(project: Project, tmp_path: Path, *arguments: str) -> int:
    """Run a load whose process is killed between a commit and its validation; return its exit code."""
    script = tmp_path / "dying.py"
    script.write_text(DYING_AT_VALIDATION)
    command = [sys.executable, str(script), "load", "--config", project.config, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, timeout=PATIENCE).returncode


@contextmanager
def running_load(
    project: Project, *arguments: str, settings: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    command = [str(Path(sys.executable).with_name("ownlens")), "load", "--config", project.config, *arguments]
    process = subprocess.Popen(
        command,
        env=settings or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def locked(project: Project, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Keep every load out of a PostgreSQL table, until the block ends or the connection commits."""
    names = {"database": "dbname"}
    login = {names.get(name, name): value for name, value in project.database.items()}
    with psycopg.connect(**login) as connection:
        connection.execute(f"LOCK TABLE press.{table} IN ACCESS EXCLUSIVE MODE".encode())
        yield connection


def waiting_for_a_lock(project: Project) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return project.query(query) != [(0,)]


def eventually(ask: Callable[[], Any], what: str, *, within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not ask():
        assert time.monotonic() < deadline, f"{what}: not within {within:.0f} s"
        time.sleep(0.1)


def loads_of(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(load["table"], load["destination"]): load for load in json.loads(text)["loads"]}
