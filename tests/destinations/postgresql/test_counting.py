"""What a table shows of a slice: rows and keys, rows that wait aside, rows that are gone and stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ownlens_plugins.api import Covers, TouchedSlice
from ownlens_plugins.engine.loading import load
from ownlens_plugins.powers import SliceCounts, SupportsCounting
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store
from .test_identity import OLDER, change
from .test_references import CHILDREN, PARENTS, child, parents

STAMPS = {"date": "date", "timestamp": "timestamp", "timestamptz": "timestamptz"}


def counted(store: Store, contract: Any, first: int | None = None, last: int | None = None) -> SliceCounts:
    plan = store.plan([], contract=contract, sequence=999)
    touched = None
    if first is not None and last is not None:
        touched = TouchedSlice(contract.partition_by, date(2026, 1, first), date(2026, 1, last))
    return store.destination.count(replace(plan, touched=touched))


def test_a_table_that_is_not_there_has_no_rows(store: Store) -> None:
    assert isinstance(store.destination, SupportsCounting)
    assert counted(store, CHILDREN) == SliceCounts(0, 0)
    assert store.destination.kept_since(store.plan([], contract=CHILDREN)) is None


@pytest.mark.parametrize("kind", STAMPS)
def test_the_slice_is_whole_days_of_utc(either: Store, kind: str) -> None:
    contract = sample_contract(
        preset="events",
        table="events",
        partition_by="at",
        columns={"id": "int64", "at": kind, "parent_id": "int64?", "created_at": "timestamptz"},
        references={"parent_id": "parents.id"},
    )
    zone = ZoneInfo("UTC") if kind == "timestamptz" else None

    def event(id_: int, day: int, hour: int, parent: int | None = None) -> dict[str, Any]:
        at = datetime(2026, 1, day, hour, 59, 59, 999_999, tzinfo=zone)
        created = datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))
        return {"id": id_, "at": at.date() if kind == "date" else at, "parent_id": parent, "created_at": created}

    either.load(parents(1), contract=PARENTS)
    rows = [event(1, 1, 23), event(2, 2, 0), event(3, 3, 23), event(4, 4, 0), event(5, 2, 5, 9), event(6, 4, 5, 9)]
    assert either.load(rows, contract=contract).rejected == 2
    assert counted(either, contract) == SliceCounts(4, 4, aside=2)
    assert counted(either, contract, 2, 3) == SliceCounts(2, 2, aside=1)
    assert counted(either, contract, 9, 9) == SliceCounts(0, 0)


def test_keys_that_wait_are_counted_once_and_only_where_the_table_lacks_them(store: Store) -> None:
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 1), child(2, 9)], contract=CHILDREN)
    store.load([child(1, 9, version=1), child(3, 9)], contract=CHILDREN, sequence=2)
    assert store.quarantined() == 3
    assert counted(store, CHILDREN) == SliceCounts(1, 1, aside=2)


def test_spared_rows_are_among_the_rows(store: Store) -> None:
    store.load(parents(1, 2, 3), contract=PARENTS)
    store.load([child(1, 1)], contract=CHILDREN)
    gone = store.plan(parents(3), contract=PARENTS, sequence=2)
    load(store.destination, replace(gone, covers=Covers()))
    assert counted(store, PARENTS) == SliceCounts(2, 2, spared=1)
    store.sql("DELETE FROM children")
    store.sql("DELETE FROM parents WHERE id = 1")  # by hand: the ledger still remembers it
    assert counted(store, PARENTS) == SliceCounts(1, 1)


def test_doubles_show_when_the_key_was_dropped(store: Store) -> None:
    store.load(parents(1, 2), contract=PARENTS)
    store.sql("ALTER TABLE parents DROP CONSTRAINT parents_pkey")
    store.sql("INSERT INTO parents SELECT * FROM parents WHERE id = 1")
    assert counted(store, PARENTS) == SliceCounts(3, 2)


def test_a_ledger_of_the_version_before_is_no_obstacle(store: Store) -> None:
    store.load(parents(1, 2), contract=PARENTS)
    change(store, OLDER)
    assert PostgreSQLDestination(store.config).count(store.plan([], contract=PARENTS)) == SliceCounts(2, 2)
