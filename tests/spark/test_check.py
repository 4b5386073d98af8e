"""`ownlens spark check`: one line for each thing that is wrong, and what it says to do helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.engines import SparkConfig
from ownlens_plugins.spark import checking, jars

from .cluster import Cluster, free_port


@pytest.fixture
def jarred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the jars hold is no matter of the check; test_merging reads Delta with real ones.
    monkeypatch.setattr(jars, "missing", lambda _: [])
    monkeypatch.setattr(jars, "present", lambda _: [])
    monkeypatch.setattr("ownlens_plugins.spark.sessions._DELTA", {})


@pytest.mark.usefixtures("jarred")
def test_a_cluster_that_is_ready(cluster: Cluster) -> None:
    report = checking.check(cluster.config())
    assert report.problems == ()
    assert [each.partition(",")[0][:8] for each in report.executors] == ["Python 3"]


@pytest.mark.usefixtures("jarred")
def test_memory_that_no_worker_has(cluster: Cluster) -> None:
    report = checking.check(cluster.config(**{"spark.executor.memory": "3g"}))
    (problem,) = report.problems
    assert "3072 MiB" in problem
    assert '"spark.executor.memory" = "1500m" or less' in problem


@pytest.mark.usefixtures("jarred")
def test_without_the_masters_page_the_wait_for_an_executor_ends(cluster: Cluster) -> None:
    settings = cluster.config(**{"spark.executor.memory": "3g", "spark.master.ui.port": str(free_port())})
    report = checking.check(settings.model_copy(update={"start_timeout": 3}))
    (problem,) = report.problems
    assert "no executor within 3 s" in problem
    assert "lower spark.executor.memory" in problem


@pytest.mark.usefixtures("jarred")
def test_executors_without_the_interpreter(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    report = checking.check(cluster.config().model_copy(update={"python": "/no/such/python"}))
    (problem,) = report.problems
    assert "/no/such/python" in problem
    assert "set python in [profiles.NAME.spark]" in problem


def test_a_master_that_is_not_there() -> None:
    (port, report) = (free_port(), None)
    report = checking.check(SparkConfig(master=f"spark://127.0.0.1:{port}"))
    assert any(f"nobody answers at 127.0.0.1:{port}" in problem for problem in report.problems)


def test_java_that_is_missing_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "has no java that runs" in next(checking.java_problems())
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.20\"' >&2\n")
    old.chmod(0o755)
    assert "is Java 11; install Java 17" in next(checking.java_problems())
    old.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    assert not list(checking.java_problems())


def test_missing_jars_say_how_to_fetch_them(tmp_path: Path) -> None:
    config = SparkConfig(master="local[1]", jars=str(tmp_path / "jars"), python="/no/such/python")
    (python, lost) = checking.check(config).problems
    assert "/no/such/python is no interpreter here" in python
    assert "run `ownlens spark jars`" in lost
