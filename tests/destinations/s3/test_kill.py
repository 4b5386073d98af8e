"""SIGKILL at every fault point of every strategy and format; then a normal run; then the oracle."""

from __future__ import annotations

import signal
from pathlib import Path

import pyarrow as pa
import pytest

from ownlens_plugins.engine.loading import load
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing.samples import canonical_rows
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, all_files, contract_of, ledger_files, left_over, manifests
from tests.destinations.s3.worker import exit_code, start

STRATEGIES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]


@pytest.mark.minio
@pytest.mark.parametrize(("strategy", "form"), [("upsert", "delta"), ("overwrite", "parquet")])
@pytest.mark.parametrize("lake", ["minio"], indirect=True)
def test_counts_survive_a_kill_on_a_server(
    destination: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    """The conformance suite kills at every point; here are the counts, and the files that a replay leaves alone."""
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    base, more = loader.rows(30), loader.rows(30, first=20, version=1)
    loader.load(1, base)
    plan = loader.plan(2, more)
    after = [*canonical_rows(more if strategy == "overwrite" else pa.concat_tables([base.slice(0, 20), more]))]

    killed = start(destination.config, plan, fault="commit_sent:kill")
    assert exit_code(killed) == -signal.SIGKILL
    assert canonical_rows(loader.landed()) == after

    result = load(destination, plan)
    assert result.replayed
    assert (result.rows, result.inserted, result.updated) == (30, *((20, 10) if strategy == "upsert" else (30, 0)))
    assert canonical_rows(loader.landed()) == after
    assert left_over(destination, plan) == []
    assert ledger_files(destination, loader.contract) == ["00000001.json", "00000002.json"]
    assert len(manifests(destination, loader.contract)) == (form != "delta")
    files = all_files(destination, loader.contract)
    assert load(destination, plan).replayed
    assert all_files(destination, loader.contract) == files


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet")])
def test_killed_while_it_aborts(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(30))
    plan = loader.plan(2, loader.rows(30, first=30))
    second = Path(plan.parts[1].uri)
    content = second.read_bytes()
    second.write_bytes(b"not a Parquet file")  # the first part is written, the second makes the engine abort
    assert exit_code(start(local.config, plan, fault="abort:kill")) == -signal.SIGKILL
    assert left_over(local, plan)
    loader.plans.pop(2)
    loader.require(loader.rows(30))
    second.write_bytes(content)
    load(local, plan)
    assert left_over(local, plan) == []
    loader.plans[2] = plan
    loader.require(*([] if strategy == "overwrite" else [loader.rows(30)]), loader.rows(30, first=30))


@pytest.mark.parametrize("point", [point for point in POINTS if point != "abort"])
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_an_error_at_any_point_is_resolved_by_the_next_run(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, form: str, point: str
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    rows = loader.rows(30)
    plan = loader.plan(1, rows)
    monkeypatch.setenv("OWNLENS_FAULT", f"{point}:raise")
    if point in {"stage_open", "part_written", "before_commit"}:
        with pytest.raises(OSError, match=f"fault injected at {point}"):
            load(local, plan)
    else:  # the load is visible: what follows the commit cannot fail it
        assert load(local, plan).rows == 30
    monkeypatch.delenv("OWNLENS_FAULT")
    load(local, plan)
    loader.require(rows)
    assert load(local, plan).replayed
