"""A MinIO server for the lake, where its program is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .services import Service

BINARY_VARIABLE = "OWNLENS_MINIO_BIN"
BUCKET = "lake"


def minio_program() -> str | None:
    """Return the path of the program: what OWNLENS_MINIO_BIN names, else `minio` of the PATH or of OwnLens's cache."""
    cache = os.environ.get("OWNLENS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "ownlens")
    places = (os.environ.get(BINARY_VARIABLE), "minio", str(Path(cache, "bin", "minio").expanduser()))
    return next((found for place in places if place and (found := shutil.which(place))), None)


def start_minio(service: Service, program: str, data: Path, port: int, keys: tuple[str, str]) -> None:
    """Start a server on a data folder, wait until it answers, and make the bucket `lake`.

    `keys` are access key and secret key of its owner.

    Raises:
        SandboxError: it does not start.
    """
    owner = {"MINIO_ROOT_USER": keys[0], "MINIO_ROOT_PASSWORD": keys[1]}
    quiet = {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off"}
    command = [program, "server", str(data), "--address", f"127.0.0.1:{port}", "--quiet"]
    service.start(command, {**_inherited(), **quiet, **owner})
    service.wait_until(lambda: _has_bucket(_client(port, keys)))


def _inherited() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MINIO_")}


def _client(port: int, keys: tuple[str, str]) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )


def _has_bucket(client: Any) -> bool:
    """Make the bucket if it is not there; False while the server does not answer yet."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        known = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        if BUCKET not in known:
            client.create_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError):
        return False
    return True
