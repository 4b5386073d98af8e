"""SIGKILL at the calls with which a commit changes ClickHouse's files: the engine dies with the load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy, TableContract
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
    options = {"strategy": "append", "partition": "day"} if strategy is Strategy.APPEND else None
    contract = narrow(strategy, options=options)
    rows = [sample_rows(30, days=DAYS), sample_rows(30, first=20, version=1, days=DAYS)]

    tally = sweep(_sweep(tmp_path, contract, rows, None), strategy.value, every=every, sample=sample)

    judge(tally, record_property)
    assert {"old", "new"} <= tally.views
    assert tally.views <= ({"old", "new", "part"} if strategy in IN_STEPS else {"old", "new"})


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", [Strategy.REPLACE_PARTITION, Strategy.UPSERT])
def test_killed_while_deletes_follow(
    tmp_path: Path, every: int, sample: int, record_property: Any, strategy: Strategy
) -> None:
    """Partitions are replaced, one loses all its rows, and an upsert's rows move between them."""
    contract = narrow(strategy, options={**narrow(strategy).options_for("clickhouse"), "partition": "day"})
    held = sample_rows(30, days=3)
    rows = [held, [{**row, "day": held[0]["day"]} for row in sample_rows(20, version=1, days=3)]]
    covers = Covers(column="day", days=tuple(sorted({row["day"] for row in held})))

    tally = sweep(_sweep(tmp_path, contract, rows, covers), f"{strategy.value}, deletes", every=every, sample=sample)

    judge(tally, record_property)


def _sweep(folder: Path, contract: TableContract, rows: list[list[dict[str, Any]]], covers: Covers | None) -> Sweep:
    store = Store("clickhouse", ClickHouseConfig(interface="chdb", path=folder / "engine", database="news"))
    first, second = (
        make_plan(ClickHouseDestination, contract, sample_table(contract, some), folder / "staged", sequence=number)
        for number, some in enumerate(rows, start=1)
    )
    return Sweep(store, first, replace(second, covers=covers), folder / "engine", folder)
