"""Rows that are gone and still referenced stay, are counted and remembered, and go by themselves once they can."""

from __future__ import annotations

import signal
import threading

import pytest

from ownlens_plugins.api import Covers, LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import sample_contract

from .conftest import Store
from .load_once import start_release
from .test_deletes import DAILY, WHOLE, apply, counts, days, keys_plan, planned, row
from .test_references import CHILDREN, PARENTS, TREE, child, node, parents

STRATEGIES = [Strategy.UPSERT, Strategy.OVERWRITE]


def family(store: Store) -> None:
    """Three parents, of whom 1 and 3 have children."""
    apply(store, parents(1, 2, 3), PARENTS, 1)
    apply(store, [child(1, 1), child(2, 3), child(3, 3)], CHILDREN, 1)


def ids(store: Store, table: str = "parents") -> list[int]:
    return [id_ for (id_,) in store.sql(f"SELECT id FROM {table} ORDER BY id")]


def remembered(store: Store) -> list[dict[str, str]]:
    return [key for (key,) in store.sql("SELECT row_key FROM ownlens.spared ORDER BY id")]


def released(store: Store, plan: LoadPlan) -> tuple[int, int, int] | None:
    result = store.destination.release(plan)
    return None if result is None else (result.rows, result.deleted, result.spared)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parent_and_child_that_go_together_are_both_gone_after_the_run(store: Store, strategy: Strategy) -> None:
    family(store)
    plan = planned(store, parents(3), PARENTS, 2, WHOLE)
    plan = (
        store.plan(parents(3), contract=PARENTS, sequence=2, strategy=strategy) if strategy != plan.strategy else plan
    )
    assert counts(load(store.destination, plan)) == (0, 0, 1, 1, 0, 1)
    assert remembered(store) == [{"id": "1"}]
    assert load(store.destination, plan).spared == 1
    assert released(store, plan) is None  # its child is still there
    assert counts(apply(store, [child(2, 3)], CHILDREN, 2)) == (0, 0, 1, 2, 0, 0)
    assert released(store, plan) == (0, 1, 0)
    assert ids(store) == [3]
    assert remembered(store) == []
    assert released(store, plan) is None
    ledger = "SELECT rows_deleted, rows_spared FROM ownlens.loads WHERE table_name = 'parents' AND sequence = 2"
    assert store.sql(ledger) == [(2, 1)]
    assert store.sql("SELECT rows_loaded FROM ownlens.tables WHERE table_name = 'parents'") == [(1,)]


@pytest.mark.parametrize("covers", [None, WHOLE])
def test_the_next_load_of_the_table_takes_them_too(store: Store, covers: Covers | None) -> None:
    family(store)
    apply(store, parents(3), PARENTS, 2)
    apply(store, [child(2, 3)], CHILDREN, 2)
    assert counts(apply(store, parents(3), PARENTS, 3, covers)) == (0, 0, 1, 1, 0, 0)
    assert ids(store) == [3]
    assert remembered(store) == []


def test_an_empty_load_takes_them_too(store: Store) -> None:
    family(store)
    apply(store, parents(3), PARENTS, 2)
    apply(store, [child(2, 3)], CHILDREN, 2)
    assert counts(apply(store, [], PARENTS, 3, None)) == (0, 0, 0, 1, 0, 0)


@pytest.mark.parametrize("strategy", [Strategy.UPSERT, Strategy.APPEND])
@pytest.mark.parametrize("on_conflict", ["update", "skip", "error"])
def test_a_spared_row_that_comes_back_is_the_new_row(store: Store, strategy: Strategy, on_conflict: str) -> None:
    """Its version may be older: what the source deleted does not count."""
    block = {"postgresql": {"strategy": strategy.value, "on_conflict": on_conflict}}
    columns = {"id": "int64", "name": "text?", "updated_at": "timestamptz"}
    contract = sample_contract(preset="reference", table="parents", columns=columns, destinations=block)
    new = [{**one, "updated_at": one["updated_at"].replace(year=2027)} for one in parents(1, 2, 3)]
    load(store.destination, store.plan(new, contract=contract))
    apply(store, [child(1, 1), child(2, 3)], CHILDREN, 1)
    load(store.destination, store.plan([new[2]], contract=contract, sequence=2, strategy=Strategy.OVERWRITE))
    assert remembered(store) == [{"id": "1"}]
    back = [{**parents(1)[0], "name": "back"}, *parents(4)]
    result = load(store.destination, store.plan(back, contract=contract, sequence=3))
    assert counts(result) == (1, 1, 0, 0, 0, 0)
    assert store.sql("SELECT id, name FROM parents ORDER BY id") == [(1, "back"), (3, "p3"), (4, "p4")]
    assert remembered(store) == []
    apply(store, [], CHILDREN, 2)
    assert store.destination.release(store.plan(back, contract=contract, sequence=3)) is None
    assert ids(store) == [1, 3, 4]


def test_a_key_that_a_sweep_finds_again_is_not_spared(store: Store) -> None:
    family(store)
    apply(store, parents(3), PARENTS, 2)
    result = load(store.destination, keys_plan(store, parents(1, 3), PARENTS, 3))
    assert (result.deleted, result.spared) == (0, 0)
    apply(store, [], CHILDREN, 2)
    assert ids(store) == [1, 3]


def test_spared_rows_of_other_days_are_looked_at_again(store: Store) -> None:
    apply(store, [row(1, 1), row(2, 2)], DAILY, 1, days(1, 2))
    store.sql("CREATE TABLE mine (id bigint, part text, FOREIGN KEY (id, part) REFERENCES days)")
    store.sql("INSERT INTO mine VALUES (1, 'x'), (2, NULL), (NULL, 'x')")
    assert counts(apply(store, [], DAILY, 2, days(1, 2))) == (0, 0, 0, 1, 0, 1)
    assert remembered(store) == [{"id": "1", "part": "x"}]
    assert counts(apply(store, [row(3, 3)], DAILY, 3, days(3))) == (1, 0, 0, 0, 0, 1)
    store.sql("TRUNCATE mine")
    assert counts(apply(store, [row(4, 4)], DAILY, 4, days(4))) == (1, 0, 0, 1, 0, 0)
    assert store.landed(DAILY) == store.staged([row(3, 3), row(4, 4)], DAILY)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"])
def test_a_delete_never_touches_rows_of_other_tables(store: Store, action: str) -> None:
    apply(store, parents(1, 2), PARENTS, 1)
    store.sql(f"CREATE TABLE mine (p bigint REFERENCES parents ON DELETE {action})")
    store.sql("INSERT INTO mine VALUES (1)")
    assert counts(apply(store, [], PARENTS)) == (0, 0, 0, 1, 0, 1)
    assert store.sql("SELECT p FROM mine") == [(1,)]
    assert ids(store) == [1]


def test_a_child_that_another_session_inserts_meanwhile_is_waited_for(store: Store) -> None:
    """Locked first: with a foreign key that cascades, the child would go with its parent and nobody would know."""
    apply(store, parents(1, 2), PARENTS, 1)
    store.sql("CREATE TABLE mine (p bigint REFERENCES parents ON DELETE CASCADE)")
    plan = planned(store, [], PARENTS, 2, WHOLE)
    with store.session() as rival:
        rival.execute("BEGIN; INSERT INTO mine VALUES (1)")
        outcome: list[tuple[int, ...]] = []
        worker = threading.Thread(target=lambda: outcome.append(counts(load(store.destination, plan))))
        worker.start()
        store.wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'", seconds=30)
        rival.execute("COMMIT")
        worker.join(timeout=60)
    assert outcome == [(0, 0, 0, 1, 0, 1)]
    assert store.sql("SELECT p FROM mine") == [(1,)]


def test_ancestors_of_a_referenced_row_are_spared_and_go_together(store: Store) -> None:
    apply(store, [node(1, None), node(2, 1), node(3, 2), node(4, 3), node(5, 6), node(6, 5)], TREE, 1)
    leaves = sample_contract(
        preset="reference",
        table="leaves",
        columns={"id": "int64", "at": "int64", "updated_at": "timestamptz"},
        references={"at": "tree.id"},
    )
    apply(store, [{"id": 1, "at": 3, "updated_at": parents(1)[0]["updated_at"]}], leaves, 1)
    assert counts(apply(store, [], TREE)) == (0, 0, 0, 3, 0, 3)
    assert ids(store, "tree") == [1, 2, 3]
    apply(store, [], leaves, 2)
    assert released(store, planned(store, [], TREE, 2, WHOLE)) == (0, 3, 0)


def test_partitions_are_looked_at_for_children_too(store: Store) -> None:
    """A foreign key may name one partition, or the table that the loaded one is a partition of."""
    store.sql(
        "CREATE TABLE days (id bigint, part text, day date, n int, updated_at timestamptz NOT NULL, "
        "PRIMARY KEY (id, part)) PARTITION BY RANGE (id)"
    )
    store.sql("CREATE TABLE low PARTITION OF days FOR VALUES FROM (0) TO (10)")
    store.sql("CREATE TABLE high PARTITION OF days FOR VALUES FROM (10) TO (20)")
    apply(store, [row(1, 1), row(2, 1), row(11, 1), row(12, 1)], DAILY, 1)
    store.sql("CREATE TABLE of_one (id bigint, part text, FOREIGN KEY (id, part) REFERENCES low ON DELETE CASCADE)")
    store.sql("CREATE TABLE of_all (id bigint, part text, FOREIGN KEY (id, part) REFERENCES days ON DELETE CASCADE)")
    store.sql("INSERT INTO of_one VALUES (1, 'x')")
    store.sql("INSERT INTO of_all VALUES (12, 'x')")
    assert counts(apply(store, [], DAILY)) == (0, 0, 0, 2, 0, 2)
    assert ids(store, "days") == [1, 12]
    assert store.sql("SELECT (SELECT count(*) FROM of_one), (SELECT count(*) FROM of_all)") == [(1, 1)]


def test_a_partition_as_the_target_keeps_what_references_the_whole(store: Store) -> None:
    store.sql(
        "CREATE TABLE whole (id bigint, part text, day date, n int, updated_at timestamptz NOT NULL, "
        "PRIMARY KEY (id, part)) PARTITION BY RANGE (id)"
    )
    store.sql("CREATE TABLE days PARTITION OF whole FOR VALUES FROM (0) TO (10)")
    apply(store, [row(1, 1), row(2, 1)], DAILY, 1)
    store.sql("CREATE TABLE of_all (id bigint, part text, FOREIGN KEY (id, part) REFERENCES whole ON DELETE CASCADE)")
    store.sql("INSERT INTO of_all VALUES (1, 'x')")
    assert counts(apply(store, [], DAILY)) == (0, 0, 0, 1, 0, 1)
    assert store.sql("SELECT count(*) FROM of_all") == [(1,)]


def ready_to_go(store: Store) -> LoadPlan:
    family(store)
    plan = planned(store, parents(3), PARENTS, 2, WHOLE)
    load(store.destination, plan)
    apply(store, [child(2, 3)], CHILDREN, 2)
    return plan


@pytest.mark.parametrize("point", ["before_commit", "commit_sent"])
def test_a_killed_release_is_finished_by_the_next_run(store: Store, point: str) -> None:
    plan = ready_to_go(store)
    process = start_release(store.config, plan, f"{point}:kill")
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    assert released(store, plan) == ((0, 1, 0) if point == "before_commit" else None)
    assert ids(store) == [3]
    assert remembered(store) == []
    assert store.sql("SELECT rows_deleted FROM ownlens.loads WHERE load_id = 'parents/00000002'") == [(2,)]


def test_rivals_release_once(store: Store) -> None:
    plan = ready_to_go(store)
    processes = [start_release(store.config, plan) for _ in range(3)]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 3
    assert store.sql("SELECT rows_deleted FROM ownlens.loads WHERE load_id = 'parents/00000002'") == [(2,)]
    assert store.sql("SELECT rows_loaded FROM ownlens.tables WHERE table_name = 'parents'") == [(1,)]


def test_a_row_that_someone_else_deleted_is_forgotten(store: Store) -> None:
    plan = ready_to_go(store)
    store.sql("DELETE FROM parents WHERE id = 1")
    assert released(store, plan) is None
    apply(store, parents(1, 3), PARENTS, 3)
    assert ids(store) == [1, 3]
    assert remembered(store) == []
