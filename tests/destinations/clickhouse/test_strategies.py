"""What each strategy means, how it counts, and what a second, a stale or a changed load does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected, StagedSetChanged
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, STRATEGIES, Loads, day_rows, narrow


def _counts(loads: Loads, contract: Any, rows: list[dict[str, Any]], **options: Any) -> tuple[int, int, int, int]:
    result = loads.load(contract, rows, **options)
    return result.inserted, result.updated, result.unchanged, result.deleted


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_load_again_changes_nothing(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    plan = loads.plan(contract, sample_rows(50))
    first = loads.again(plan)
    before = loads.landed(contract), loads.ledger()

    second = loads.again(plan)

    assert second.replayed
    assert (second.rows, second.inserted, second.committed_at) == (first.rows, first.inserted, first.committed_at)
    assert (loads.landed(contract), loads.ledger()) == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_digest_under_the_same_number_is_refused(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, sample_rows(20))
    before = loads.landed(contract)

    with pytest.raises(StagedSetChanged, match=r"^samples: clickhouse holds load samples/00000001 with another digest"):
        loads.load(contract, sample_rows(21), tag="-changed")

    assert loads.landed(contract) == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_load_that_a_newer_one_has_overtaken_changes_nothing(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, sample_rows(20, version=1), sequence=5)

    stale = loads.load(contract, sample_rows(30), sequence=4)

    assert (stale.replayed, stale.rows, stale.inserted) == (True, 0, 0)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(20, version=1))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_empty_staged_set_is_a_load_like_any_other(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, sample_rows(20))

    result = loads.load(contract, [], sequence=2)

    kept = [] if strategy is Strategy.OVERWRITE else sample_rows(20)
    assert (result.rows, result.inserted, result.replayed) == (0, 0, False)
    assert loads.landed(contract) == loads.staged(contract, kept)
    assert loads.again(loads.plan(contract, [], sequence=2)).replayed
    assert loads.internal_tables() == []


def test_append_keeps_every_row(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND, options={"partition": "month"})
    first, second = sample_rows(40, days=90), sample_rows(40, first=20, version=1, days=90)

    assert _counts(loads, contract, first) == (40, 0, 0, 0)
    assert _counts(loads, contract, second, sequence=2) == (40, 0, 0, 0)

    assert loads.landed(contract) == loads.staged(contract, first, second)
    assert loads.sql(f"SELECT uniqExact(_partition_id) FROM {loads.config.database}.samples") == [(3,)]


def test_append_may_be_partitioned_by_day_of_a_timestamp(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND, partition_by="created_at", options={"partition": "day"})
    loads.load(contract, sample_rows(30, days=4))
    loads.load(contract, sample_rows(30, first=30, days=4), sequence=2)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(60, days=4))
    assert loads.sql(f"SELECT uniqExact(_partition_id) FROM {loads.config.database}.samples") == [(4,)]


def test_replace_partition_replaces_staged_days_and_no_others(loads: Loads) -> None:
    contract = narrow(Strategy.REPLACE_PARTITION)
    loads.load(contract, [*day_rows(10, day=1), *day_rows(10, day=2, first=10), *day_rows(10, day=3, first=20)])

    counts = _counts(loads, contract, day_rows(4, day=2, first=100), sequence=2)

    assert counts == (4, 0, 0, 10)
    kept = [*day_rows(10, day=1), *day_rows(10, day=3, first=20)]
    assert loads.landed(contract) == loads.staged(contract, kept, day_rows(4, day=2, first=100))


def test_upsert_counts_what_it_did_to_the_rows(loads: Loads) -> None:
    contract = narrow(Strategy.UPSERT)
    assert _counts(loads, contract, sample_rows(10)) == (10, 0, 0, 0)

    new, changed, same = sample_rows(5, first=10), sample_rows(3, version=1), sample_rows(4, first=3)
    assert _counts(loads, contract, [*new, *changed, *same], sequence=2) == (5, 3, 4, 0)

    expected = [*changed, *sample_rows(12, first=3)]
    assert loads.landed(contract) == loads.staged(contract, expected)


def test_late_old_versions_lose(loads: Loads) -> None:
    contract = narrow(Strategy.UPSERT)
    loads.load(contract, sample_rows(10, version=7))

    assert _counts(loads, contract, sample_rows(10, version=3), sequence=2) == (0, 0, 10, 0)

    assert loads.landed(contract) == loads.staged(contract, sample_rows(10, version=7))
    loads.run(f"OPTIMIZE TABLE {loads.config.database}.samples FINAL")
    assert loads.landed(contract) == loads.staged(contract, sample_rows(10, version=7))


def test_between_equal_versions_the_newest_load_wins(loads: Loads) -> None:
    contract = narrow(Strategy.UPSERT)
    changed = [{**row, "title": "other"} for row in sample_rows(10)]
    loads.load(contract, sample_rows(10))

    assert _counts(loads, contract, changed, sequence=2) == (0, 10, 0, 0)

    assert loads.landed(contract) == loads.staged(contract, changed)
    loads.run(f"OPTIMIZE TABLE {loads.config.database}.samples FINAL")
    assert loads.landed(contract) == loads.staged(contract, changed)


@pytest.mark.parametrize("kind", ["int16", "int64", "date", "timestamp"])
def test_any_version_column_orders_rows(loads: Loads, kind: str) -> None:
    """Versions before 1970 and below zero are older than those after."""
    contract = narrow(Strategy.UPSERT, columns={**NARROW, "v": kind}, version_by="v", cursor="created_at")
    base = {name: value for name, value in sample_rows(1)[0].items() if name in NARROW}
    moments = [datetime(1960, 1, 1), datetime(1950, 1, 1), datetime(1971, 1, 1)]
    numbers: list[Any] = [-5, -7, 3] if kind.startswith("int") else moments
    numbers = [each.date() for each in moments] if kind == "date" else numbers
    for sequence, version in enumerate(numbers, 1):
        loads.load(contract, [{**base, "title": str(version), "v": version}], sequence=sequence)
        newest = max(numbers[:sequence])
        assert loads.table(contract)["title"].to_pylist() == [str(newest)]


def test_a_composite_key_of_odd_types_is_compared_as_a_whole(loads: Loads) -> None:
    contract = narrow(
        Strategy.UPSERT, columns={**NARROW, "v": "text", "kind": "enum(a, b)"}, key=["v", "kind", "created_at"]
    )
    base = {name: value for name, value in sample_rows(1)[0].items() if name in NARROW}
    rows = [{**base, "v": v, "kind": kind} for v in ("", "x") for kind in ("a", "b")]
    assert _counts(loads, contract, rows) == (4, 0, 0, 0)
    later = base["updated_at"] + timedelta(seconds=1)
    moved = [{**rows[0], "updated_at": later}, {**rows[1], "created_at": datetime(2030, 1, 1, tzinfo=UTC)}, rows[2]]
    assert _counts(loads, contract, moved, sequence=2) == (1, 1, 1, 0)
    assert len(loads.landed(contract)) == 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_full_refresh_replaces_any_table(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, sample_rows(30, days=3))

    counts = _counts(loads, contract, sample_rows(10, first=5), sequence=2, strategy=Strategy.OVERWRITE)
    assert counts == (10, 0, 0, 30)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(10, first=5))

    loads.load(contract, day_rows(5, day=9, first=100), sequence=3)
    kept = [] if strategy is Strategy.OVERWRITE else sample_rows(10, first=5)
    assert loads.landed(contract) == loads.staged(contract, kept, day_rows(5, day=9, first=100))
    assert loads.internal_tables() == []


def test_two_overwrites_leave_the_second(loads: Loads) -> None:
    contract = narrow(Strategy.OVERWRITE)
    loads.load(contract, sample_rows(10))
    loads.load(contract, sample_rows(20, version=1), sequence=2)
    loads.load(contract, sample_rows(5, version=2), sequence=3)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(5, version=2))
    assert loads.internal_tables() == []


def test_rows_past_their_time_do_not_disturb_the_counting(loads: Loads) -> None:
    """A merge may drop expired rows while they are being counted."""
    for strategy in (Strategy.APPEND, Strategy.REPLACE_PARTITION, Strategy.UPSERT):
        base = narrow(strategy).options_for("clickhouse")
        contract = narrow(strategy, table=f"old_{strategy.value}", options={**base, "ttl_days": 1})
        today = datetime.now(UTC).date()
        rows = [{**row, "day": today - timedelta(days=row["id"] % 2 * 100)} for row in sample_rows(20)]
        assert loads.load(contract, rows).inserted == 20
        loads.run(f"OPTIMIZE TABLE {loads.config.database}.{contract.table} FINAL")
        assert loads.landed(contract) == loads.staged(contract, [row for row in rows if row["day"] == today])


@pytest.mark.parametrize(("strategy", "fix"), [(Strategy.UPSERT, "Replacing"), (Strategy.APPEND, "engine: MergeTree")])
def test_a_strategy_that_the_engine_cannot_run_is_refused(loads: Loads, strategy: Strategy, fix: str) -> None:
    preset = Strategy.UPSERT if strategy is Strategy.APPEND else Strategy.APPEND
    contract = narrow(preset, version_by="updated_at")
    with pytest.raises(Rejected, match=rf"^samples: clickhouse: {strategy.value} .*{fix}"):
        loads.load(contract, sample_rows(3), strategy=strategy)


def test_the_claims_of_the_class() -> None:
    assert ClickHouseDestination.aliases == ("ch",)
    assert ClickHouseDestination.strategies == set(STRATEGIES)


def test_plans_of_two_tables_do_not_meet(loads: Loads) -> None:
    one, two = (narrow(Strategy.APPEND, table=name) for name in ("samples", "Samples"))
    plans: list[LoadPlan] = [loads.plan(one, sample_rows(5)), loads.plan(two, sample_rows(7), tag="-two")]
    for plan in plans:
        loads.again(plan)
    assert (len(loads.landed(one)), len(loads.landed(two))) == (5, 7)
