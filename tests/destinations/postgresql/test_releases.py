"""Rows that waited for their parents come back in a run that has nothing new for their table."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan, LoadResult, Window
from ownlens_plugins.contracts import Extraction, Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import sample_contract, sample_table
from ownlens_plugins.validation import validate

from .conftest import Store
from .load_once import start_release
from .test_references import CHILDREN, PARENTS, child, moment, parents

EVENTS = sample_contract(
    preset="events",
    table="children",
    columns={"id": "int64", "parent_id": "int64?", "created_at": "timestamptz"},
    partition_by="created_at",
    references={"parent_id": "parents.id"},
)


def event(id_: int, parent: int | None) -> dict[str, Any]:
    return {"id": id_, "parent_id": parent, "created_at": moment(0)}


def wait_for_nine(store: Store, contract: TableContract = CHILDREN, strategy: Strategy | None = None) -> LoadPlan:
    """Load two children, one of which waits for parent 9, which then comes; return the children's plan."""
    make = event if contract is EVENTS else child
    store.load(parents(1), contract=PARENTS)
    plan = store.plan([make(1, 1), make(2, 9), make(3, 8)], contract=contract, strategy=strategy)
    assert load(store.destination, plan).rejected == 2
    store.load(parents(1, 9), contract=PARENTS, sequence=2)
    return plan


def counts(result: LoadResult | None) -> tuple[int, ...] | None:
    if result is None:
        return None
    return result.rows, result.inserted, result.updated, result.unchanged, result.deleted, result.released


@pytest.mark.parametrize(
    ("contract", "strategy"),
    [(CHILDREN, Strategy.UPSERT), (EVENTS, Strategy.APPEND), (CHILDREN, Strategy.OVERWRITE)],
    ids=["upsert", "append", "overwrite"],
)
def test_a_waiting_row_comes_back_once(store: Store, contract: TableContract, strategy: Strategy) -> None:
    plan = wait_for_nine(store, contract, strategy)
    assert counts(store.destination.release(plan)) == (0, 1, 0, 0, 0, 1)
    make = event if contract is EVENTS else child
    assert store.landed(contract) == store.staged([make(1, 1), make(2, 9)], contract)
    assert store.quarantined() == 1
    assert store.destination.release(plan) is None  # the other one still lacks its parent
    assert store.sql("SELECT rows_loaded FROM ownlens.tables WHERE table_name = 'children'") == [(2,)]
    replayed = load(store.destination, plan)
    assert (replayed.inserted, replayed.rejected, replayed.released) == (2, 2, 1)


def test_a_table_without_waiting_rows_is_left_alone(store: Store) -> None:
    plan = store.plan([child(1, None)], contract=CHILDREN)
    load(store.destination, plan)
    before = store.sql("SELECT xmin::text, * FROM ownlens.loads")
    assert store.destination.release(plan) is None
    assert store.sql("SELECT xmin::text, * FROM ownlens.loads") == before


def test_rows_that_still_wait_cost_no_write(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    plan = store.plan([child(1, 9)], contract=CHILDREN)
    load(store.destination, plan)
    before = store.sql("SELECT xmin::text, * FROM ownlens.loads ORDER BY table_name")
    assert store.destination.release(plan) is None
    assert store.sql("SELECT xmin::text, * FROM ownlens.loads ORDER BY table_name") == before
    assert store.quarantined() == 1


def test_a_newer_version_in_the_table_stays(store: Store) -> None:
    plan = wait_for_nine(store)
    store.sql("INSERT INTO children VALUES (2, 1, 7, '2027-01-01')")  # by another writer
    assert counts(store.destination.release(plan)) == (0, 0, 0, 1, 0, 1)
    assert store.sql("SELECT n FROM children WHERE id = 2") == [(7,)]
    assert store.quarantined() == 1


def test_a_column_that_came_since_is_null(store: Store) -> None:
    wait_for_nine(store)
    wider = sample_contract(
        preset="reference",
        table="children",
        columns={"id": "int64", "parent_id": "int64?", "n": "int32", "updated_at": "timestamptz", "note": "text?"},
        references={"parent_id": "parents.id"},
        destinations={"postgresql": {"strategy": "upsert"}},
    )
    plan = store.plan([], contract=wider)
    assert counts(store.destination.release(plan)) == (0, 1, 0, 0, 0, 1)
    assert store.sql("SELECT note FROM children WHERE id = 2") == [(None,)]


@pytest.mark.parametrize("point", ["before_commit", "commit_sent"])
def test_a_killed_release_is_finished_by_the_next_run(store: Store, point: str) -> None:
    plan = wait_for_nine(store)
    process = start_release(store.config, plan, f"{point}:kill")
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    again = store.destination.release(plan)
    assert counts(again) == ((0, 1, 0, 0, 0, 1) if point == "before_commit" else None)
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(2, 9)], CHILDREN)
    assert store.ledger()[0] == ("children", 1, 2, 0)
    assert store.quarantined() == 1


def test_rivals_bring_a_row_back_once(store: Store) -> None:
    plan = wait_for_nine(store)
    processes = [start_release(store.config, plan) for _ in range(4)]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(2, 9)], CHILDREN)
    assert store.ledger()[0] == ("children", 1, 2, 0)


def test_what_came_back_is_validated(store: Store) -> None:
    plan = wait_for_nine(store)
    result = store.destination.release(plan)
    store.sql("ALTER TABLE children DROP CONSTRAINT children_pkey")
    store.sql("INSERT INTO children SELECT * FROM children WHERE id = 2")
    checked = validate(store.destination, replace(plan, parts=(), touched=None), result=result)
    assert not checked.success
    assert checked.rows == 3


@pytest.mark.parametrize("full_refresh", [False, True])
def test_a_run_with_nothing_new_brings_them_back(
    store: Store, area: StagingArea, registry: Registry, full_refresh: bool
) -> None:
    def run(contract: TableContract) -> LoadOutcome:
        outcome = load_table(store.destination, contract, area, registry)
        if outcome.plan is not None:
            validate(store.destination, outcome.plan, result=outcome.result).raise_if_failed()
        return outcome

    stage(area, PARENTS, parents(1))
    stage(area, CHILDREN, [child(1, 1), child(2, 9)], full_refresh=full_refresh)
    run(PARENTS)
    assert run(CHILDREN).rejected == 1
    assert run(CHILDREN).status is Status.NOTHING_NEW
    stage(area, PARENTS, parents(1, 9))
    run(PARENTS)
    outcome = run(CHILDREN)
    assert (outcome.status, outcome.rows, outcome.inserted, outcome.released) == (Status.LOADED, 0, 1, 1)
    assert outcome.rejected == 0  # they were counted when they were set aside
    assert store.landed(CHILDREN) == store.staged([child(1, 1), child(2, 9)], CHILDREN)
    assert run(CHILDREN).status is Status.NOTHING_NEW


def stage(
    area: StagingArea, contract: TableContract, rows: list[dict[str, Any]], *, full_refresh: bool = False
) -> None:
    request = StageRequest(Extraction.WHOLE, Window(None, moment(0)), full_refresh=full_refresh)
    assert area.stage(contract, Extracted(sample_table(contract, rows).to_reader()), request) is not None
