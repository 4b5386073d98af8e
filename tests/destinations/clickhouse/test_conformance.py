"""ClickHouse keeps every promise of the conformance suite, in the embedded engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import DestinationSuite, Traces

from .loads import Loads


class TestEmbedded(DestinationSuite):
    destination_type = ClickHouseDestination
    kill_points = POINTS
    preload = ("clickhouse_connect",)
    # Partitions are attached or replaced one after the other.
    visible_steps = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.REPLACE_PARTITION})

    @pytest.fixture
    def destination(self, tmp_path: Path) -> Iterator[ClickHouseDestination]:
        self.loads = Loads(ClickHouseConfig(interface="chdb", path=tmp_path / "engine", database="lake"), tmp_path)
        yield self.loads.destination
        self.loads.destination.close()

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"partition": "none" if strategy is Strategy.OVERWRITE else "day"}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        ledger = [entry[1] for entry in self.loads.ledger() if entry[0] == plan.table]
        return Traces(ledger, self.loads.internal_tables())
