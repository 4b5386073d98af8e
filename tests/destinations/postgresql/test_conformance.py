"""PostgreSQL keeps every promise of the conformance suite."""

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


class TestPostgreSQL(DestinationSuite):
    destination_type = PostgreSQLDestination
    kill_points = POINTS
    oddities = Path(__file__).with_name("oddities.yaml")

    @pytest.fixture
    def destination(self, store: Store) -> PostgreSQLDestination:
        self.store = store
        return store.destination

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"on_conflict": "error" if strategy is Strategy.APPEND else "update"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        loads = self.store.sql("SELECT sequence FROM ownlens.loads WHERE table_name = %s ORDER BY 1", plan.table)
        left = self.store.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens%%' OR relpersistence = 't'")
        return Traces([sequence for (sequence,) in loads], [name for (name,) in left])
