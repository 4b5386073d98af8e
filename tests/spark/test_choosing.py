"""Who writes a load: what is asked for, what its size says, and that nothing is started for small loads."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts.presets import Engine
from ownlens_plugins.engine import workers as workers_module
from ownlens_plugins.engine.workers import Workers
from ownlens_plugins.engines import SparkConfig
from ownlens_plugins.errors import SettingsInvalid
from ownlens_plugins.testing import make_plan, sample_contract, sample_rows, sample_table
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination


class Untouched:
    """A cluster that no load may come near."""

    def __init__(self) -> None:
        self.loads: list[str] = []

    def mapping(self, plan: LoadPlan) -> Any:
        self.loads.append(plan.table)
        return map

    def warm_up(self) -> None:
        self.loads.append("warm")

    def close(self) -> None:
        self.loads.append("closed")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_installed", lambda: True)


@pytest.fixture
def lake(tmp_path: Path) -> S3Destination:
    return S3Destination(S3Config(uri=str(tmp_path / "lake")))


@pytest.fixture
def plan(lake: S3Destination, tmp_path: Path) -> LoadPlan:
    contract = sample_contract("entity")
    return make_plan(lake, contract, sample_table(contract, sample_rows(10)), tmp_path, parts=2)


def told(lake: Any, plan: LoadPlan, workers: Workers) -> str:
    choice = workers.choose(lake, plan)
    return f"{'spark' if choice.spark else 'here'}: {choice.reason}"


def config(threshold: Any) -> SparkConfig:
    return SparkConfig.model_validate({"engine_threshold": threshold})


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (11, "here: 10 rows, "),
        (10, "spark: 10 rows, "),
        ("1 MB", "here: 10 rows, "),
        ("1 KB", "spark: 10 rows, "),
    ],
)
def test_auto_goes_by_staged_rows_or_bytes(lake: S3Destination, plan: LoadPlan, threshold: Any, expected: str) -> None:
    assert told(lake, plan, Workers(Engine.AUTO, config(threshold))).startswith(expected)


def test_auto_says_which_threshold_decided(lake: S3Destination, plan: LoadPlan) -> None:
    assert "below engine_threshold, 11 rows" in told(lake, plan, Workers(Engine.AUTO, config(11)))


def test_one_part_is_no_work_for_a_cluster(lake: S3Destination, plan: LoadPlan) -> None:
    one = replace(plan, parts=plan.parts[:1])
    assert "one worker would write" in told(lake, one, Workers(Engine.AUTO, config(0)))
    assert told(lake, one, Workers(Engine.SPARK, config(0))).startswith("spark")


def test_nothing_to_write_starts_nothing(lake: S3Destination, plan: LoadPlan) -> None:
    assert "no rows" in told(lake, replace(plan, parts=()), Workers(Engine.SPARK, config(0)))


def test_the_request_goes_before_the_contract_and_that_before_the_profile(lake: S3Destination, plan: LoadPlan) -> None:
    local = replace(plan, contract=replace(plan.contract, engine=Engine.LOCAL))
    assert told(lake, local, Workers(Engine.SPARK, config(0))).startswith("here")
    assert told(lake, local, Workers(Engine.LOCAL, config(0), Engine.SPARK)).startswith("spark")
    assert told(lake, plan, Workers(Engine.LOCAL, config(0))).startswith("here")


def test_an_engine_that_admits_one_process_is_written_by_it(plan: LoadPlan, tmp_path: Path) -> None:
    embedded = ClickHouseDestination(ClickHouseConfig(interface="chdb", path=tmp_path))
    assert "admits one process" in told(embedded, plan, Workers(Engine.SPARK, config(0)))
    assert told(ClickHouseDestination(ClickHouseConfig()), plan, Workers(Engine.SPARK, config(0))).startswith("spark")


def test_spark_without_a_cluster_is_refused_before_anything_moves(plan: LoadPlan) -> None:
    with pytest.raises(SettingsInvalid, match=r"add \[profiles\.NAME\.spark\]"):
        Workers(Engine.AUTO, None, Engine.SPARK).require([plan.contract])
    marked = replace(plan.contract, engine=Engine.SPARK)
    with pytest.raises(SettingsInvalid, match="samples"):
        Workers(Engine.AUTO, None).require([marked])
    Workers(Engine.AUTO, None, Engine.LOCAL).require([marked])


def test_spark_without_pyspark_says_what_to_install(plan: LoadPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_installed", lambda: False)
    with pytest.raises(SettingsInvalid, match=r"pip install 'ownlens\[spark\]'"):
        Workers(Engine.SPARK, config(0)).require([plan.contract])


def test_auto_touches_no_cluster_for_small_loads_and_says_why(
    lake: S3Destination, plan: LoadPlan, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Untouched()
    workers = Workers(Engine.AUTO, config(1000), start=lambda _: cluster)
    workers.require([plan.contract])
    workers.warm_up([plan.contract])
    with caplog.at_level(logging.INFO, "ownlens.load"):
        assert workers.mapping(lake, plan) is None
    assert cluster.loads == []
    assert "samples: s3: written by this process: 10 rows" in caplog.text
    workers.close()
    assert cluster.loads == []


def test_one_cluster_serves_all_loads_of_a_run_and_is_closed_with_it(lake: S3Destination, plan: LoadPlan) -> None:
    cluster, made = Untouched(), []
    workers = Workers(Engine.SPARK, config(0), start=lambda each: made.append(each) or cluster)
    workers.warm_up([plan.contract])
    assert workers.mapping(lake, plan) is map
    assert workers.mapping(lake, plan) is map
    workers.close()
    assert cluster.loads == ["warm", "samples", "samples", "closed"]
    assert len(made) == 1


def test_who_writes_is_nothing_about_the_table(plan: LoadPlan) -> None:
    marked = replace(plan.contract, engine=Engine.SPARK)
    assert marked.fingerprint == plan.contract.fingerprint
    assert marked.describe()["engine"] == "spark"


def test_neither_a_profile_with_spark_nor_the_command_imports_it() -> None:
    program = (
        "import sys, ownlens_plugins, ownlens_plugins.settings\n"
        "import ownlens_plugins.engine.running, ownlens_cli.load\n"
        "from ownlens_plugins.engines import SparkConfig; SparkConfig()\n"
        "print([name for name in sys.modules if name.startswith(('pyspark', 'ownlens_plugins.spark'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
