"""The staging area on a real object store: the same promises as on a directory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ownlens_plugins import storage
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.registry import Registry
from ownlens_plugins.storage import S3Folder

from ..minio_server import MinioServer, running_minio
from .staging_rows import WHOLE, WINDOW, extracted, ids, reads, row, rows, stage, staged_rows

pytestmark = pytest.mark.minio


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture
def area(minio: MinioServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[StagingArea]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", minio.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", minio.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", minio.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    clear_clients()
    yield StagingArea(f"s3a://staging/{request.node.name}/sets", Registry())
    clear_clients()


def clear_clients() -> None:
    storage._s3_from_environment.cache_clear()
    storage._s3_client.cache_clear()


def test_sets_are_numbered_read_and_quarantined(area: StagingArea) -> None:
    first = stage(area, reads("reference"), [*rows(1, 2), row(None)], WHOLE)
    assert area.stage(reads("reference"), extracted([*rows(1, 2), row(None)]), WHOLE) is None
    second = stage(area, reads("reference"), rows(3), WHOLE)
    assert [manifest.sequence for manifest in area.manifests("reads")] == [1, 2]
    assert staged_rows(area, first) == rows(1, 2)
    assert ids(area, second) == [3]
    quarantined = area.quarantined(first)
    assert quarantined is not None
    assert quarantined.num_rows == 1
    assert area.parts(first)[0].uri.startswith("s3://staging/")


@pytest.mark.parametrize("table", ["../x", "a/b", "naïve 🚀", "a b+c%20", "*?"])
def test_hostile_table_names(area: StagingArea, table: str) -> None:
    manifest = stage(area, reads(table=table), rows(1))
    assert area.latest(table) == manifest
    assert ids(area, manifest) == [1]


def test_a_number_is_taken_by_one_run_only(area: StagingArea) -> None:
    barrier = Barrier(4)

    def one(number: int) -> int | None:
        barrier.wait()
        try:
            return stage(area, reads(), rows(number), WINDOW).sequence
        except Retryable:
            return None

    with ThreadPoolExecutor(4) as pool:
        sequences = [sequence for sequence in pool.map(one, range(4)) if sequence is not None]
    assert sorted(sequences) == [manifest.sequence for manifest in area.manifests("reads")]
    assert len(sequences) == len(set(sequences)) >= 1


def test_an_object_is_created_by_one_writer_only(area: StagingArea) -> None:
    folder = S3Folder("s3://staging/objects")
    assert folder.create("a/b.json", b"first")
    assert not folder.create("a/b.json", b"second")
    assert folder.read("a/b.json") == b"first"
    assert folder.read("a/none.json") is None
    assert folder.list("a") == ["a/b.json"]
    folder.remove("a")
    assert folder.list("a") == []


def test_a_set_staged_elsewhere_is_seen_by_a_new_area(area: StagingArea, tmp_path: Path) -> None:
    manifest = stage(area, reads(), rows(1))
    assert StagingArea(area.uri.replace("s3a://", "s3://"), Registry()).latest("reads") == manifest
