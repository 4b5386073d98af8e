"""Real processes on one server: they race for a table, and are killed at every fault point."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import sample_rows
from ownlens_sandbox.clickhouse_http import start_clickhouse
from tests.destinations.clickhouse.worker import exit_code, race, start  # by the name that processes find it by

from .loads import STRATEGIES, Loads, day_rows, narrow

STORES = ("http",)
RACERS = 6


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
def test_one_set_from_six_processes_lands_once(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    first, second = day_rows(20, day=1), day_rows(40, day=1, first=10, version=1)
    loads.load(contract, first)
    plan = loads.plan(contract, second, sequence=2)

    results = race(loads.config, [[plan]] * RACERS)

    assert loads.landed(contract) == loads.staged(contract, _after(strategy, first, second))
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
    assert sum(not result.replayed for (result,) in results) <= 1
    assert {result.rows for (result,) in results} == {40}
    assert loads.again(plan).replayed
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_six_sets_of_one_table_leave_what_their_order_means(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    rows = {n: day_rows(10, day=1, first=n * 5, version=n) for n in range(1, RACERS + 1)}
    plans = [loads.plan(contract, rows[n], sequence=n) for n in rows]
    loads.again(loads.plan(contract, [], sequence=0))

    results = race(loads.config, [[plan] for plan in plans])

    applied = [n for n, (result,) in zip(rows, results, strict=True) if result.rows]
    assert applied[-1] == RACERS
    assert [entry[1] for entry in loads.ledger()] == [0, *applied]
    assert loads.landed(contract) == loads.staged(contract, _after(strategy, *(rows[n] for n in applied)))
    assert all(loads.again(plan).replayed for plan in plans)
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


COMMITTED = {"cleanup"}
BEFORE = {"stage_open", "part_written", "before_commit"}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("point", [point for point in POINTS if point != "abort"])
def test_a_killed_process_is_repaired_by_the_next_run(loads: Loads, strategy: Strategy, point: str) -> None:
    contract = narrow(strategy)
    first, second = sample_rows(30), sample_rows(30, first=20, version=1)
    loads.load(contract, first)
    plan = loads.plan(contract, second, sequence=2)
    expected = _expected(loads, strategy, first, second)

    assert exit_code(start(loads.config, plan, fault=f"{point}:kill")) == -signal.SIGKILL
    if point in BEFORE:
        assert loads.landed(contract) == loads.staged(contract, first)
    if point in COMMITTED:
        assert loads.landed(contract) == expected

    result = loads.again(plan)
    assert result.replayed == (point not in BEFORE)
    assert (result.rows, result.inserted, result.updated) == (
        30,
        *((20, 10) if strategy is Strategy.UPSERT else (30, 0)),
    )
    _check_settled(loads, plan, expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_process_killed_while_it_aborts_is_cleared_by_the_next_run(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    first, second = sample_rows(30), sample_rows(30, first=20, version=1)
    loads.load(contract, first)
    plan = loads.plan(contract, second, sequence=2)
    gone = replace(plan.parts[-1], uri=f"{plan.parts[-1].uri}.gone")

    broken = replace(plan, parts=(*plan.parts[:-1], gone))
    assert exit_code(start(loads.config, broken, fault="abort:kill")) == -signal.SIGKILL
    assert loads.landed(contract) == loads.staged(contract, first)
    assert loads.internal_tables() != []

    loads.again(plan)
    _check_settled(loads, plan, _expected(loads, strategy, first, second))


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
