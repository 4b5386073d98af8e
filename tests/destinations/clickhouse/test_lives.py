"""The ledger knows the table that it wrote: one that was dropped, made again, restored, swapped or emptied by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest

from ownlens_clickhouse import preparing
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Covers, LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, STRATEGIES, Loads, day_rows, narrow

STORES = EVERYWHERE
_NO_TABLE = "00000000-0000-0000-0000-000000000000"


def staged(loads: Loads, contract: TableContract) -> list[LoadPlan]:
    """Stage three sets, each of a day and of keys of its own."""
    return [
        loads.plan(contract, day_rows(10, day=n, first=n * 10), sequence=n, tag=f"-{contract.table}") for n in (1, 2, 3)
    ]


def wanted(loads: Loads, contract: TableContract, strategy: Strategy) -> list[str]:
    sets = [day_rows(10, day=n, first=n * 10) for n in (1, 2, 3)]
    return loads.staged(contract, *(sets[-1:] if strategy is Strategy.OVERWRITE else sets))


def apply(loads: Loads, plans: Sequence[LoadPlan]) -> None:
    for plan in plans:
        assert not loads.again(plan).replayed


def found(loads: Loads, plans: Sequence[LoadPlan]) -> list[bool]:
    """Ask an object that has nothing of the table in memory which loads are applied."""
    with closing(ClickHouseDestination(loads.config)) as destination:
        return [destination.find_commit(plan) is not None for plan in plans]


def table(loads: Loads, name: str = "samples") -> str:
    return loads.store.name(name)


def drop(loads: Loads) -> None:
    loads.run(f"DROP TABLE {table(loads)} SYNC")


def make_again(loads: Loads) -> None:
    statement = loads.ddl("samples")
    drop(loads)
    loads.run(statement)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fate", [drop, make_again])
def test_a_table_that_was_dropped_is_filled_from_all_sets(
    loads: Loads, strategy: Strategy, fate: Callable[[Loads], None]
) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    assert found(loads, plans) == [True, True, True]
    fate(loads)
    assert found(loads, plans) == [False, False, False]
    apply(loads, plans)
    assert loads.landed(contract) == wanted(loads, contract, strategy)
    assert found(loads, plans) == [True, True, True]
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_full_refresh_is_the_same_table_to_the_ledger(loads: Loads, strategy: Strategy) -> None:
    """An overwrite exchanges the table for one with another UUID."""
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans[:1])
    refresh = loads.plan(contract, day_rows(10, day=2, first=20), sequence=2, strategy=Strategy.OVERWRITE, tag="-r")
    apply(loads, [refresh, plans[2]])
    assert found(loads, [plans[0], refresh, plans[2]]) == [True, True, True]
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]


def restore(loads: Loads) -> None:
    """Give the table another UUID, as RESTORE from a BACKUP does."""
    loads.run(f"CREATE TABLE {table(loads, 'backup')} AS {table(loads)}")
    loads.run(f"ALTER TABLE {table(loads, 'backup')} ATTACH PARTITION ALL FROM {table(loads)}")
    drop(loads)
    loads.run(f"RENAME TABLE {table(loads, 'backup')} TO {table(loads)}")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restored_table_with_its_rows_goes_on(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans[:2])
    restore(loads)
    assert found(loads, plans) == [True, True, False]
    apply(loads, plans[2:])
    assert found(loads, plans) == [True, True, True]
    assert loads.landed(contract) == wanted(loads, contract, strategy)


def test_a_restored_table_goes_on_after_updates_and_deletes(loads: Loads) -> None:
    """What is expected of it is counted from all its loads."""
    contract = narrow(Strategy.UPSERT)
    apply(loads, [loads.plan(contract, sample_rows(20))])
    apply(loads, [loads.plan(contract, sample_rows(20, first=10, version=1), sequence=2, tag="2")])
    refresh = loads.plan(contract, sample_rows(15), sequence=3, strategy=Strategy.OVERWRITE, tag="3")
    last = loads.plan(contract, sample_rows(10, first=10, version=2), sequence=4, tag="4")
    apply(loads, [refresh, last])
    restore(loads)
    assert found(loads, [last]) == [True]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_table_with_other_rows_is_refused_and_both_fixes_work(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    restore(loads)
    loads.run(f"DELETE FROM {table(loads)} WHERE id = 31")
    rows = 9 if strategy is Strategy.OVERWRITE else 29
    message = rf"^samples: clickhouse table \w+\.samples is not the one .* shows {rows} rows, and .* counts {rows + 1};"
    if strategy is not Strategy.OVERWRITE:
        for act in (loads.destination.find_commit, loads.again):
            with pytest.raises(Rejected, match=message) as caught:
                act(plans[2])
            assert "\n" not in str(caught.value)
    refresh = loads.plan(contract, day_rows(4, day=4, first=90), sequence=4, strategy=Strategy.OVERWRITE, tag="-r")
    apply(loads, [refresh])
    assert found(loads, [*plans, refresh]) == [True] * 4
    assert loads.landed(contract) == loads.staged(contract, day_rows(4, day=4, first=90))
    drop(loads)
    assert found(loads, [*plans, refresh]) == [False] * 4


def test_rows_whose_time_is_over_may_lack_in_a_restored_table(loads: Loads) -> None:
    options = {**narrow(Strategy.APPEND).options_for("clickhouse"), "ttl_days": 40_000}
    contract = narrow(Strategy.APPEND, options=options)
    plans = staged(loads, contract)
    apply(loads, plans)
    restore(loads)
    loads.run(f"DELETE FROM {table(loads)} WHERE id = 31")
    assert found(loads, plans) == [True, True, True]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("statement", ["TRUNCATE TABLE {}", "DELETE FROM {} WHERE true"])
def test_a_table_that_was_emptied_by_hand_is_filled_from_all_sets(
    loads: Loads, strategy: Strategy, statement: str
) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    loads.run(statement.format(table(loads)))
    assert found(loads, plans) == [False, False, False]
    apply(loads, plans)
    assert found(loads, plans) == [True, True, True]
    assert loads.landed(contract) == wanted(loads, contract, strategy)


def test_a_few_rows_that_were_deleted_by_hand_stay_away(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plans = staged(loads, contract)
    apply(loads, plans)
    loads.run(f"DELETE FROM {table(loads)} WHERE id != 31")
    assert found(loads, plans) == [True, True, True]


@pytest.mark.parametrize("strategy", [Strategy.REPLACE_PARTITION, Strategy.UPSERT])
@pytest.mark.parametrize("point", ["commit_sent", "after_commit", "before_ledger", "cleanup"])
def test_a_table_that_a_load_emptied_is_not_filled(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, point: str
) -> None:
    """Nor while that load is cut short, and the ledger still counts the rows that it took out."""
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    days = tuple(row["day"] for n in (1, 2, 3) for row in day_rows(1, day=n))
    last = loads.plan(contract, [], sequence=4, covers=Covers(column="day", days=days))
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", f"{point}:raise")
        with suppress(OSError, OwnLensError):
            loads.again(last)
    assert loads.landed(contract) == [] or point == "commit_sent"
    assert found(loads, plans) == [True, True, True]
    assert loads.again(last).deleted == 30
    assert found(loads, [*plans, last]) == [True] * 4
    assert loads.landed(contract) == []


def test_rows_whose_time_is_over_leave_an_empty_table_as_it_is(loads: Loads) -> None:
    options = {**narrow(Strategy.APPEND).options_for("clickhouse"), "ttl_days": 40_000}
    contract = narrow(Strategy.APPEND, options=options)
    plans = staged(loads, contract)
    apply(loads, plans)
    loads.run(f"TRUNCATE TABLE {table(loads)}")
    assert found(loads, plans) == [True, True, True]


# --- ledgers of an older version


def age(loads: Loads) -> None:
    """Make the ledger one of the version that did not know its tables."""
    loads.run(f"ALTER TABLE {table(loads, '_ownlens_ledger')} DROP COLUMN life, DROP COLUMN target")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_older_ledger_gains_its_columns_and_goes_on(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans[:2])
    age(loads)
    assert found(loads, plans) == [True, True, False]
    apply(loads, plans[2:])
    assert loads.landed(contract) == wanted(loads, contract, strategy)
    written = f"SELECT count() FROM {table(loads, '_ownlens_ledger')} WHERE target != '{_NO_TABLE}'"
    assert loads.sql(written) == [(1,)]
    drop(loads)
    assert found(loads, plans) == [False, False, False]


@pytest.mark.parametrize("fate", [drop, make_again])
def test_a_table_that_was_dropped_under_an_older_ledger_is_filled(loads: Loads, fate: Callable[[Loads], None]) -> None:
    contract = narrow(Strategy.APPEND)
    plans = staged(loads, contract)
    apply(loads, plans)
    age(loads)
    fate(loads)
    apply(loads, plans)
    assert loads.landed(contract) == wanted(loads, contract, Strategy.APPEND)


# --- cut short, and at the same time


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("point", ["stage_open", "before_commit", "commit_sent", "after_commit", "before_ledger"])
@pytest.mark.parametrize("store", ["alone", "shared"])
def test_filling_is_repaired_when_it_is_cut_short(
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    strategy: Strategy,
    point: str,
    store: str,
) -> None:
    if store == "shared":
        request.getfixturevalue("shared")
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    drop(loads)
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", f"{point}:raise")
        with pytest.raises((OSError, OwnLensError)):
            loads.again(plans[0])
    loads.forget()
    for plan in plans:
        loads.again(plan)
    assert loads.landed(contract) == wanted(loads, contract, strategy)
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_many_runs_fill_it_together(loads: Loads, shared: None, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans)
    drop(loads)
    together = threading.Barrier(3)

    def run(_: int) -> None:
        with closing(ClickHouseDestination(loads.config)) as destination:
            for plan in plans:
                together.wait(60)
                until_done(destination, plan)

    with ThreadPoolExecutor(3) as racers:
        list(racers.map(run, range(3)))
    assert loads.landed(contract) == wanted(loads, contract, strategy)
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    loads.again(plans[-1])
    assert loads.internal_tables() == []


def until_done(destination: ClickHouseDestination, plan: LoadPlan) -> None:
    for _ in range(30):
        try:
            load(destination, plan)
        except Retryable:
            continue
        return
    raise AssertionError("it never succeeded")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fate", [drop, make_again])
def test_a_table_that_goes_during_a_commit(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, fate: Callable[[Loads], None]
) -> None:
    """The load says that it failed, and all sets are loaded again."""
    contract = narrow(strategy)
    plans = staged(loads, contract)
    apply(loads, plans[:1])
    prepare = preparing.prepare

    def prepared(*arguments: Any) -> Any:
        done = prepare(*arguments)
        fate(loads)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "prepare", prepared)
        with pytest.raises(Retryable):
            loads.again(plans[1])
    assert found(loads, plans) == [False, False, False]
    apply(loads, plans)
    assert loads.landed(contract) == wanted(loads, contract, strategy)
    assert loads.internal_tables() == []
