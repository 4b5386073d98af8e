"""A real MinIO server on a free port, for tests that must see an S3 store and not a directory."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BINARY_VARIABLE = "OWNLENS_MINIO_BIN"
_START_SECONDS = 60


@dataclass(frozen=True)
class MinioServer:
    """A running server and its owner's keys. The secret holds every character that breaks a careless URL."""

    endpoint: str
    access_key: str = "lake-owner"
    secret_key: str = "p@ss%word/with:'quotes'"

    @property
    def settings(self) -> dict[str, Any]:
        """What an `S3Config` needs besides its uri."""
        return {
            "endpoint_url": self.endpoint,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "allow_http": True,
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 1}),
        )


def binary() -> Path:
    """Return the server's program; skip the test without one, or fail where every test has to run."""
    named = os.environ.get(BINARY_VARIABLE)
    if named and Path(named).is_file():
        return Path(named)
    reason = f"no MinIO server: set {BINARY_VARIABLE} to its program"
    if os.environ.get("CI", "").casefold() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running_minio(folder: Path) -> Iterator[MinioServer]:
    """Start a server with its data below `folder`, and stop it at the end."""
    server = MinioServer(f"http://127.0.0.1:{_free_port()}")
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"MINIO_ROOT_USER": server.access_key, "MINIO_ROOT_PASSWORD": server.secret_key}
    address = server.endpoint.removeprefix("http://")
    with (folder / "minio.log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary()), "server", str(folder / "data"), "--address", address, "--quiet"],
            env={**os.environ, **keys, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_up(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: MinioServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"MinIO ended with {process.returncode} before it answered")
        try:
            server.client().list_buckets()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"MinIO did not answer within {_START_SECONDS} s")
