"""Loads through Spark Connect, in a process of their own: see `connect_cases.py`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import ROOT, free_port

_PATIENCE = 120
_SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a Connect server on local[2]; the pip package has its class, and no script."""
    import pyspark

    home, port = Path(pyspark.__file__).parent, free_port()
    settings = {"spark.connect.grpc.binding.port": str(port), "spark.ui.enabled": "false"}
    command = [str(home / "bin" / "spark-submit"), "--master", "local[2]", "--class", _SERVER, "--name", "connect"]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    # Its own jar is on the class path already; spark-submit wants one all the same.
    command.append("spark-internal")
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": ROOT, "SPARK_LOCAL_IP": "127.0.0.1"}
    log = (tmp_path / "connect.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    _await(port, tmp_path / "connect.log")
    yield f"sc://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _await(port: int, log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"the server did not start: {log.read_text()[-2000:]}"
            time.sleep(0.2)
        else:
            return


@pytest.mark.timeout(600)
def test_loads_through_a_connect_server(server: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "tests/spark/connect_cases.py"]
    environment = {**os.environ, "OWNLENS_SPARK_REMOTE": server}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
