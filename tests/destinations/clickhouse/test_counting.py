"""What the table shows is counted, so that stores can be compared with one another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.powers import SliceCounts, SupportsCounting
from ownlens_plugins.testing import sample_rows
from ownlens_plugins.validation import validate

from .loads import EVERYWHERE, STRATEGIES, Loads, day_rows, narrow
from .test_deletes import row, upserted

STORES = EVERYWHERE


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_and_keys_of_the_touched_days_are_counted(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plan = loads.plan(contract, [*day_rows(4, day=1), *day_rows(3, day=2, first=10)])
    assert loads.destination.count(plan) == SliceCounts(0, 0)
    loads.again(plan)
    assert loads.destination.count(plan) == SliceCounts(7, 7)
    second = loads.plan(contract, day_rows(2, day=2, first=10, version=1), sequence=2, tag="2")
    loads.again(second)
    in_slice = {Strategy.APPEND: (5, 3), Strategy.UPSERT: (3, 3)}.get(strategy, (2, 2))
    assert loads.destination.count(second) == SliceCounts(*in_slice)
    whole = {Strategy.APPEND: (9, 7), Strategy.UPSERT: (7, 7), Strategy.REPLACE_PARTITION: (6, 6)}
    nothing = loads.plan(contract, [], sequence=3, tag="3")
    assert loads.destination.count(nothing) == SliceCounts(*whole.get(strategy, (2, 2)))


def test_a_row_that_moved_is_counted_where_it_is(loads: Loads) -> None:
    contract = upserted()
    first = loads.plan(contract, [row(1), row(2)])
    loads.again(first)
    second = loads.plan(contract, [row(1, day="2026-02-01")], sequence=2, tag="2")
    loads.again(second)
    assert [loads.destination.count(plan).rows for plan in (first, second)] == [1, 1]
    for plan, key in ((first, 2), (second, 1)):
        target = loads.destination.validation_target(plan)
        assert loads.sql(f"SELECT id FROM {loads.store.name(target.relation)}") == [(key,)]
        loads.destination.release_validation_target(target)


def test_a_key_of_several_columns(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND, key=["id", "day"])
    plan = loads.plan(contract, [row(1), row(1, day="2026-01-02"), row(2), row(2)])
    loads.again(plan)
    assert loads.destination.count(plan) == SliceCounts(4, 3)


def test_retention_says_since_when_rows_are_kept(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    assert loads.destination.kept_since(loads.plan(contract, [])) is None
    options = {**contract.options_for("clickhouse"), "ttl_days": 3}
    short = narrow(Strategy.APPEND, table="short", options=options)
    today = datetime.now(UTC).date()
    rows = [{**each, "day": today - timedelta(days=each["id"])} for each in sample_rows(6)]
    plan = loads.plan(short, rows)
    loads.again(plan)
    loads.run(f"OPTIMIZE TABLE {loads.store.name('short')} FINAL")
    assert loads.destination.kept_since(plan) == today - timedelta(days=2)
    assert sorted(loads.table(short)["day"].to_pylist()) == [today - timedelta(days=n) for n in (2, 1, 0)]


def test_the_power_of_the_class(loads: Loads) -> None:
    assert isinstance(loads.destination, SupportsCounting)
    assert loads.destination.follows_deletes


@pytest.mark.parametrize("owner", [False, True])
@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE])
def test_rows_that_a_ttl_took_out_again_are_no_alarm(loads: Loads, strategy: Strategy, owner: bool) -> None:
    options = dict(narrow(strategy).options_for("clickhouse"))
    ttl = {} if owner else {"ttl_days": 3}
    contract = narrow(
        strategy, partition_by="day", options={**options, **ttl}, table=f"{strategy.value}_{owner}".lower()
    )
    loads.load(contract, [])
    if owner:
        loads.run(f"ALTER TABLE {loads.store.name(contract.table)} MODIFY TTL day + INTERVAL 3 DAY")
    today = datetime.now(UTC).date()
    plan = loads.plan(
        contract, [{**each, "day": today - timedelta(days=each["id"])} for each in sample_rows(6)], sequence=2
    )
    result = loads.again(plan)
    loads.run(f"OPTIMIZE TABLE {loads.store.name(contract.table)} FINAL")
    assert len(loads.landed(contract)) == 3
    assert validate(loads.destination, plan, result=result).success
    assert loads.destination.kept_since(plan) == today - timedelta(days=2)


def test_retention_by_anything_but_days_keeps_no_day_for_certain(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(3))
    loads.again(plan)
    table, today = loads.store.name("samples"), datetime.now(UTC).date()
    for ttl, kept in {
        "day + INTERVAL 2 WEEK": today - timedelta(days=13),
        "created_at + INTERVAL 90 DAY": today + timedelta(days=1),
        "day + INTERVAL 90 DAY, day + INTERVAL 5 DAY DELETE WHERE id = 7": today - timedelta(days=4),
        "day + INTERVAL 90 DAY RECOMPRESS CODEC(ZSTD(9))": None,
    }.items():
        loads.run(f"ALTER TABLE {table} MODIFY TTL {ttl} SETTINGS materialize_ttl_after_modify = 0")
        assert loads.destination.kept_since(plan) == kept, ttl
