"""SIGKILL at the calls with which a commit changes ClickHouse's files: the engine dies with the load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing import make_plan, sample_rows, sample_table
from tests.destinations.clickhouse.loads import STRATEGIES, narrow

from .processes import Store
from .sweeping import Sweep, judge, sweep

DAYS = 2
# An overwrite is one exchange. The others go partition by partition, and a crash between two of them shows.
IN_STEPS = {Strategy.APPEND, Strategy.REPLACE_PARTITION, Strategy.UPSERT}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_at_every_call(
    tmp_path: Path, every: int, sample: int, record_property: Any, strategy: Strategy
) -> None:
    store = Store("clickhouse", ClickHouseConfig(interface="chdb", path=tmp_path / "engine", database="news"))
    options = {"strategy": "append", "partition": "day"} if strategy is Strategy.APPEND else None
    contract = narrow(strategy, options=options)
    rows = [sample_rows(30, days=DAYS), sample_rows(30, first=20, version=1, days=DAYS)]
    first, second = (
        make_plan(ClickHouseDestination, contract, sample_table(contract, some), tmp_path / "staged", sequence=number)
        for number, some in enumerate(rows, start=1)
    )

    tally = sweep(
        Sweep(store, first, second, tmp_path / "engine", tmp_path), strategy.value, every=every, sample=sample
    )

    judge(tally, record_property)
    assert {"old", "new"} <= tally.views
    assert tally.views <= ({"old", "new", "part"} if strategy in IN_STEPS else {"old", "new"})
