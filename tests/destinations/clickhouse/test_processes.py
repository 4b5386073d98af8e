"""Real processes on one server: runs that overlap, and a server that is killed too. The rest is in the suite."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing import sample_rows
from ownlens_sandbox.clickhouse_http import start_clickhouse
from tests.destinations.clickhouse.worker import exit_code, race, start  # by the name that processes find it by

from .loads import STRATEGIES, Loads, day_rows, narrow

STORES = ("http",)


def _after(strategy: Strategy, *sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that sets of one day leave, one after the other."""
    kept: list[dict[str, Any]] = []
    for rows in sets:
        keys = {row["id"] for row in rows}
        if strategy is Strategy.UPSERT:
            kept = [row for row in kept if row["id"] not in keys]
        elif strategy is not Strategy.APPEND:
            kept = []
        kept += rows
    return kept


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_runs_that_overlap_in_one_partition(loads: Loads, strategy: Strategy) -> None:
    """Each run loads sets that others load as well, and sets of its own, all of the same day."""
    contract = narrow(strategy)
    rows = {n: day_rows(10, day=1, first=n * 5, version=n) for n in range(1, 6)}
    plans = {n: loads.plan(contract, rows[n], sequence=n) for n in rows}
    runs = [[1, 2, 3], [2, 3, 4], [3, 4, 5]]

    results = race(loads.config, [[plans[n] for n in run] for run in runs])

    told = [(n, result) for run, found in zip(runs, results, strict=True) for n, result in zip(run, found, strict=True)]
    applied = sorted({n for n, result in told if result.rows})
    assert applied[-1] == 5
    assert [entry[1] for entry in loads.ledger()] == applied
    assert all(sum(not result.replayed for n, result in told if n == number) <= 1 for number in rows)
    assert loads.landed(contract) == loads.staged(contract, _after(strategy, *(rows[n] for n in applied)))
    assert all(loads.again(plan).replayed for plan in plans.values())
    assert loads.internal_tables() == []


def test_three_runs_of_all_tables_at_once(loads: Loads) -> None:
    """The nightly run, the hourly one and one by hand: each loads every table, in the same order."""
    contracts = [narrow(strategy, table=f"samples_{strategy.value}") for strategy in STRATEGIES]
    rows = {n: day_rows(10, day=1, first=n * 5, version=n) for n in (1, 2, 3)}
    runs = [[loads.plan(contract, rows[n], sequence=n) for contract in contracts] for n in rows]

    results = race(loads.config, runs)

    for index, (strategy, contract) in enumerate(zip(STRATEGIES, contracts, strict=True)):
        applied = [n for n in rows if results[n - 1][index].rows]
        assert applied[-1] == 3
        assert [entry[1] for entry in loads.ledger() if entry[0] == contract.table] == applied
        assert loads.landed(contract) == loads.staged(contract, _after(strategy, *(rows[n] for n in applied)))
        assert all(loads.again(run[index]).replayed for run in runs)
    assert loads.internal_tables() == []


def test_loads_cut_short_are_finished_by_a_server_that_was_killed_too(tmp_path: Path) -> None:
    """Whatever a server has acknowledged must be there when it comes back; nobody else remembers it."""
    first, second = sample_rows(30), sample_rows(30, first=20, version=1)
    server = start_clickhouse(tmp_path / "engine")
    begun = []
    for strategy in STRATEGIES:
        config = ClickHouseConfig(host="127.0.0.1", port=server.port, database=strategy.value)
        loads = Loads(config, tmp_path / strategy.value)
        loads.load(narrow(strategy), first)
        plan = loads.plan(narrow(strategy), second, sequence=2)
        assert exit_code(start(config, plan, fault="commit_sent:kill")) == -signal.SIGKILL
        begun.append((loads, plan, _expected(loads, strategy, first, second)))

    server.process.kill()
    server.stop()
    again = start_clickhouse(tmp_path / "engine", port=server.port)
    try:
        for loads, plan, expected in begun:
            assert loads.again(plan).replayed
            _check_settled(loads, plan, expected)
            loads.destination.close()
    finally:
        again.stop()


def _expected(loads: Loads, strategy: Strategy, *sets: list[dict[str, Any]]) -> list[str]:
    first, second = sets
    kept: Callable[[dict[str, Any]], bool] = {
        Strategy.APPEND: lambda row: True,
        Strategy.UPSERT: lambda row: row["id"] < 20,
        Strategy.REPLACE_PARTITION: lambda row: row["day"] not in {other["day"] for other in second},
        Strategy.OVERWRITE: lambda row: False,
    }[strategy]
    return loads.staged(narrow(strategy), [row for row in first if kept(row)], second)


def _check_settled(loads: Loads, plan: Any, expected: list[str]) -> None:
    assert loads.landed(plan.contract) == expected
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
    assert loads.internal_tables() == []
    assert loads.again(plan).replayed
    assert loads.landed(plan.contract) == expected
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
