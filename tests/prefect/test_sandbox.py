"""`ownlens sandbox` as a person uses it: a killed server comes back, a stopped stack starts again with its data."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import psycopg

from .stack import Stack, eventually


def sandbox(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return stack.run("ownlens", "sandbox", *arguments, "--folder", str(stack.folder), timeout=240)


def pids(stack: Stack) -> dict[str, int | None]:
    return {server.name: server.pid for server in stack.servers.standing()}


def held(stack: Stack) -> tuple[Any, ...]:
    """Return what the stack holds: rows of a table in each store, and how many runs its Prefect server knows."""
    shown = [
        stack.run("ownlens", "show", "browsers", "--limit", "0", "--json", "--destination", store).stdout
        for store in ("clickhouse", "s3")
    ]
    with psycopg.connect(stack.servers.warehouse) as warehouse:
        rows = warehouse.execute("SELECT * FROM newsroom.browsers ORDER BY 1").fetchall()
    return (*shown, rows, len(stack.runs_of("adhoc")))


def test_every_server_is_in_a_session_of_its_own(stack: Stack) -> None:
    for name, pid in pids(stack).items():
        assert pid, name
        assert os.getsid(pid) == pid, name


def test_a_killed_server_comes_back_and_the_others_stay(stack: Stack) -> None:
    before = pids(stack)
    os.killpg(before["clickhouse"] or 0, signal.SIGKILL)
    eventually(lambda: pids(stack)["clickhouse"] is None, what="the server is gone")
    status = sandbox(stack, "status")
    assert status.returncode == 1
    assert "down, log " in status.stdout
    assert sandbox(stack, "up").returncode == 0
    now = pids(stack)
    assert now.pop("clickhouse") not in (None, before.pop("clickhouse"))
    assert now == before


def test_a_stopped_stack_starts_again_with_its_data_and_addresses(stack: Stack) -> None:
    if not stack.runs_of("adhoc"):
        stack.adhoc({"tables": ["browsers"]})
    before, ports = held(stack), dict(stack.servers.ports)
    down = sandbox(stack, "down")
    assert (down.returncode, "was killed" in down.stderr) == (0, False)
    assert set(pids(stack).values()) == {None}
    up = sandbox(stack, "up")
    assert up.returncode == 0, up.stderr
    assert "inserted" not in up.stderr, "the source was filled anew"
    assert dict(type(stack.servers)(stack.folder).ports) == ports
    assert held(stack) == before
    assert stack.adhoc({"tables": ["browsers"]})["state"]["type"] == "COMPLETED"


def test_a_folder_without_servers_says_what_to_run(stack: Stack, tmp_path: Any) -> None:
    none = stack.run("ownlens", "sandbox", "status", "--folder", str(tmp_path / "none"))
    command = f"ownlens sandbox up --folder {tmp_path / 'none'}"
    assert (none.returncode, none.stdout) == (1, f"{tmp_path / 'none'} has no servers; run {command}\n")
    change = stack.run("ownlens", "sandbox", "change", "--folder", str(tmp_path / "none"))
    assert change.returncode == 1
    assert command in change.stderr.replace("\n", " ")
