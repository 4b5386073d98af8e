"""A real MinIO server on a free port, for tests that must see an S3 store and not a directory."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .certificates import Certificates

BINARY_VARIABLE = "OWNLENS_MINIO_BIN"
_START_SECONDS = 60
# No console, no look for updates, and little work in the background: the tests need the machine.
_QUIET = {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_SCANNER_SPEED": "slowest", "GOGC": "400"}
# It keeps the description of S3, which takes a while to read.
_SESSION = boto3.session.Session()


@dataclass(frozen=True)
class MinioServer:
    """A running server and its owner's keys. The secret holds every character that breaks a careless URL."""

    endpoint: str
    process: int = 0
    authority: Path | None = None
    access_key: str = "lake-owner"
    secret_key: str = "p@ss%word/with:'quotes'"

    @property
    def settings(self) -> dict[str, Any]:
        """What an `S3Config` needs besides its uri."""
        return {
            "endpoint_url": self.endpoint,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            **({"ca_file": self.authority} if self.authority else {"allow_http": True}),
        }

    @property
    def variables(self) -> dict[str, str]:
        """What the environment must hold for a store that is reached by the AWS chain."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            **({"AWS_CA_BUNDLE": str(self.authority)} if self.authority else {}),
        }

    def client(self, access_key: str = "", secret_key: str = "") -> Any:
        return _SESSION.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            verify=str(self.authority) if self.authority else None,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
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
def running_minio(
    folder: Path, *, certificates: Certificates | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[MinioServer]:
    """Start a server with its data below `folder`, and stop it at the end. `settings` are its own variables."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    server = MinioServer(f"http://127.0.0.1:{port}")
    command = [str(binary()), "server", str(folder / "data"), "--address", f"127.0.0.1:{port}", "--quiet"]
    if certificates is not None:
        server = replace(server, endpoint=f"https://localhost:{port}", authority=certificates.authority)
        command += ["--certs-dir", str(_certificates(folder / "certificates", certificates))]
    keys = {"MINIO_ROOT_USER": server.access_key, "MINIO_ROOT_PASSWORD": server.secret_key}
    with (folder / "minio.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **keys, **_QUIET, **(settings or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_up(server, process)
            yield replace(server, process=process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _certificates(folder: Path, certificates: Certificates) -> Path:
    """Return a folder with the names that MinIO wants."""
    folder.mkdir()
    (folder / "public.crt").write_bytes(certificates.certificate.read_bytes())
    (folder / "private.key").write_bytes(certificates.key.read_bytes())
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: MinioServer, process: subprocess.Popen[bytes]) -> None:
    client, deadline = server.client(), time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"MinIO ended with {process.returncode} before it answered")
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"MinIO did not answer within {_START_SECONDS} s")
