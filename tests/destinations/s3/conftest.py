"""A lake of its own for each test: always on a directory, and once more on MinIO."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.minio_server import MinioServer, running_minio

BUCKET = "lake"


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.minio)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> S3Config:
    if request.param == "folder":
        return S3Config(uri=str(tmp_path / "lake"))
    server: MinioServer = request.getfixturevalue("minio")
    return S3Config(uri=f"s3a://{BUCKET}/{uuid.uuid4().hex}", **server.settings)


@pytest.fixture
def destination(lake: S3Config) -> S3Destination:
    return S3Destination(lake)


@pytest.fixture
def local(tmp_path: Path) -> S3Destination:
    return S3Destination(S3Config(uri=str(tmp_path / "lake")))
