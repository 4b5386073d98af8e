"""PostgreSQL keeps every promise of the conformance suite: 18 on a socket, 15 over TCP as a loader with few rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store

# Parts are read by the commit: no load comes by the writing of one.
KILL_POINTS = [point for point in POINTS if point != "part_written"]


class TestPostgreSQL(DestinationSuite):
    destination_type = PostgreSQLDestination
    kill_points = KILL_POINTS
    upkeep_points = ("before_commit", "commit_sent")
    oddities = Path(__file__).with_name("oddities.yaml")

    @pytest.fixture
    def destination(self, shared_store: Store) -> PostgreSQLDestination:
        shared_store.empty()
        self.store = shared_store
        return shared_store.destination

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"on_conflict": "error" if strategy is Strategy.APPEND else "update"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        loads = self.store.sql("SELECT sequence FROM ownlens.loads WHERE table_name = %s ORDER BY 1", plan.table)
        left = self.store.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens%%' OR relpersistence = 't'")
        return Traces([sequence for (sequence,) in loads], [name for (name,) in left])

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        self.store.sql("DELETE FROM ownlens.loads WHERE table_name = %s", plan.table)
        self.store.sql("DELETE FROM ownlens.tables WHERE table_name = %s", plan.table)
        return True


class TestLeastPrivilege(TestPostgreSQL):
    # What a role may do shows in one maintenance as in many.
    test_an_attempt_outlives_maintenance = None
    test_a_killed_maintenance_is_finished_by_the_next = None
    test_loads_and_maintenance_at_once = None

    @pytest.fixture
    def destination(self, emptied: Store) -> PostgreSQLDestination:
        self.store = emptied
        return emptied.destination

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        super().pytest_generate_tests(metafunc)
        # How names are quoted depends on neither server nor role: some of the odd ones do.
        type(self).first_strategy = None
