"""Spark on this machine. Its tests need pyspark and Java, which `make spark` brings; elsewhere they are skipped."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.engines import SparkConfig

from .cluster import Cluster

HERE = Path(__file__).parent
# These start nothing.
WITHOUT_SPARK = {"test_choosing", "test_settings", "test_refusals_of_spark"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = _lacking()
    if not lacking:
        return
    assert not os.environ.get("OWNLENS_SPARK"), f"make spark needs {lacking}"
    for item in items:
        if HERE in item.path.parents and item.path.stem not in WITHOUT_SPARK:
            item.add_marker(pytest.mark.skip(reason=f"needs {lacking}: make spark"))


def _lacking() -> str:
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark"
    return "" if shutil.which("java") or os.environ.get("JAVA_HOME") else "Java 17"


@pytest.fixture(scope="session")
def local_spark() -> SparkConfig:
    return SparkConfig(master="local[2]")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A standalone master and two workers of one core each, as processes of this machine."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def workers(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Workers on local[2]; a module may set `CLUSTER = True` to have them on the cluster."""
    from ownlens_plugins.spark.workers import SparkWorkers

    standalone = getattr(request.module, "CLUSTER", False)
    config = request.getfixturevalue("cluster").config() if standalone else request.getfixturevalue("local_spark")
    workers = SparkWorkers(config)
    yield workers
    workers.close()
