"""The staging area on a real object store: the same promises as on a directory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.object_store import S3Folder
from ownlens_plugins.registry import Registry

from ..conftest import Database
from ..minio_server import MinioServer, running_minio
from .staging_rows import WHOLE, WINDOW, extracted, ids, reads, row, rows, stage, staged_rows
from .test_staging_crashes import ROOT, worker

pytestmark = pytest.mark.minio


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture
def area(minio: MinioServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> StagingArea:
    for name, value in minio.variables.items():
        monkeypatch.setenv(name, value)
    return StagingArea(f"s3a://staging/{request.node.name}/sets", Registry())


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


def folders(area: StagingArea) -> list[str]:
    return S3Folder(area.uri.replace("s3a://", "s3://")).folders("reads")


@pytest.mark.parametrize("point", ["uploaded", "publish"])
def test_what_a_killed_run_left_is_removed_once_its_number_is_taken(area: StagingArea, point: str) -> None:
    stage(area, reads(), rows(1))
    killed = worker(area, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    orphan = next(name for name in folders(area) if name.startswith("00000002-"))
    assert stage(area, reads(), rows(2, 3)).sequence == 2  # with which the killed run can not publish any more
    assert orphan in folders(area)
    last = stage(area, reads(), rows(4))
    assert orphan not in folders(area)
    assert last.sequence == 3
    assert [ids(area, manifest) for manifest in area.manifests("reads")] == [[1], [2, 3], [4]]
    assert len(folders(area)) == 4  # three sets, and the manifests


def test_what_a_living_run_uploads_is_left_alone(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run comes by after the upload and before the manifest, and sweeps."""
    stage(area, reads(), rows(1))
    create = S3Folder.create

    def meanwhile(folder: S3Folder, name: str, content: bytes) -> bool:
        monkeypatch.setattr(S3Folder, "create", create)
        assert area.stage(reads(), extracted(rows(1)), WHOLE) is None  # it sweeps, and finds nothing new
        return create(folder, name, content)

    monkeypatch.setattr(S3Folder, "create", meanwhile)
    assert ids(area, stage(area, reads(), rows(2))) == [2]


def test_staged_sets_on_s3_load_everywhere_and_resume_after_a_kill(
    area: StagingArea, minio: MinioServer, database: Database, tmp_path: Path
) -> None:
    for number in range(2):
        stage(area, reads(), rows(*range(10 * number, 10 * number + 10)))
    lake = {name: str(value) for name, value in minio.settings.items()} | {"uri": f"{area.uri}-lake"}
    stores = {
        "s3": lake,
        "postgresql": {"host": str(database.folder), "database": database.name, "user": "postgres"},
        "clickhouse": {"interface": "chdb", "path": str(tmp_path / "clickhouse")},
    }
    command = [sys.executable, "-m", "tests.engine.staged_load_worker", area.uri, json.dumps(stores)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    seen = json.loads(done.stdout)
    assert seen == {name: [[-signal.SIGKILL, 0], [20, list(range(20))]] for name in stores}
