"""`ownlens quarantine replay` on a directory and on an object store: killed anywhere, each row comes in once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.engine.planning import plan_load
from ownlens_plugins.engine.quarantining import kept_rows, open_rows
from ownlens_plugins.engine.replaying import replay
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Rejected
from ownlens_plugins.registry import Registry
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from ..minio_server import MinioServer, running_minio
from .replay_worker import POINTS
from .staging_rows import WHOLE, extracted, reads, row, stage
from .test_quarantining import BAD, unpublished
from .test_replaying import put, states
from .test_staging_crashes import ROOT

WHERE = ["local", pytest.param("minio", marks=pytest.mark.minio)]


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture(params=WHERE)
def area(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StagingArea:
    if request.param == "local":
        return StagingArea(str(tmp_path / "staging"), Registry())
    for name, value in request.getfixturevalue("minio").variables.items():
        monkeypatch.setenv(name, value)
    return StagingArea(f"s3://staging/{tmp_path.name}/sets", Registry())


@pytest.fixture
def project(area: StagingArea, tmp_path: Path) -> Path:
    """A profile whose contract takes what `states("a")` has refused."""
    folder = tmp_path / "contracts" / "tests"
    folder.mkdir(parents=True)
    (folder / "states.yaml").write_text(
        "table: states\ndomain: tests\npreset: events\nkey: [id]\npartition_by: created_at\npath: tests/states\n"
        "max_rejected: 1.0\ncolumns: {id: int64, state: 'enum(a, b)', number: int16, created_at: timestamptz, "
        "updated_at: timestamptz}\n"
    )
    config = tmp_path / "ownlens.toml"
    config.write_text(
        f"[profiles.default]\ncontracts = {json.dumps(str(tmp_path / 'contracts'))}\n"
        f"staging = {json.dumps(area.uri)}\nlog_file = {json.dumps(str(tmp_path / 'ownlens.log'))}\n"
        f"[profiles.default.destinations.s3]\nuri = {json.dumps(str(tmp_path / 'lake'))}\n"
    )
    return config


def contract_of(project: Path) -> TableContract:
    return read_contracts(project.parent / "contracts")["states"]


def command(project: Path, point: str) -> int:
    """Run the command, which dies at a point."""
    line = [sys.executable, "-m", "tests.engine.replay_worker", str(project), point]
    return subprocess.run(line, cwd=ROOT, capture_output=True, check=False, timeout=120).returncode


def landed(project: Path, area: StagingArea) -> list[int]:
    """Bring a lake up to date, which appends whatever it is given, and return what a reader sees."""
    store = S3Destination(S3Config(uri=str(project.parent / "lake")))
    load_table(store, contract_of(project), area, Registry())
    plan = plan_load(store, contract_of(project), area.manifests("states")[-1], area, Registry())
    return sorted(store.read(plan).read_all()["id"].to_pylist())


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_replay_is_made_up_for_by_the_next_and_by_no_more(
    area: StagingArea, project: Path, point: str
) -> None:
    put(area, states("a"), (1, "a", 1), (2, "b", 1), (3, "b", 2**20), (4, "b", 4))
    assert command(project, point) == -signal.SIGKILL
    assert open_rows(area.manifests("states")) == ({1: {1}} if point == "published" else {1: {0, 1, 2}})
    for _ in range(2):
        replay(contract_of(project), area)
        assert landed(project, area) == [1, 2, 4]
    assert open_rows(area.manifests("states")) == {1: {1}}
    assert len(area.manifests("states")) == 2


def test_two_replays_at_once_bring_each_row_in_once(area: StagingArea, project: Path) -> None:
    put(area, states("a"), (1, "a", 1), *((number, "b", 1) for number in range(2, 50)))
    line = [sys.executable, "-m", "tests.engine.replay_worker", str(project), ""]
    runs = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(120) for process in runs] == [0, 0]
    assert landed(project, area) == list(range(1, 50))


def test_refused_rows_are_kept_and_read_again_as_they_came(area: StagingArea) -> None:
    put(area, states("a"), (1, "b", 1), (2, "c", 2**20), (None, "a", 3))
    (manifest,) = area.manifests("states")
    kept = list(kept_rows(area.address(manifest.quarantine or ""), None, 1))
    assert [json.loads(one.text)["id"] for one in kept] == ["1", "2", None]
    outcome = replay(states("a, b, c", number="int64"), area)
    assert (outcome.rows, outcome.refused) == (2, 1)
    assert replay(states("a, b, c", number="int64"), area).rows == 0


def test_rows_of_a_set_that_was_not_published_can_be_seen_until_one_is(area: StagingArea) -> None:
    strict: Any = reads("reference", max_rejected=0.5)
    for number in (1, 2):
        with pytest.raises(Rejected) as caught:
            area.stage(strict, extracted([row(number, BAD)]), WHOLE)
        assert f"they are kept in {area.unpublished('reads')}" in str(caught.value)
        assert [json.loads(text)["read_id"] for text in unpublished(area)] == [str(number)]
    assert area.manifests("reads") == []
    stage(area, strict, [row(3)], WHOLE)
    assert area.unpublished("reads") is None
