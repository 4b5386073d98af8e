"""Spark on this machine. Its tests need pyspark and Java, which `make spark` brings; `make test` leaves them out."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engines import SparkConfig
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from ownlens_sandbox.clickhouse_http import start_clickhouse
from tests.destinations.clickhouse.loads import Loads
from tests.destinations.s3.loads import left_over

from .cluster import Cluster
from .stores import Table, contract

HERE = Path(__file__).parent
# These start nothing.
WITHOUT_SPARK = {"test_choosing", "test_settings", "test_refusals_of_spark"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacking = _lacking()
    if not lacking:
        return
    assert not os.environ.get("OWNLENS_SPARK"), f"make spark needs {lacking}"
    # Left out, not skipped: `make test` asks for no Spark, and what it asks for it must find.
    left_out = [item for item in items if HERE in item.path.parents and item.path.stem not in WITHOUT_SPARK]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


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


# --- destinations that executors reach


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    server = start_clickhouse(tmp_path_factory.mktemp("clickhouse") / "server")
    yield server.port
    server.stop()


@pytest.fixture
def make_table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str, Strategy], Table]]:
    """Return a function that makes a table, with nothing in it, of a destination by name."""
    made: list[Table] = []

    def make(destination: str, strategy: Strategy) -> Table:
        build = {"s3": _lake, "postgresql": _postgresql, "clickhouse": _clickhouse}[destination]
        mine = contract(destination, strategy, f"t{secrets.token_hex(4)}")
        made.append(build(request, mine, tmp_path / mine.table))
        return made[-1]

    yield make
    for table in made:
        table.destination.close()


def _lake(_: pytest.FixtureRequest, mine: TableContract, folder: Path) -> Table:
    lake = S3Destination(S3Config(uri=str(folder / "lake")))
    return Table(lake, mine, folder, lambda plan: left_over(lake, plan))


def _postgresql(request: pytest.FixtureRequest, mine: TableContract, folder: Path) -> Table:
    database = request.getfixturevalue("database")
    config = PostgreSQLConfig(host=str(database.folder), database=database.name, user="postgres")

    def left(_: LoadPlan) -> list[str]:
        query = "SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens%' OR relpersistence = 't'"
        return [name for (name,) in database.execute(query).fetchall()]

    return Table(PostgreSQLDestination(config), mine, folder, left)


def _clickhouse(request: pytest.FixtureRequest, mine: TableContract, folder: Path) -> Table:
    port = request.getfixturevalue("clickhouse_server")
    config = ClickHouseConfig(host="127.0.0.1", port=port, database=f"test_{secrets.token_hex(4)}")
    destination = ClickHouseDestination(config)
    loads = Loads(config, folder)
    return Table(destination, mine, folder, lambda _: loads.internal_tables())
