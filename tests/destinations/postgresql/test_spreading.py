"""Parts that workers of other processes bring: the same rows, counts and ledger, and nothing left of any attempt."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan, LoadResult, Receipt, StagedPart
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.powers import Upkeep
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows
from ownlens_postgresql import spreading

from .conftest import Store
from .test_deletes import keys_plan

Write = Callable[[StagedPart], Receipt]
STRATEGIES = [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE]


def elsewhere(write: Write, parts: Iterable[StagedPart]) -> list[Receipt]:
    """Write the parts as workers do: with copies of the writer, each part twice, and the second receipt lost."""
    copy: Write = pickle.loads(pickle.dumps(write))
    receipts = [copy(part) for part in parts]
    for receipt in receipts:
        assert receipt.payload["table"]
    return receipts


def twice(write: Write, parts: Iterable[StagedPart]) -> list[Receipt]:
    return [elsewhere(write, [part, part])[0] for part in parts]


def contract(strategy: Strategy) -> TableContract:
    conflict = "error" if strategy is Strategy.APPEND else "update"
    block = {"strategy": strategy.value, "on_conflict": conflict}
    return sample_contract("reference", extraction="whole", columns=EVERY_TYPE, destinations={"postgresql": block})


def tables(store: Store) -> list[str]:
    found = store.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens\\_part%%' ORDER BY 1")
    return [name for (name,) in found]


def entries(store: Store) -> list[tuple[Any, ...]]:
    return store.sql(
        "SELECT sequence, digest, rows, rows_inserted, rows_updated, rows_unchanged, rows_deleted, rows_rejected "
        "FROM ownlens.loads ORDER BY 1"
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mapping", [elsewhere, twice])
def test_either_way_leaves_equal_tables(shared_store: Store, strategy: Strategy, mapping: Any) -> None:
    seen = []
    for map_parts in (None, mapping):
        shared_store.empty()
        mine = contract(strategy)
        first = shared_store.plan(sample_rows(40)[:30], contract=mine)
        later = sample_rows(40)[30:] if strategy is Strategy.APPEND else sample_rows(40)[20:]
        second = shared_store.plan(later, contract=mine, sequence=2, parts=3)
        done = [load(shared_store.destination, plan, map_parts=map_parts) for plan in (first, second)]
        counts = [replace(result, committed_at=None) for result in done]
        seen.append((shared_store.landed(mine), entries(shared_store), counts))
        assert tables(shared_store) == []
    assert seen[0] == seen[1]


def test_engines_take_turns_on_one_table(store: Store) -> None:
    for sequence, map_parts in enumerate([None, elsewhere, None, elsewhere], start=1):
        plan = store.plan(sample_rows(10 * sequence), sequence=sequence)
        load(store.destination, plan, map_parts=map_parts)
        assert load(store.destination, plan, map_parts=elsewhere).replayed
    assert store.landed() == store.staged(sample_rows(40))


def test_keys_of_a_sweep_come_the_same_way(store: Store) -> None:
    mine = sample_contract("entity", deletes="follow", columns=EVERY_TYPE)
    rows = sample_rows(6)
    load(store.destination, store.plan(rows, contract=mine), map_parts=elsewhere)
    done = load(store.destination, keys_plan(store, rows[:4], mine, 2), map_parts=elsewhere)
    assert (done.deleted, store.landed(mine)) == (2, store.staged(rows[:4], mine))


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_worker_that_goes_on_leaves_nothing(store: Store, end: str) -> None:
    plan = store.plan(sample_rows(4))
    with store.destination.open(plan) as session:
        writer = session.spread()
        receipts = elsewhere(writer.write, plan.parts)
        session.commit(receipts) if end == "commit" else session.abort()
        assert tables(store) == []
        with pytest.raises(Retryable, match="is over"):
            writer.write(plan.parts[0])
    assert tables(store) == []


def test_the_attempt_ends_while_a_worker_copies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = store.plan(sample_rows(4))
    copied, go_on = threading.Event(), threading.Event()
    copy = spreading.SpreadWriter._copy

    def slow(*arguments: Any) -> None:
        copy(*arguments)
        copied.set()
        assert go_on.wait(20)

    with store.destination.open(plan) as session:
        writer = session.spread()
        receipts = elsewhere(writer.write, plan.parts)
        monkeypatch.setattr(spreading.SpreadWriter, "_copy", slow)
        errors: list[BaseException] = []
        zombie = threading.Thread(target=lambda: errors.append(_error(lambda: writer.write(plan.parts[0]))))
        zombie.start()
        assert copied.wait(20)
        session.commit(receipts)  # the worker's open transaction does not make it wait
        go_on.set()
        zombie.join()
    assert isinstance(errors[0], Retryable)
    assert tables(store) == []
    assert store.landed() == store.staged(sample_rows(4))


def _error(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize("loss", ["TRUNCATE", "DROP TABLE"])
def test_rows_that_a_crash_took_are_missed_inside_the_commit(store: Store, loss: str) -> None:
    plan = store.plan(sample_rows(4))

    def lossy(write: Write, parts: Iterable[StagedPart]) -> list[Receipt]:
        receipts = elsewhere(write, parts)
        store.sql(f'{loss} ownlens."{receipts[0].payload["table"]}"')  # as a restart after a crash does
        return receipts

    with pytest.raises(Retryable, match="lost rows that workers had brought"):
        load(store.destination, plan, map_parts=lossy)
    assert (store.landed(), tables(store)) == ([], [])
    assert load(store.destination, plan, map_parts=elsewhere).inserted == 4


@pytest.mark.parametrize("next_engine", [None, elsewhere])
def test_the_next_load_clears_what_a_dead_attempt_left(store: Store, next_engine: Any) -> None:
    plan = store.plan(sample_rows(4))
    with store.destination.open(plan) as session:
        elsewhere(session.spread().write, plan.parts)
    assert len(tables(store)) == 3
    load(store.destination, plan, map_parts=next_engine)
    assert tables(store) == []


def test_a_rival_of_a_later_load_is_left_alone(store: Store) -> None:
    first, second = store.plan(sample_rows(4)), store.plan(sample_rows(9), sequence=2)
    with store.destination.open(second) as session:
        receipts = elsewhere(session.spread().write, second.parts)
        load(store.destination, first, map_parts=elsewhere)
        assert session.commit(receipts).rows == 9
    assert (tables(store), store.landed()) == ([], store.staged(sample_rows(9)))


def test_rivals_of_one_load_end_as_one(store: Store) -> None:
    plan = store.plan(sample_rows(4))
    with store.destination.open(plan) as late, store.destination.open(plan) as quick:
        receipts = elsewhere(late.spread().write, plan.parts)
        quick.commit(elsewhere(quick.spread().write, plan.parts))
        assert late.commit(receipts).replayed
    assert (tables(store), store.landed()) == ([], store.staged(sample_rows(4)))


def test_maintenance_clears_what_is_settled_or_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    load(store.destination, store.plan(sample_rows(4)))
    with monkeypatch.context() as past:
        past.setattr(spreading.time, "time", lambda: 1_000_000_000.0)
        dead = store.plan(sample_rows(5), sequence=3)
        with store.destination.open(dead) as session:
            session.spread().write(dead.parts[0])
    alive = store.plan(sample_rows(5), sequence=2)
    with store.destination.open(alive) as session:
        receipts = elsewhere(session.spread().write, alive.parts)
        upkeep = Upkeep(alive.contract, alive.options, 0, None, dry_run=True)
        assert [chore.files for chore in store.destination.maintain(upkeep) if chore.name == "leftovers"] == [2]
        assert len(tables(store)) == 5
        store.destination.maintain(replace(upkeep, dry_run=False))
        assert len(tables(store)) == 3
        session.commit(receipts)
    assert tables(store) == []


def test_a_role_that_may_not_make_tables_there_is_told_the_grant(lesser: Store) -> None:
    load(lesser.destination, lesser.plan(sample_rows(2)))
    later: LoadPlan = lesser.plan(sample_rows(4), sequence=2)
    lesser.sql("REVOKE CREATE ON SCHEMA ownlens FROM loader")
    with pytest.raises(Rejected) as caught:
        load(lesser.destination, later, map_parts=elsewhere)
    statement = re.search(r"run (GRANT .*)", str(caught.value))
    assert statement is not None
    lesser.sql(statement[1])
    result: LoadResult = load(lesser.destination, later, map_parts=elsewhere)
    assert result.rows == 4


def test_a_part_with_other_rows_than_were_staged_is_refused(store: Store) -> None:
    plan = store.plan(sample_rows(4))
    wrong = replace(plan, parts=(replace(plan.parts[0], rows=7), *plan.parts[1:]))
    with pytest.raises(Rejected, match="has 2 rows and not 7"):
        load(store.destination, wrong, map_parts=elsewhere)
    assert tables(store) == []
