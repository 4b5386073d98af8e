"""Foreign keys: made from the contract, kept by setting rows without parents aside until the parents come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ownlens_plugins.api import LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract, sample_rows

from .conftest import Store
from .test_round_trip import EXTREMES, extreme_contract, extreme_rows


def moment(version: int) -> datetime:
    return datetime(2026, 1, 1, version, tzinfo=UTC)


def table(name: str, columns: dict[str, str], references: dict[str, str] | None = None, **block: Any) -> TableContract:
    return sample_contract(
        preset="reference",
        table=name,
        columns={"id": "int64", **columns, "updated_at": "timestamptz"},
        references=references or {},
        destinations={"postgresql": {"strategy": "upsert", **block}},
    )


PARENTS = table("parents", {"name": "text?"})
CHILD_COLUMNS = {"parent_id": "int64?", "n": "int32"}
CHILDREN = table("children", CHILD_COLUMNS, {"parent_id": "parents.id"})
TREE = table("tree", {"up": "int64?"}, {"up": "tree.id"})


def parents(*ids: int) -> list[dict[str, Any]]:
    return [{"id": id_, "name": f"p{id_}", "updated_at": moment(0)} for id_ in ids]


def child(id_: int, parent: int | None, *, n: int = 0, version: int = 0) -> dict[str, Any]:
    return {"id": id_, "parent_id": parent, "n": n, "updated_at": moment(version)}


def node(id_: int, up: int | None, version: int = 0) -> dict[str, Any]:
    return {"id": id_, "up": up, "updated_at": moment(version)}


def five(result: LoadResult) -> tuple[int, int, int, int, int]:
    return result.inserted, result.updated, result.unchanged, result.deleted, result.rejected


def foreign_keys(store: Store) -> list[tuple[Any, ...]]:
    return store.sql(
        "SELECT conrelid::regclass::text, confrelid::regclass::text, convalidated FROM pg_constraint "
        "WHERE contype = 'f' ORDER BY 1, 2"
    )


def test_keys_are_made_once_parents_exist(store: Store) -> None:
    store.load([child(1, None), child(2, 7)], contract=CHILDREN)
    assert foreign_keys(store) == []  # there is no table to reference yet, and nothing to look a parent up in
    assert len(store.landed(CHILDREN)) == 2
    store.load(parents(1), contract=PARENTS)
    store.load([child(3, 1)], contract=CHILDREN, sequence=2)
    assert foreign_keys(store) == [("children", "parents", False)]  # older rows still lack their parents
    result = store.load([child(4, 8)], contract=CHILDREN, sequence=3)
    assert five(result) == (0, 0, 0, 0, 1)
    store.load(parents(7), contract=PARENTS, sequence=2)
    store.destination._ensured.clear()  # as in the next process
    store.load([], contract=CHILDREN, sequence=4)
    assert foreign_keys(store) == [("children", "parents", True)]


def test_rows_without_parents_wait_and_come_back(store: Store) -> None:
    store.load(parents(1, 2), contract=PARENTS)
    result = store.load([child(1, 1), child(2, 9), child(3, None), child(4, 8)], contract=CHILDREN)
    assert (result.rows, *five(result)) == (4, 2, 0, 0, 0, 2)
    assert foreign_keys(store) == [("children", "parents", True)]
    aside = store.sql("SELECT table_name, load_id, reason, staged_row FROM ownlens.quarantine ORDER BY id")
    assert [row[:3] for row in aside] == [
        ("children", "children/00000001", "parent_id: no such row in parents.id"),
    ] * 2
    assert aside[0][3] == {"id": "2", "parent_id": "9", "n": "0", "updated_at": "2026-01-01 00:00:00+00"}

    store.load(parents(9), contract=PARENTS, sequence=2)
    result = store.load([child(5, 2)], contract=CHILDREN, sequence=2)
    assert (result.rows, *five(result)) == (1, 2, 0, 0, 0, 0)
    released = store.sql(
        "SELECT rows, rows_inserted, rows_released FROM ownlens.loads WHERE load_id = %s", result.load_id
    )
    assert released == [(1, 2, 1)]
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(2, 9), child(3, None), child(5, 2)], CHILDREN)
    assert store.quarantined() == 1


def test_a_replay_after_orphans_changes_nothing(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    rows = [child(1, 1), child(2, 9)]
    first = store.load(rows, contract=CHILDREN)
    again = store.load(rows, contract=CHILDREN)
    assert five(again) == five(first) == (1, 0, 0, 0, 1)
    assert store.quarantined() == 1


def test_an_empty_load_brings_waiting_rows_back(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9)], contract=CHILDREN)
    store.load(parents(9), contract=PARENTS, sequence=2)
    assert five(store.load([], contract=CHILDREN, sequence=2)) == (1, 0, 0, 0, 0)
    assert store.quarantined() == 0


def test_a_newer_staged_row_overtakes_a_waiting_one(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9, version=1)], contract=CHILDREN)
    assert five(store.load([child(1, 1, n=5, version=2)], contract=CHILDREN, sequence=2)) == (1, 0, 0, 0, 0)
    assert store.quarantined() == 0
    store.load(parents(9), contract=PARENTS, sequence=2)
    assert five(store.load([], contract=CHILDREN, sequence=3)) == (0, 0, 0, 0, 0)
    assert store.landed(CHILDREN) == store.staged([child(1, 1, n=5, version=2)], CHILDREN)


def test_an_older_staged_row_is_loaded_while_the_newer_one_waits(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9, version=5)], contract=CHILDREN)
    assert five(store.load([child(1, 1, version=2)], contract=CHILDREN, sequence=2)) == (1, 0, 0, 0, 0)
    assert store.quarantined() == 1
    store.load(parents(9), contract=PARENTS, sequence=2)
    result = store.load([child(1, 1, n=1, version=3)], contract=CHILDREN, sequence=3)
    assert five(result) == (0, 1, 1, 0, 0)  # the waiting row wins, the staged one is older
    assert store.landed(CHILDREN) == store.staged([child(1, 9, version=5)], CHILDREN)
    assert store.quarantined() == 0


def test_two_waiting_versions_of_one_row_leave_the_newest(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9, version=1)], contract=CHILDREN)
    assert five(store.load([child(1, 9, version=2)], contract=CHILDREN, sequence=2)) == (0, 0, 0, 0, 1)
    assert store.quarantined() == 1
    store.load(parents(9), contract=PARENTS, sequence=2)
    store.load([], contract=CHILDREN, sequence=3)
    assert store.landed(CHILDREN) == store.staged([child(1, 9, version=2)], CHILDREN)


@pytest.mark.parametrize("on_conflict", ["error", "skip"])
def test_appends_bring_waiting_rows_back_too(store: Store, on_conflict: str) -> None:
    contract = sample_contract(
        preset="events",
        table="children",
        columns={"id": "int64", "parent_id": "int64?", "created_at": "timestamptz"},
        partition_by="created_at",
        references={"parent_id": "parents.id"},
        destinations={"postgresql": {"on_conflict": on_conflict}},
    )
    rows = [{"id": id_, "parent_id": parent, "created_at": moment(0)} for id_, parent in [(1, 1), (2, 9), (3, 8)]]
    store.load(parents(1), contract=PARENTS)
    assert five(store.load(rows, contract=contract)) == (1, 0, 0, 0, 2)
    store.sql("INSERT INTO children VALUES (3, NULL, now())")  # a rival brought the key in the meantime
    store.load(parents(8, 9), contract=PARENTS, sequence=2)
    extra = [{"id": 4, "parent_id": 1, "created_at": moment(0)}]
    assert five(store.load(extra, contract=contract, sequence=2)) == (2, 0, 1, 0, 0)
    assert store.quarantined() == 0
    assert store.sql("SELECT id, parent_id FROM children ORDER BY id") == [(1, 1), (2, 9), (3, None), (4, 1)]


def test_a_tree_is_resolved_within_the_set(store: Store) -> None:
    rows = [node(1, None), node(3, 2), node(2, 1), node(4, 4), node(6, 5), node(5, 99), node(7, 6)]
    assert five(store.load(rows, contract=TREE)) == (4, 0, 0, 0, 3)
    assert store.sql("SELECT id FROM tree ORDER BY id") == [(1,), (2,), (3,), (4,)]
    # Children may lie in the new set, in the table, or wait themselves.
    assert five(store.load([node(99, 8), node(8, 3)], contract=TREE, sequence=2)) == (5, 0, 0, 0, 0)
    assert store.quarantined() == 0


def test_staged_and_waiting_rows_of_an_append_may_reference_each_other(store: Store) -> None:
    tree = table("tree", {"up": "int64?"}, {"up": "tree.id"}, strategy="append", on_conflict="error")
    store.load([node(2, 1)], contract=tree)
    assert five(store.load([node(1, None), node(3, 2)], contract=tree, sequence=2)) == (3, 0, 0, 0, 0)


def test_ignored_references_make_no_keys(store: Store) -> None:
    contract = table(
        "children", {"parent_id": "int64?", "n": "int32"}, {"parent_id": "parents.id"}, foreign_keys="ignore"
    )
    store.load(parents(1), contract=PARENTS)
    assert five(store.load([child(1, 9)], contract=contract)) == (1, 0, 0, 0, 0)
    assert foreign_keys(store) == []


def test_a_key_that_the_contract_ignores_is_named(store: Store) -> None:
    contract = table(
        "children", {"parent_id": "int64?", "n": "int32"}, {"parent_id": "parents.id"}, foreign_keys="ignore"
    )
    store.load(parents(1), contract=PARENTS)
    store.load([], contract=CHILDREN)
    with pytest.raises(
        Rejected, match=r"constraint children_parent_id_fkey\]; set foreign_keys: enforce, .*, or run ALTER TABLE"
    ):
        store.load([child(1, 9)], contract=contract, sequence=2)


# --- overwrite


def test_overwrite_keeps_rows_that_others_reference(store: Store) -> None:
    store.load(parents(1, 2, 3), contract=PARENTS)
    store.load([child(1, 1), child(2, 3)], contract=CHILDREN)
    result = store.load(parents(3, 4), contract=PARENTS, sequence=2, strategy=Strategy.OVERWRITE)
    assert five(result) == (1, 0, 1, 1, 0)
    assert store.sql("SELECT id FROM parents ORDER BY id") == [(1,), (3,), (4,)]
    store.load([child(2, 3)], contract=CHILDREN, sequence=2, strategy=Strategy.OVERWRITE)
    result = store.load(parents(3, 4), contract=PARENTS, sequence=3, strategy=Strategy.OVERWRITE)
    assert five(result) == (0, 0, 2, 1, 0)


def test_overwrite_never_cascades(store: Store) -> None:
    store.load(parents(1, 2), contract=PARENTS)
    store.sql("CREATE TABLE by_hand (p bigint REFERENCES parents ON DELETE CASCADE, q bigint, r bigint)")
    store.sql("INSERT INTO by_hand VALUES (1), (NULL)")
    store.load([], contract=PARENTS, sequence=2, strategy=Strategy.OVERWRITE)
    assert store.sql("SELECT id FROM parents") == [(1,)]
    assert store.sql("SELECT count(*) FROM by_hand") == [(2,)]


def test_overwrite_keeps_the_ancestors_of_a_referenced_row(store: Store) -> None:
    store.load([node(1, None), node(2, 1), node(3, 2), node(4, 3), node(5, None), node(6, 5)], contract=TREE)
    leaves = table("leaves", {"at": "int64"}, {"at": "tree.id"})
    store.load([{"id": 1, "at": 3, "updated_at": moment(0)}], contract=leaves)
    result = store.load([node(9, None)], contract=TREE, sequence=2, strategy=Strategy.OVERWRITE)
    assert five(result) == (1, 0, 0, 3, 0)
    assert store.sql("SELECT id FROM tree ORDER BY id") == [(1,), (2,), (3,), (9,)]


def test_overwrite_can_move_a_subtree_away_from_a_row_that_goes(store: Store) -> None:
    store.load([node(1, None), node(2, 1), node(3, 2)], contract=TREE)
    rows = [node(3, 4), node(4, None)]
    assert five(store.load(rows, contract=TREE, sequence=2, strategy=Strategy.OVERWRITE)) == (1, 1, 0, 2, 0)
    assert store.landed(TREE) == store.staged(rows, TREE)


def test_overwrite_settles_what_waited_before(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9), child(2, 8), child(3, 1)], contract=CHILDREN)
    rows = [child(1, 9, n=2), child(4, 1)]
    result = store.load(rows, contract=CHILDREN, sequence=2, strategy=Strategy.OVERWRITE)
    assert five(result) == (1, 0, 0, 1, 1)
    assert store.sql("SELECT sequence, staged_row ->> 'n' FROM ownlens.quarantine") == [(2, "2")]
    store.load(parents(8, 9), contract=PARENTS, sequence=2)
    store.load([], contract=CHILDREN, sequence=3)
    assert store.landed(CHILDREN) == store.staged(rows, CHILDREN)


# --- values


@pytest.mark.parametrize(("strategy", "on_conflict"), [("append", "error"), ("upsert", "update")])
def test_waiting_rows_come_back_exactly(store: Store, strategy: str, on_conflict: str) -> None:
    plain = extreme_contract(Strategy(strategy), on_conflict)
    columns = {column.name: str(column) for column in plain.columns}
    contract = sample_contract(
        columns={**columns, "parent_id": "int64?"},
        references={"parent_id": "parents.id"},
        destinations={"postgresql": {"strategy": strategy, "on_conflict": on_conflict}},
    )
    assert len(columns) == len(EXTREMES) + 3
    rows = [{**row, "parent_id": 9} for row in extreme_rows()]
    store.load(parents(1), contract=PARENTS)
    assert five(store.load(rows, contract=contract)) == (0, 0, 0, 0, len(rows))
    store.load(parents(9), contract=PARENTS, sequence=2)
    assert five(store.load([], contract=contract, sequence=2)) == (len(rows), 0, 0, 0, 0)
    assert store.landed(contract) == store.staged(rows, contract)


def test_a_wide_table_can_wait(store: Store) -> None:
    names = [f"c{number}" for number in range(300)]
    contract = table("wide", {"parent_id": "int64", **dict.fromkeys(names, "int32?")}, {"parent_id": "parents.id"})
    store.load(parents(1), contract=PARENTS)
    row = {"id": 1, "parent_id": 9, **{name: number for number, name in enumerate(names)}, "updated_at": moment(0)}
    assert five(store.load([row], contract=contract)) == (0, 0, 0, 0, 1)
    store.load(parents(9), contract=PARENTS, sequence=2)
    store.load([], contract=contract, sequence=2)
    assert store.landed(contract) == store.staged([row], contract)


def test_waiting_rows_survive_a_new_column(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 9)], contract=CHILDREN)
    wider = table("children", {"parent_id": "int64?", "n": "int32", "extra": "text?"}, {"parent_id": "parents.id"})
    store.load(parents(9), contract=PARENTS, sequence=2)
    assert five(store.load([{**child(2, 1), "extra": "x"}], contract=wider, sequence=2)) == (2, 0, 0, 0, 0)
    assert store.landed(wider) == store.staged([child(1, 9), {**child(2, 1), "extra": "x"}], wider)


def test_samples_with_references_use_the_same_rows(store: Store) -> None:
    contract = sample_contract(references={"id": "parents.id"})
    store.load(parents(*range(0, 100, 2)), contract=PARENTS)
    result = store.load(sample_rows(100), contract=contract)
    assert five(result) == (50, 0, 0, 0, 50)
    store.load(parents(*range(1, 100, 2)), contract=PARENTS, sequence=2)
    store.load([], contract=contract, sequence=2)
    assert store.landed(contract) == store.staged(sample_rows(100), contract)
