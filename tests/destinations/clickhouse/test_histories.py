"""Random histories of one table in ClickHouse's embedded engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing.machine import Subject, run_histories

from . import test_conformance as suites
from .loads import Loads


@pytest.mark.parametrize("strategy", Strategy)
def test_any_history(strategy: Strategy) -> None:
    suite = suites.TestEmbedded()

    def opened(folder: Path) -> ClickHouseDestination:
        config = ClickHouseConfig(interface="chdb", path=folder / "engine", database="lake")
        suite.loads = Loads(config, folder)
        return suite.loads.destination

    in_steps = strategy in suites.TestEmbedded.visible_steps
    look, points = suite.traces, POINTS[:-1]
    subject = Subject(opened, suite.contract(strategy), strategy, look, points, in_steps=in_steps)
    run_histories(subject, 2)
