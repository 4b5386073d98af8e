"""What is gone from the source leaves the table with the load that shows it: all rows, those of some days, by key."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import Covers, LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import make_plan, sample_contract

from .conftest import Rows, Store
from .load_once import start_load
from .test_references import CHILDREN, PARENTS, TREE, child, moment, node, parents

WHOLE = Covers()
DAILY = sample_contract(
    preset="daily",
    table="days",
    key=["id", "part"],
    columns={"id": "int64", "part": "text", "day": "date", "n": "int32", "updated_at": "timestamptz"},
    partition_by="day",
    destinations={"postgresql": {"strategy": "upsert"}},
)


def row(id_: int, day: int, *, n: int = 0, version: int = 0) -> dict[str, Any]:
    moment_ = datetime(2026, 1, 1, version, tzinfo=UTC)
    return {"id": id_, "part": "x", "day": date(2026, 1, day), "n": n, "updated_at": moment_}


def days(*numbers: int) -> Covers:
    return Covers("day", tuple(date(2026, 1, number) for number in numbers))


def planned(store: Store, rows: Rows, contract: TableContract, sequence: int, covers: Covers | None) -> LoadPlan:
    return replace(store.plan(rows, contract=contract, sequence=sequence), covers=covers)


def apply(
    store: Store, rows: Rows, contract: TableContract, sequence: int = 2, covers: Covers | None = WHOLE
) -> LoadResult:
    return load(store.destination, planned(store, rows, contract, sequence, covers))


def keys_plan(store: Store, keys: list[dict[str, Any]], contract: TableContract, sequence: int) -> LoadPlan:
    """A plan whose parts hold the key columns alone."""
    schema = pa.schema([contract.column(name).field for name in contract.key])
    table = pa.Table.from_pylist([{name: one[name] for name in contract.key} for one in keys], schema=schema)
    plan = make_plan(
        store.destination, replace(contract, partition_by=None), table, Path(store.folder), sequence=sequence
    )
    return replace(plan, contract=contract, covers=Covers(keys_only=True))


def counts(result: LoadResult) -> tuple[int, ...]:
    return result.inserted, result.updated, result.unchanged, result.deleted, result.rejected, result.spared


# --- the whole table


def test_rows_that_are_gone_leave_and_the_set_wins_over_any_version(store: Store) -> None:
    apply(store, [child(1, None, version=5), child(2, None), child(3, None)], CHILDREN, 1)
    rows = [child(1, None, n=7, version=1), child(2, None), child(4, None)]
    assert counts(apply(store, rows, CHILDREN)) == (1, 1, 1, 1, 0, 0)
    assert store.landed(CHILDREN) == store.staged(rows, CHILDREN)
    assert store.sql("SELECT rows_deleted, rows_spared FROM ownlens.loads WHERE sequence = 2") == [(1, 0)]
    assert store.sql("SELECT rows_loaded FROM ownlens.tables") == [(3,)]


@pytest.mark.parametrize("on_conflict", ["update", "skip", "error"])
def test_an_empty_set_empties_the_table(store: Store, on_conflict: str) -> None:
    contract = sample_contract(
        preset="reference",
        table="children",
        columns={"id": "int64", "parent_id": "int64?", "n": "int32", "updated_at": "timestamptz"},
        destinations={"postgresql": {"strategy": "upsert", "on_conflict": on_conflict}},
    )
    apply(store, [child(1, None), child(2, None)], contract, 1)
    assert counts(apply(store, [child(1, None, n=3)], contract, 2)) == (0, 1, 0, 1, 0, 0)
    assert counts(apply(store, [], contract, 3)) == (0, 0, 0, 1, 0, 0)
    assert store.landed(contract) == []


def test_without_covers_an_upsert_deletes_nothing(store: Store) -> None:
    apply(store, [child(1, None), child(2, None)], CHILDREN, 1, None)
    assert counts(apply(store, [child(1, None)], CHILDREN, 2, None)) == (0, 0, 1, 0, 0, 0)
    assert len(store.landed(CHILDREN)) == 2


def test_an_append_never_deletes(store: Store) -> None:
    plan = planned(store, [child(1, None)], CHILDREN, 1, None)
    load(store.destination, replace(plan, strategy=Strategy.APPEND))
    plan = planned(store, [child(2, None)], CHILDREN, 2, WHOLE)
    load(store.destination, replace(plan, strategy=Strategy.APPEND))
    assert len(store.landed(CHILDREN)) == 2


def test_waiting_rows_that_are_gone_never_come_back(store: Store) -> None:
    apply(store, parents(1), PARENTS, 1)
    assert apply(store, [child(1, 1), child(2, 9), child(3, 9)], CHILDREN, 1).rejected == 2
    assert counts(apply(store, [child(1, 1), child(3, 9)], CHILDREN, 2)) == (0, 0, 1, 0, 1, 0)
    apply(store, parents(1, 9), PARENTS, 2)
    assert counts(apply(store, [child(1, 1), child(3, 9)], CHILDREN, 3)) == (1, 0, 1, 0, 0, 0)
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(3, 9)], CHILDREN)
    assert store.quarantined() == 0


def test_a_row_that_waits_keeps_its_older_version_in_the_table(store: Store) -> None:
    """It is not gone from the source: only its parent is missing here."""
    apply(store, parents(1), PARENTS, 1)
    apply(store, [child(1, 1)], CHILDREN, 1)
    assert counts(apply(store, [child(1, 9, version=1)], CHILDREN, 2)) == (0, 0, 0, 0, 1, 0)
    assert store.landed(CHILDREN) == store.staged([child(1, 1)], CHILDREN)
    apply(store, parents(9), PARENTS, 2)
    assert counts(apply(store, [child(1, 9, version=1)], CHILDREN, 3)) == (0, 1, 0, 0, 0, 0)


def test_a_subtree_that_is_gone_goes_in_one_load(store: Store) -> None:
    apply(store, [node(1, None), node(2, 1), node(3, 2), node(4, 5), node(5, 4)], TREE, 1)
    assert counts(apply(store, [node(1, None)], TREE, 2)) == (0, 0, 1, 4, 0, 0)


# --- days


def test_a_day_is_replaced_and_the_others_stay(store: Store) -> None:
    apply(store, [row(1, 1, version=9), row(2, 1), row(3, 2), row(4, 3)], DAILY, 1, days(1, 2, 3))
    rows = [row(1, 1, n=4), row(5, 1)]
    assert counts(apply(store, rows, DAILY, 2, days(1, 2))) == (1, 1, 0, 2, 0, 0)
    assert store.landed(DAILY) == store.staged([*rows, row(4, 3)], DAILY)


def test_days_that_lost_all_their_rows_are_emptied(store: Store) -> None:
    apply(store, [row(1, 1), row(2, 2)], DAILY, 1, days(1, 2))
    assert counts(apply(store, [], DAILY, 2, days(1))) == (0, 0, 0, 1, 0, 0)
    assert store.landed(DAILY) == store.staged([row(2, 2)], DAILY)


def test_a_row_that_moved_between_days_is_there_once(store: Store) -> None:
    apply(store, [row(1, 1, version=5), row(2, 2)], DAILY, 1, days(1, 2))
    assert counts(apply(store, [row(1, 2), row(2, 2)], DAILY, 2, days(1, 2))) == (0, 1, 1, 0, 0, 0)
    # Only the new day is in the set: the row is the same one, by its key.
    assert counts(apply(store, [row(1, 3)], DAILY, 3, days(3))) == (0, 1, 0, 0, 0, 0)
    assert store.landed(DAILY) == store.staged([row(1, 3), row(2, 2)], DAILY)


def test_waiting_rows_of_the_days_are_replaced_too(store: Store) -> None:
    contract = sample_contract(
        preset="daily",
        table="days",
        columns={"id": "int64", "day": "date", "up": "int64?", "updated_at": "timestamptz"},
        partition_by="day",
        references={"up": "parents.id"},
        destinations={"postgresql": {"strategy": "upsert"}},
    )

    def waiting(id_: int, day: int, up: int, version: int = 0) -> dict[str, Any]:
        return {"id": id_, "day": date(2026, 1, day), "up": up, "updated_at": moment(version)}

    apply(store, parents(1), PARENTS, 1)
    first = [waiting(1, 1, 9), waiting(2, 2, 9, version=3), waiting(3, 3, 8), waiting(4, 1, 1)]
    assert apply(store, first, contract, 1, days(1, 2, 3)).rejected == 3
    apply(store, parents(1, 8, 9), PARENTS, 2)
    result = apply(store, [waiting(2, 1, 1)], contract, 2, days(1))
    # 1 is gone with its day, 2 has moved and is newer than what waits, 3 waits no longer, 4 is gone.
    assert (*counts(result), result.released) == (2, 0, 0, 1, 0, 0, 1)
    assert store.landed(contract) == store.staged([waiting(2, 1, 1), waiting(3, 3, 8)], contract)
    assert store.quarantined() == 0


# --- by key


def test_a_sweep_takes_rows_by_key_and_changes_nothing_else(store: Store) -> None:
    rows = [row(id_, 1, n=id_, version=3) for id_ in range(1, 6)]
    apply(store, rows, DAILY, 1, None)
    before = store.sql("SELECT id, xmin::text FROM days WHERE id IN (2, 4) ORDER BY id")
    result = load(store.destination, keys_plan(store, [rows[1], rows[3], row(99, 1)], DAILY, 2))
    assert (result.rows, *counts(result)) == (3, 0, 0, 2, 3, 0, 0)
    assert store.sql("SELECT id, xmin::text FROM days WHERE id IN (2, 4) ORDER BY id") == before
    assert store.landed(DAILY) == store.staged([rows[1], rows[3]], DAILY)
    assert load(store.destination, keys_plan(store, [rows[1], rows[3], row(99, 1)], DAILY, 2)).replayed


@pytest.mark.parametrize("strategy", [Strategy.UPSERT, Strategy.OVERWRITE])
def test_a_sweep_of_no_keys_empties_the_table(store: Store, strategy: Strategy) -> None:
    apply(store, [row(1, 1), row(2, 2)], DAILY, 1, None)
    result = load(store.destination, replace(keys_plan(store, [], DAILY, 2), strategy=strategy))
    assert counts(result) == (0, 0, 0, 2, 0, 0)


def test_a_sweep_takes_waiting_rows_too(store: Store) -> None:
    apply(store, parents(1), PARENTS, 1)
    apply(store, [child(1, 1), child(2, 9), child(3, 9)], CHILDREN, 1, None)
    load(store.destination, keys_plan(store, [child(1, 1), child(3, 9)], CHILDREN, 2))
    apply(store, parents(1, 9), PARENTS, 2)
    apply(store, [], CHILDREN, 3, None)
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(3, 9)], CHILDREN)


# --- what can go wrong


def test_a_trigger_that_keeps_rows_is_found_out(store: Store) -> None:
    apply(store, [row(1, 1), row(2, 1)], DAILY, 1)
    store.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    store.sql("CREATE TRIGGER g BEFORE DELETE ON days FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION f()")
    with pytest.raises(Rejected, match=r"^days: postgresql deleted 1 of 2 rows; a trigger or rule .* keeps the others"):
        apply(store, [], DAILY, 2)
    assert len(store.landed(DAILY)) == 2


COVERED: dict[str, Callable[[Store], LoadPlan]] = {
    "whole": lambda store: planned(store, [row(2, 1, n=1), row(5, 1)], DAILY, 2, WHOLE),
    "days": lambda store: planned(store, [row(2, 1, n=1), row(5, 1)], DAILY, 2, days(1)),
    "keys": lambda store: keys_plan(store, [row(2, 1)], DAILY, 2),
}
FIRST = [row(1, 1), row(2, 1), row(3, 2)]
AFTER: dict[str, Rows] = {
    "whole": [row(2, 1, n=1), row(5, 1)],
    "days": [row(2, 1, n=1), row(5, 1), row(3, 2)],
    "keys": [row(2, 1)],
}


@pytest.mark.parametrize("point", ["before_commit", "commit_sent"])
@pytest.mark.parametrize("case", COVERED)
def test_a_kill_around_the_commit_leaves_the_rows_of_one_side(store: Store, case: str, point: str) -> None:
    apply(store, FIRST, DAILY, 1)
    plan = COVERED[case](store)
    process = start_load(store.config, plan, f"{point}:kill")
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    landed = point == "commit_sent"
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    assert store.landed(DAILY) == store.staged(AFTER[case] if landed else FIRST, DAILY)
    assert load(store.destination, plan).replayed is landed
    assert store.landed(DAILY) == store.staged(AFTER[case], DAILY)


def test_rivals_delete_once(store: Store) -> None:
    apply(store, [row(id_, 1) for id_ in range(2_000)], DAILY, 1)
    plan = planned(store, [row(id_, 1) for id_ in range(1_000)], DAILY, 2, WHOLE)
    processes = [start_load(store.config, plan) for _ in range(4)]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert store.sql("SELECT rows_deleted FROM ownlens.loads WHERE sequence = 2") == [(1_000,)]
    assert store.sql("SELECT count(*) FROM days") == [(1_000,)]


# --- versions that may be null

VERSIONED = sample_contract(
    preset="reference",
    table="children",
    columns={"id": "int64", "parent_id": "int64?", "n": "int32", "updated_at": "timestamptz?"},
    references={"parent_id": "parents.id"},
    destinations={"postgresql": {"strategy": "upsert"}},
)
COUNTED = sample_contract(
    preset="entity",
    table="counted",
    version_by="revision",
    partition_by=None,
    cursor="seen",
    columns={"id": "int64", "parent_id": "int64?", "n": "int32", "revision": "int32?", "seen": "timestamptz"},
    references={"parent_id": "parents.id"},
    destinations={"postgresql": {"strategy": "upsert"}},
)


def unstamped(id_: int, parent: int | None, n: int, version: int | None) -> dict[str, Any]:
    stamp = None if version is None else moment(version)
    # A revision below zero: the oldest version that is not null.
    revision = None if version is None else version - 5
    base = {"id": id_, "parent_id": parent, "n": n}
    return {**base, "updated_at": stamp, "revision": revision, "seen": moment(0)}


def of(contract: TableContract, *rows: dict[str, Any]) -> Rows:
    return [{name: one[name] for name in contract.column_names} for one in rows]


@pytest.mark.parametrize("contract", [VERSIONED, COUNTED], ids=["timestamptz", "int32"])
def test_a_version_of_null_is_the_oldest(store: Store, contract: TableContract) -> None:
    steps = [(1, None, 1), (2, None, 2), (3, 1, 3), (4, None, 3), (5, 2, 5)]  # n, version, n that the table holds
    for sequence, (n, version, expected) in enumerate(steps, start=1):
        apply(store, of(contract, unstamped(1, None, n, version)), contract, sequence, None)
        assert store.sql(f"SELECT n FROM {contract.table}") == [(expected,)]


@pytest.mark.parametrize("contract", [VERSIONED, COUNTED], ids=["timestamptz", "int32"])
def test_of_waiting_rows_one_without_a_version_gives_way(store: Store, contract: TableContract) -> None:
    apply(store, parents(1), PARENTS, 1)
    for sequence, (n, version) in enumerate([(1, 1), (2, None), (3, None)], start=1):
        rows = of(contract, unstamped(1, 9, n, version), unstamped(2, 9, n, None))
        apply(store, rows, contract, sequence, None)
    apply(store, parents(9), PARENTS, 2)
    apply(store, [], contract, 99, None)
    assert store.sql(f"SELECT id, n FROM {contract.table} ORDER BY id") == [(1, 1), (2, 3)]
    assert store.quarantined() == 0
