"""The conformance suite with its writers on Spark's executors: a promise that holds here holds there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination, LoadPlan, LoadResult, LoadSession, PartWriter, Receipt, StagedPart
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.powers import SupportsSpreading
from ownlens_plugins.spark.workers import SparkWorkers
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.conftest import Database
from tests.destinations.clickhouse.loads import Loads
from tests.destinations.s3.loads import ledger_files, left_over

DESTINATIONS = Path(__file__).parents[1] / "destinations"
# In the processes that a suite kills there are none: there the same writers run in the process itself.
RUNNING: list[SparkWorkers] = []


@dataclass(frozen=True)
class OnExecutors:
    """A writer whose parts an executor writes. What is sent to another process is the writer itself."""

    inner: PartWriter
    plan: LoadPlan

    def write(self, part: StagedPart) -> Receipt:
        if not RUNNING:
            return self.inner.write(part)
        (receipt,) = RUNNING[0].write(self.plan, self.inner.write, [part])
        return receipt

    def __reduce__(self) -> Any:
        return _same, (self.inner,)


def _same(writer: PartWriter) -> PartWriter:
    return writer


class SpreadSession(LoadSession):
    def __init__(self, inner: LoadSession, plan: LoadPlan) -> None:
        self._inner, self._plan = inner, plan

    @cached_property
    def writer(self) -> PartWriter:  # type: ignore[override]
        inner = self._inner
        return OnExecutors(inner.spread() if isinstance(inner, SupportsSpreading) else inner.writer, self._plan)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        return self._inner.commit(receipts)

    def abort(self) -> None:
        self._inner.abort()

    def close(self) -> None:
        self._inner.close()


class SpreadPostgreSQL(PostgreSQLDestination):
    def open(self, plan: LoadPlan) -> SpreadSession:  # type: ignore[override]
        return SpreadSession(super().open(plan), plan)


class SpreadLake(S3Destination):
    def open(self, plan: LoadPlan) -> SpreadSession:  # type: ignore[override]
        return SpreadSession(super().open(plan), plan)


class SpreadClickHouse(ClickHouseDestination):
    def open(self, plan: LoadPlan) -> SpreadSession:  # type: ignore[override]
        return SpreadSession(super().open(plan), plan)


class SparkSuite(DestinationSuite):
    __test__ = False
    kill_points = POINTS
    # Odd names and all types are no matter of who writes: test_loads has every type.
    test_odd_table_names = None

    @pytest.fixture(autouse=True)
    def _on_spark(self, workers: SparkWorkers) -> Iterator[None]:
        RUNNING.append(workers)
        yield
        RUNNING.clear()


class TestPostgreSQLOnSpark(SparkSuite):
    __test__ = True
    oddities = DESTINATIONS / "postgresql" / "oddities.yaml"
    destination_type = SpreadPostgreSQL
    database: Database

    @pytest.fixture
    def destination(self, database: Database) -> PostgreSQLDestination:
        self.database = database
        config = PostgreSQLConfig(host=str(database.folder), database=database.name, user="postgres")
        return SpreadPostgreSQL(config)

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"on_conflict": "error" if strategy is Strategy.APPEND else "update"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        query = "SELECT sequence FROM ownlens.loads WHERE table_name = %s ORDER BY 1"
        loads = self.database.execute(query, (plan.table,)).fetchall()
        query = "SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens%' OR relpersistence = 't'"
        left = self.database.execute(query).fetchall()
        return Traces([sequence for (sequence,) in loads], [name for (name,) in left])


class TestLakeOnSpark(SparkSuite):
    __test__ = True
    oddities = DESTINATIONS / "s3" / "oddities.yaml"
    destination_type = SpreadLake

    @pytest.fixture
    def destination(self, tmp_path: Path) -> S3Destination:
        return SpreadLake(S3Config(uri=str(tmp_path / "lake")))

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        assert isinstance(destination, S3Destination)
        ledger = [int(name.removesuffix(".json")) for name in ledger_files(destination, plan.contract)]
        return Traces(sorted(ledger), left_over(destination, plan))


class TestClickHouseOnSpark(SparkSuite):
    __test__ = True
    oddities = DESTINATIONS / "clickhouse" / "oddities.yaml"
    destination_type = SpreadClickHouse
    preload = ("clickhouse_connect",)
    visible_steps = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.REPLACE_PARTITION})
    loads: Loads

    @pytest.fixture
    def destination(self, clickhouse_server: int, tmp_path: Path) -> Iterator[ClickHouseDestination]:
        config = ClickHouseConfig(host="127.0.0.1", port=clickhouse_server, database=f"test_{secrets.token_hex(4)}")
        self.loads = Loads(config, tmp_path)
        destination = SpreadClickHouse(config)
        yield destination
        destination.close()

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"partition": "none" if strategy is Strategy.OVERWRITE else "day"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        ledger = [entry[1] for entry in self.loads.ledger() if entry[0] == plan.table]
        return Traces(ledger, self.loads.internal_tables())
