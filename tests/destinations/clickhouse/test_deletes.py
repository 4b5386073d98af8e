"""What a set shows to be gone leaves the table, and rows that moved between partitions are there once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import OwnLensError, Rejected
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, NARROW, Loads, day_rows, narrow

STORES = EVERYWHERE
POINTS = ["before_commit", "commit_sent", "after_commit", "before_ledger", "cleanup"]
WHOLE, KEYS = Covers(), Covers(keys_only=True)


def row(number: int, *, day: str = "2026-01-01", version: int = 0, title: str = "t") -> dict[str, Any]:
    """Return a row; `version` orders the rows of a key, and may be below zero."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    updated = moment + timedelta(seconds=version)
    return {
        "id": number,
        "day": date.fromisoformat(day),
        "title": title,
        "created_at": moment,
        "updated_at": updated,
    }


def days(*named: str) -> Covers:
    return Covers(column="day", days=tuple(map(date.fromisoformat, named)))


def upserted(partition: str = "month", **overrides: Any) -> TableContract:
    options = {**narrow(Strategy.UPSERT).options_for("clickhouse"), "partition": partition, **overrides}
    return narrow(Strategy.UPSERT, options=options, deletes="follow")


def counts(loads: Loads, contract: TableContract, rows: Any, sequence: int = 2, **options: Any) -> tuple[int, ...]:
    result = loads.load(contract, rows, sequence=sequence, **options)
    assert result.rows == len(rows)
    return result.inserted, result.updated, result.unchanged, result.deleted


def require(loads: Loads, contract: TableContract, *rows: list[dict[str, Any]]) -> None:
    """Check what the table shows: now, after all merges, and to readers that merge partitions apart."""
    wanted = loads.staged(contract, *rows)
    assert loads.landed(contract) == wanted
    name = loads.store.name(contract.table)
    once = "SELECT count() FROM {} FINAL SETTINGS do_not_merge_across_partitions_select_final = 1"
    if "Replacing" in loads.ddl(contract.table):
        assert loads.sql(once.format(name)) == [(len(wanted),)]
        loads.run(f"OPTIMIZE TABLE {name} FINAL")
        assert loads.landed(contract) == wanted
    assert loads.internal_tables() == []


# --- whole days, replaced


def test_a_covered_day_without_rows_loses_them(loads: Loads) -> None:
    contract = narrow(Strategy.REPLACE_PARTITION)
    loads.load(contract, [*day_rows(10, day=1), *day_rows(10, day=2, first=10), *day_rows(10, day=3, first=20)])
    covers = days("2026-01-02", "2026-01-03", "2026-01-09")
    assert counts(loads, contract, day_rows(4, day=3, first=100), covers=covers) == (4, 0, 0, 20)
    require(loads, contract, day_rows(10, day=1), day_rows(4, day=3, first=100))


def test_all_rows_of_all_covered_days_may_be_gone(loads: Loads) -> None:
    contract = narrow(Strategy.REPLACE_PARTITION)
    loads.load(contract, [*day_rows(10, day=1), *day_rows(10, day=2, first=10)])
    assert counts(loads, contract, [], covers=days("2026-01-02")) == (0, 0, 0, 10)
    require(loads, contract, day_rows(10, day=1))
    assert counts(loads, contract, [], 3, covers=days("2026-01-01")) == (0, 0, 0, 10)
    require(loads, contract)


@pytest.mark.parametrize("partition", ["none", "month", "day"])
def test_a_whole_table_that_is_replaced_by_partitions_keeps_no_other_one(loads: Loads, partition: str) -> None:
    options = {**narrow(Strategy.REPLACE_PARTITION).options_for("clickhouse"), "partition": partition}
    contract = narrow(Strategy.REPLACE_PARTITION, options=options, extraction="whole")
    loads.load(contract, [row(1), row(2, day="2026-02-01"), row(3, day="2026-03-01")])
    assert counts(loads, contract, [row(2, day="2026-02-01", title="new")], covers=WHOLE) == (1, 0, 0, 3)
    require(loads, contract, [row(2, day="2026-02-01", title="new")])
    assert counts(loads, contract, [], 3, covers=WHOLE) == (0, 0, 0, 1)
    require(loads, contract)


# --- an upsert of the whole table


@pytest.mark.parametrize("partition", ["none", "month", "day"])
def test_rows_that_are_gone_leave_and_the_set_wins_over_any_version(loads: Loads, partition: str) -> None:
    contract = upserted(partition)
    held = [row(1, version=5), row(2, day="2026-02-01"), row(3, day="2026-03-01"), row(4), row(5)]
    loads.load(contract, held)
    rows = [row(1, version=1, title="older"), row(2), row(4, title="same version"), row(5), row(6, day="2026-04-01")]
    assert counts(loads, contract, rows, covers=WHOLE) == (1, 3, 1, 1)
    require(loads, contract, rows)


def test_an_empty_set_empties_the_table(loads: Loads) -> None:
    contract = upserted()
    loads.load(contract, [row(1), row(2, day="2026-02-01")])
    assert counts(loads, contract, [], covers=WHOLE) == (0, 0, 0, 2)
    require(loads, contract)
    assert counts(loads, contract, [row(1, version=-9)], 3, covers=WHOLE) == (1, 0, 0, 0)
    require(loads, contract, [row(1, version=-9)])


# --- an upsert of days


@pytest.mark.parametrize("partition", ["none", "month", "day"])
def test_covered_days_hold_what_the_set_holds(loads: Loads, partition: str) -> None:
    contract = upserted(partition)
    kept = [row(1), row(2, day="2026-02-01"), row(9, day="2026-01-09")]
    gone = [row(3, day="2026-01-02"), row(4, day="2026-01-03"), row(5, day="2026-02-02")]
    changed = [row(6, day="2026-01-02", version=9), row(7, day="2026-01-02"), row(8, day="2026-01-02")]
    loads.load(contract, [*kept, *gone, *changed])
    staged = [row(6, day="2026-01-02", version=2), row(7, day="2026-01-02", title="x"), row(8, day="2026-01-02")]
    staged.append(row(10, day="2026-01-02"))
    covers = days("2026-01-02", "2026-01-03", "2026-02-02", "2026-05-05")
    assert counts(loads, contract, staged, covers=covers) == (1, 2, 1, 3)
    require(loads, contract, kept, staged)
    assert counts(loads, contract, staged, 3, covers=covers) == (0, 0, 4, 0)
    require(loads, contract, kept, staged)


@pytest.mark.parametrize("version", [-5, 0, 5])
def test_a_row_that_came_from_a_day_that_is_not_covered_leaves_it(loads: Loads, version: int) -> None:
    contract = upserted()
    loads.load(contract, [row(1), row(2), row(3, day="2026-02-01")])
    moved = row(1, day="2026-02-01", version=version)
    assert counts(loads, contract, [moved, row(3, day="2026-02-01")], covers=days("2026-02-01")) == (0, 1, 1, 0)
    require(loads, contract, [moved, row(2), row(3, day="2026-02-01")])


def test_a_row_that_is_gone_does_not_come_back_from_an_older_version(loads: Loads) -> None:
    """The older one lies in a partition that a load of an older OwnLens has not taken it out of."""
    contract = upserted()
    loads.load(contract, [row(1), row(2)])
    name = loads.store.name("samples")
    loads.run(
        f"INSERT INTO {name} (id, day, title, created_at, updated_at) SELECT id, '2026-02-01', title, created_at, "
        f"updated_at + 60 FROM {name} WHERE id = 1"
    )
    assert counts(loads, contract, [], covers=days("2026-02-01")) == (0, 0, 0, 1)
    require(loads, contract, [row(2)])


# --- keys only


@pytest.mark.parametrize("partition", ["none", "month", "day"])
def test_rows_whose_keys_are_gone_leave_and_all_others_stay_as_they_are(loads: Loads, partition: str) -> None:
    contract = upserted(partition)
    loads.load(contract, [row(1), row(2, day="2026-02-01"), row(3, day="2026-03-01")])
    newer = [row(1, version=3, title="newer"), row(4, day="2026-02-02")]
    loads.load(contract, newer, sequence=2)
    before = loads.sql(f"SELECT id, _ownlens_load FROM {loads.store.name('samples')} FINAL WHERE id < 3 ORDER BY id")
    assert counts(loads, contract, [row(1), row(2), row(99)], 3, covers=KEYS) == (0, 0, 2, 2)
    require(loads, contract, [newer[0], row(2, day="2026-02-01")])
    after = loads.sql(f"SELECT id, _ownlens_load FROM {loads.store.name('samples')} FINAL ORDER BY id")
    assert after == before
    assert counts(loads, contract, [row(1), row(2)], 4, covers=KEYS) == (0, 0, 2, 0)
    assert counts(loads, contract, [], 5, covers=KEYS) == (0, 0, 0, 2)
    require(loads, contract)


def test_keys_of_days_are_compared_within_them(loads: Loads) -> None:
    contract = upserted()
    loads.load(contract, [row(1), row(2), row(3, day="2026-01-02")])
    covers = Covers(column="day", days=(date(2026, 1, 1),), keys_only=True)
    assert counts(loads, contract, [row(1)], covers=covers) == (0, 0, 1, 1)
    require(loads, contract, [row(1), row(3, day="2026-01-02")])


def test_keys_of_several_odd_columns(loads: Loads) -> None:
    columns = {**NARROW, "v": "text", "kind": "enum(a, b)", "tags": "array<text>?", "u": "uuid"}
    for uuid_as in ("uuid", "string"):
        options = {**narrow(Strategy.UPSERT).options_for("clickhouse"), "uuid_as": uuid_as}
        key = ["v", "kind", "created_at", "u"]
        contract = narrow(Strategy.UPSERT, table=f"t_{uuid_as}", columns=columns, key=key, options=options)
        sample = {name: value for name, value in sample_rows(1)[0].items() if name in NARROW}
        rows = [
            {**sample, "v": v, "kind": kind, "tags": tags, "u": bytes([n]) * 16}
            for n, (v, kind, tags) in enumerate([("", "a", None), ("'\\`", "b", []), ("ü", "a", ["x", None])])
        ]
        loads.load(contract, rows)
        assert counts(loads, contract, rows[1:], covers=KEYS, tag=uuid_as) == (0, 0, 2, 1)
        require(loads, contract, rows[1:])


@pytest.mark.parametrize("strategy", [Strategy.OVERWRITE, Strategy.REPLACE_PARTITION, Strategy.APPEND])
def test_keys_are_not_taken_for_rows(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, [row(1)])
    with pytest.raises(Rejected, match=rf"^samples: clickhouse: {strategy} needs whole rows, not keys; use upsert"):
        loads.load(contract, [row(1)], sequence=2, covers=KEYS)
    require(loads, contract, [row(1)])


# --- rows that move between partitions


@pytest.mark.parametrize("version", [0, 5])
@pytest.mark.parametrize("partition", ["month", "day"])
def test_a_row_that_moved_is_there_once(loads: Loads, partition: str, version: int) -> None:
    """Of two equal versions in two partitions, FINAL shows the one of the greater partition."""
    contract = upserted(partition)
    loads.load(contract, [row(1), row(2), row(3, day="2026-02-01"), row(4, day="2026-02-01")])
    moved = [row(1, day="2026-02-01", version=version), row(3, version=version), row(5, day="2026-03-01")]
    assert counts(loads, contract, moved) == (1, 2, 0, 0)
    require(loads, contract, [*moved, row(2), row(4, day="2026-02-01")])


def test_an_old_version_does_not_come_in_from_another_partition(loads: Loads) -> None:
    contract = upserted()
    held = [row(1, version=5), row(2, version=5, day="2026-02-01"), row(3, version=5)]
    loads.load(contract, held)
    late = [row(1, day="2026-02-01", version=1), row(2, version=2), row(3, version=4)]
    assert counts(loads, contract, [*late, row(4)]) == (1, 0, 3, 0)
    require(loads, contract, [*held, row(4)])


def test_the_older_rows_of_a_partition_stay_while_others_leave_it(loads: Loads) -> None:
    """Rows of three loads lie beside one another; of equal versions the last one counts."""
    contract = upserted()
    first = [row(n) for n in range(20)]
    loads.load(contract, first)
    loads.load(contract, [row(n, title="second") for n in range(10)], sequence=2)
    loads.load(contract, [row(0, day="2026-02-01"), row(1, title="third"), row(2, version=-1)], sequence=3)
    kept = [row(n, title="second") for n in range(2, 10)]
    require(loads, contract, [row(0, day="2026-02-01"), row(1, title="third"), *kept, *first[10:]])


def test_rows_that_stay_keep_null_lists_and_hidden_columns(loads: Loads) -> None:
    columns = {**NARROW, "tags": "array<text>?"}
    contract = narrow(Strategy.UPSERT, columns=columns)
    rows = [{**row(n), "tags": tags} for n, tags in enumerate([None, [], ["x", None], None])]
    loads.load(contract, rows)
    moved = {**rows[3], "day": date(2026, 2, 1)}
    assert counts(loads, contract, [moved]) == (0, 1, 0, 0)
    require(loads, contract, [*rows[:3], moved])
    lies = loads.sql(f"SELECT id, _ownlens_load FROM {loads.store.name('samples')} ORDER BY id")
    assert lies == [(0, 1), (1, 1), (2, 1), (3, 2)]


# --- cut short


LOADS: dict[str, tuple[Strategy, Covers, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "days of a daily table": (
        Strategy.REPLACE_PARTITION,
        days("2026-01-01", "2026-01-02"),
        [row(5, day="2026-01-02")],
        [row(5, day="2026-01-02"), row(3, day="2026-01-03")],
    ),
    "days": (
        Strategy.UPSERT,
        days("2026-01-01", "2026-01-02"),
        [row(1, version=-1), row(3, day="2026-01-02")],
        [row(1, version=-1), row(3, day="2026-01-02")],
    ),
    "whole": (Strategy.UPSERT, WHOLE, [row(1, version=-1)], [row(1, version=-1)]),
    "keys": (Strategy.UPSERT, KEYS, [row(1)], [row(1, version=1)]),
}


@pytest.mark.parametrize("case", LOADS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("store", ["alone", "shared"])
def test_a_failure_at_any_point_is_repaired(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, case: str, point: str, store: str
) -> None:
    if store == "shared":
        request.getfixturevalue("shared")
    strategy, covers, rows, wanted = LOADS[case]
    contract = narrow(strategy) if strategy is Strategy.REPLACE_PARTITION else upserted("day")
    loads.load(contract, [row(1, version=1), row(2, day="2026-01-02"), row(3, day="2026-01-03")])
    plan = loads.plan(contract, rows, sequence=2, covers=covers)
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", f"{point}:raise")
        if point == "cleanup":
            assert loads.again(plan).replayed
        else:
            with pytest.raises((OSError, OwnLensError)):
                loads.again(plan)
    # Whoever comes next finishes it, also an older OwnLens object that has nothing of it in memory.
    loads.forget()
    result = loads.again(plan)
    assert result.rows == len(rows)
    assert result.deleted == {"days of a daily table": 2, "days": 1, "whole": 2, "keys": 2}[case]
    require(loads, contract, wanted)
    assert loads.again(plan).replayed
    require(loads, contract, wanted)
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
