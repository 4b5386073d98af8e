"""The development server as a process: how it starts, ends, and comes back with its data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from ownlens_sandbox.clickhouse_http import start_clickhouse

from .clickhouse_requests import wait_for


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_acknowledged_rows_are_there_after_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    server = start_clickhouse(tmp_path / "engine")
    acknowledged = 0

    def insert() -> None:
        nonlocal acknowledged
        with closing(clickhouse_connect.get_client(host="127.0.0.1", port=server.port)) as client:
            client.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
            with suppress(ClickHouseError):
                while True:
                    client.insert("t", [[acknowledged]], column_names=["x"])
                    acknowledged += 1

    worker = threading.Thread(target=insert)
    worker.start()
    wait_for(lambda: acknowledged > 20)
    os.kill(server.pid, how)
    worker.join(20)
    server.stop()
    again = start_clickhouse(tmp_path / "engine")
    with closing(clickhouse_connect.get_client(host="127.0.0.1", port=again.port)) as client:
        # The last one may have been written without its answer.
        assert client.command("SELECT uniqExact(x) FROM t") in (acknowledged, acknowledged + 1)
    again.stop()


def test_a_folder_is_opened_once_and_the_error_says_where_to_look(tmp_path: Path) -> None:
    server = start_clickhouse(tmp_path / "engine")
    try:
        with pytest.raises(RuntimeError, match="no server could be started"):
            start_clickhouse(tmp_path / "engine", log=tmp_path / "log")
        assert "lock" in (tmp_path / "log").read_text()
    finally:
        server.stop()


_STARTS_AND_DIES = """
import os, sys
from pathlib import Path
from ownlens_sandbox.clickhouse_http import start_clickhouse
server = start_clickhouse(Path(sys.argv[1]), detached=sys.argv[2] == "detached")
print(server.pid, server.port, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["attached", "detached"])
def test_a_server_ends_with_a_killed_parent_unless_it_is_detached(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", _STARTS_AND_DIES, str(tmp_path / "engine"), how]
    places = os.pathsep.join(filter(None, sys.path))
    starter = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places})
    pid, port = map(int, starter.stdout.split())
    if how == "attached":
        wait_for(lambda: not _answers(port))
        return
    assert _answers(port)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not _answers(port))


_DIES_AT_ONCE = """
import os, sys
from pathlib import Path
from ownlens_sandbox import clickhouse_http
def die(process):
    print(process.pid, flush=True)
    os.kill(os.getpid(), 9)
clickhouse_http._first_line = die
clickhouse_http.start_clickhouse(Path(sys.argv[1]), port=int(sys.argv[3]), detached=sys.argv[2] == "detached")
"""


@pytest.mark.parametrize("how", ["attached", "detached"])
def test_a_parent_that_dies_before_the_server_is_ready(tmp_path: Path, how: str) -> None:
    """Nobody reads the ready line: an attached server ends all the same, a detached one serves."""
    port = _free_port()
    command = [sys.executable, "-c", _DIES_AT_ONCE, str(tmp_path / "engine"), how, str(port)]
    places = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": places}
    starter = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    pid = int(starter.stdout)
    if how == "detached":
        wait_for(lambda: _answers(port))
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # whoever inherits orphans may take its time


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_server_in_the_background_comes_back_with_its_data(tmp_path: Path) -> None:
    """As `ownlens sandbox up` starts it: a port of its own choice, a log, no terminal."""
    port, secret = _free_port(), "s3cr3t canary"
    options: dict[str, Any] = {"port": port, "user": "u", "password": secret, "log": tmp_path / "log", "detached": True}
    for rows in (1, 2):
        server = start_clickhouse(tmp_path / "engine", **options)
        assert server.port == port
        assert secret not in Path(f"/proc/{server.pid}/cmdline").read_text()
        with closing(clickhouse_connect.get_client(port=port, username="u", password=secret)) as client:
            client.command("CREATE TABLE IF NOT EXISTS t (x Int64) ENGINE = MergeTree ORDER BY x")
            client.insert("t", [[rows]], column_names=["x"])
            assert client.command("SELECT count() FROM t") == rows
        os.kill(server.pid, signal.SIGTERM)
        assert server.process.wait(20) == 0
        server.stop()
    assert secret not in (tmp_path / "log").read_text()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.read() == b"Ok.\n")
    except OSError:
        return False


def test_the_ready_line_is_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ownlens_sandbox.clickhouse_http", "--path", str(tmp_path / "engine")]
    places = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": places}) as made:
        assert made.stdout is not None
        ready = json.loads(made.stdout.readline())
        assert ready["pid"] == made.pid
        assert _answers(ready["port"])
        made.terminate()
        assert made.wait(20) == 0
