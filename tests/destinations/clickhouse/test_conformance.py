"""ClickHouse keeps every promise of the conformance suite, in the embedded engine and over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse import sql
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import DestinationSuite, Traces

from .loads import Loads


@pytest.fixture(scope="module")
def suite_engine() -> Iterator[list[Loads]]:
    """The databases made so far; the engine is closed when the module ends."""
    made: list[Loads] = []
    yield made
    for loads in made:
        loads.destination.close()


class ClickHouseSuite(DestinationSuite):
    destination_type = ClickHouseDestination
    kill_points = POINTS
    upkeep_points = ("after_commit", "before_ledger")
    # Not chdb: a process that is forked from one that has imported it hangs.
    preload = ("clickhouse_connect",)
    oddities = Path(__file__).with_name("oddities.yaml")
    # Partitions are attached or replaced one after the other.
    visible_steps = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.REPLACE_PARTITION})
    loads: Loads

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"partition": "none" if strategy is Strategy.OVERWRITE else "day"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        ledger = [entry[1] for entry in self.loads.ledger() if entry[0] == plan.table]
        return Traces(ledger, self.loads.internal_tables())

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        if plan.strategy is Strategy.OVERWRITE:
            return False  # the table itself carries the record of the load that put it there
        self.loads.run(f"TRUNCATE TABLE {self.loads.store.name('_ownlens_ledger')} SYNC")
        return True


class TestServer(ClickHouseSuite):
    # The statements are those of the embedded engine; test_names has the odd names that could get lost on the way.
    test_odd_table_names = None

    @pytest.fixture
    def destination(self, server: dict[str, Any], tmp_path: Path) -> Iterator[ClickHouseDestination]:
        config = ClickHouseConfig.model_validate({**server, "database": f"test_{secrets.token_hex(4)}"})
        self.loads = Loads(config, tmp_path)
        yield self.loads.destination
        self.loads.store.run(f"DROP DATABASE IF EXISTS {sql.identifier(config.database)} SYNC")
        self.loads.destination.close()


class TestEmbedded(ClickHouseSuite):
    # Opening the engine takes a while; test_recovery has every point, with an error instead of a kill.
    kill_points = ("part_written", "commit_sent", "before_ledger", "cleanup", "abort")
    # One process has the engine at a time: with one set, all but the first find it loaded, as any replay does.
    test_processes_race_with_one_set = None
    test_loads_and_maintenance_at_once = None

    @pytest.fixture
    def destination(self, suite_engine: list[Loads], engine_path: Path, tmp_path: Path) -> ClickHouseDestination:
        config = ClickHouseConfig(interface="chdb", path=engine_path, database=f"suite_{len(suite_engine)}")
        self.loads = Loads(config, tmp_path)
        self.loads.destination.check()
        # Only now: an engine that is closed and opened again leaves threads and files. `in_process` closes the newest.
        for earlier in suite_engine:
            earlier.destination.close()
        suite_engine.append(self.loads)
        return self.loads.destination
