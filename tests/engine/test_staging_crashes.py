"""Staging under SIGKILL and under other runs at the same time: a set is published whole, once, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from ownlens_plugins.engine import sweeping
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.registry import Registry
from ownlens_plugins.storage import LocalFolder

from .staging_rows import WINDOW, extracted, ids, reads, rows, stage

ROOT = Path(__file__).parents[2]


def worker(area: StagingArea, point: str, first: int = 0, count: int = 1000) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engine.staging_worker", area.uri, point, str(first), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def names(area: StagingArea) -> list[str]:
    return sorted(path.name for path in (Path(area.uri) / "reads").iterdir())


@contextmanager
def hours_later(monkeypatch: pytest.MonkeyPatch, hours: float) -> Iterator[None]:
    now = time.time
    with monkeypatch.context() as changed:
        changed.setattr(sweeping.time, "time", lambda: now() + hours * 3600)
        yield


@pytest.mark.parametrize("point", ["reading", "unique", "upload", "publish"])
def test_a_killed_run_leaves_nothing_that_is_listed(
    area: StagingArea, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    before = stage(area, reads(), rows(1))
    killed = worker(area, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(area)) > 2  # it did leave something
    assert area.manifests("reads") == [before]
    after = stage(area, reads(), rows(2, 3))
    assert after.sequence == 2
    assert [ids(area, manifest) for manifest in area.manifests("reads")] == [[1], [2, 3]]
    with hours_later(monkeypatch, 7):
        last = stage(area, reads(), rows(4))
    folders = {part.uri.split("/")[1] for manifest in (before, after, last) for part in manifest.parts}
    assert names(area) == sorted([*folders, "manifests"])
    assert [ids(area, manifest) for manifest in area.manifests("reads")] == [[1], [2, 3], [4]]


def test_processes_that_stage_at_once_publish_one_set_each_or_nothing(area: StagingArea) -> None:
    running = [worker(area, "race", first=n * 1000) for n in range(3)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].strip() for process in running]
    published = area.manifests("reads")
    assert sorted(answer for answer in answers if answer != "taken") == [str(m.sequence) for m in published]
    assert [manifest.sequence for manifest in published] == list(range(1, len(published) + 1))
    for manifest in published:
        first = ids(area, manifest)[0]
        assert ids(area, manifest) == list(range(first, first + 1000))
    assert len(names(area)) == len(published) + 1


def test_threads_that_stage_at_once_publish_one_set_each_or_nothing(area: StagingArea) -> None:
    barrier = Barrier(6)

    def one(number: int) -> int | None:
        barrier.wait()
        try:
            return stage(area, reads(), rows(number)).sequence
        except Retryable:
            return None

    with ThreadPoolExecutor(6) as pool:
        sequences = [sequence for sequence in pool.map(one, range(6)) if sequence is not None]
    published = area.manifests("reads")
    assert sorted(sequences) == [manifest.sequence for manifest in published]
    assert len({ids(area, manifest)[0] for manifest in published}) == len(published)
    assert len(names(area)) == len(published) + 1


def test_young_drafts_are_left_to_the_run_that_writes_them(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(area, reads(), rows(1))
    table = Path(area.uri) / "reads"
    (table / ".draft-alive/parts").mkdir(parents=True)
    os.utime(table / ".draft-alive", (0, 0))
    (table / ".draft-alive/parts/part-00000.parquet").write_bytes(b"half")
    with hours_later(monkeypatch, 5):
        stage(area, reads(), rows(2))
    assert (table / ".draft-alive/parts/part-00000.parquet").exists()
    with hours_later(monkeypatch, 7):
        stage(area, reads(), rows(3))
    assert not (table / ".draft-alive").exists()


def test_only_what_lost_its_number_is_removed(area: StagingArea) -> None:
    first = stage(area, reads(), [*rows(1), *rows(1)])
    table = Path(area.uri) / "reads"
    (folder,) = {part.uri.split("/")[1] for part in first.parts}
    lost, coming, foreign = "00000001-" + "0" * 16, "00000003-" + "0" * 16, "00000001-notes"
    for name in (lost, coming, foreign):
        (table / name).mkdir()
        (table / name / "part-00000.parquet").write_bytes(b"x")
    (table / "manifests/.00000009.json.1.aa").write_bytes(b"x")
    stage(area, reads(), rows(2))
    assert not (table / lost).exists()
    assert all((table / name).exists() for name in (folder, coming, foreign))
    assert area.quarantined(first) is not None
    assert ids(area, first) == [1]
    assert [manifest.sequence for manifest in area.manifests("reads")] == [1, 2]


def test_a_file_is_created_by_one_writer_only(tmp_path: Path) -> None:
    folder = LocalFolder(str(tmp_path))
    barrier = Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return folder.create("a/b/name.json", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, created in enumerate(pool.map(create, range(8))) if created]
    assert len(won) == 1
    assert folder.read("a/b/name.json") == str(won[0]).encode()
    assert folder.list("a") == ["a/b/name.json"]
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["name.json"]
    folder.remove("a")
    assert folder.list("a") == []
    assert folder.read("a/b/name.json") is None


def test_the_next_number_follows_a_set_that_another_run_published(area: StagingArea) -> None:
    other = StagingArea(area.uri, Registry())
    stage(area, reads(), rows(1))
    stage(other, reads(), rows(2))
    assert stage(area, reads(), rows(3)).sequence == 3
    assert area.stage(reads(), extracted([]), WINDOW) is None
