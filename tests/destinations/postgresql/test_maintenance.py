"""Maintenance: old rows leave and referenced ones stay, the ledger keeps a floor, loads and kills may come between."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.powers import Chore, SupportsMaintenance, Upkeep
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql import retention
from ownlens_postgresql.connection import Connection
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store

TODAY = date(2026, 3, 31)
COLUMNS = {
    "id": "int64",
    "day": "date",
    "parent_id": "int64?",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
STAMP = datetime(2026, 1, 1, tzinfo=UTC)


def contract(table: str = "notes", days: int | None = 10, preset: str = "entity", **changes: Any) -> TableContract:
    columns = {**COLUMNS, **changes.pop("columns", {})}
    fields = {"partition_by": "day", "retention_days": days, **changes}
    return sample_contract(preset, table=table, columns=columns, key=["id"], **fields)


def row(id_: int, age: int, parent: int | None = None) -> dict[str, Any]:
    """Return a row that is so many days old; 9 is the last age that ten days keep."""
    day = TODAY - timedelta(days=age)
    return {"id": id_, "day": day, "parent_id": parent, "created_at": STAMP, "updated_at": STAMP}


def maintain(
    store: Store, mine: TableContract, *, settled: int = 0, destination: Any = None, dry_run: bool = False
) -> dict[str, int]:
    """Maintain a table, and return the rows by chore."""
    destination = destination or store.destination
    options = store.plan([], contract=mine, sequence=999).options
    done: Sequence[Chore] = destination.maintain(Upkeep(mine, options, settled, TODAY, dry_run))
    return {chore.name: chore.rows for chore in done if chore.name != "statistics"}


def ids(store: Store, table: str = "notes") -> list[int]:
    return [id_ for (id_,) in store.sql(f"SELECT id FROM {table} ORDER BY id")]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_rows_leave_by_whole_days_of_utc(store: Store, kind: str) -> None:
    mine = contract(columns={"day": kind})
    store.sql("ALTER ROLE postgres SET timezone = 'Asia/Tokyo'")

    def at(id_: int, age: int, hour: int) -> dict[str, Any]:
        moment = datetime(2026, 3, 31, hour, 59, tzinfo=UTC if kind == "timestamptz" else None) - timedelta(days=age)
        return {**row(id_, age), "day": moment.date() if kind == "date" else moment}

    store.load([at(1, 10, 23), at(2, 9, 0), at(3, 0, 5), at(4, 500, 5)], contract=mine)
    assert isinstance(store.destination, SupportsMaintenance)
    assert maintain(store, mine) == {"retention": 2}
    assert ids(store) == [2, 3]
    store.sql("ALTER ROLE postgres RESET timezone")


def test_batches_of_a_backlog_and_a_second_time_nothing(store: Store) -> None:
    mine = contract()
    store.load([*(row(n, 30) for n in range(20)), row(50, 1), row(51, 9)], contract=mine)
    assert maintain(store, mine, dry_run=True) == {"retention": 20}
    assert len(ids(store)) == 22
    assert maintain(store, mine) == {"retention": 20}
    assert ids(store) == [50, 51]
    assert not store.destination.maintain(Upkeep(mine, store.plan([], contract=mine).options, 0, TODAY))


def test_a_contract_without_retention_keeps_all(store: Store) -> None:
    mine = contract(days=None)
    store.load([row(1, 3000)], contract=mine)
    assert maintain(store, mine) == {}
    assert ids(store) == [1]


def test_a_late_row_is_loaded_and_goes_with_the_next_maintenance(store: Store) -> None:
    mine = contract()
    store.load([row(1, 1)], contract=mine)
    maintain(store, mine)
    assert store.load([row(2, 40)], contract=mine, sequence=2).inserted == 1
    assert maintain(store, mine) == {"retention": 1}
    assert ids(store) == [1]


PARENTS = contract("parents")
CHILDREN = contract("children", None, references={"parent_id": "parents.id"})


def test_rows_that_others_reference_stay_and_are_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.load([row(n, 30) for n in range(10)], contract=PARENTS)
    store.load([row(1, 1, 4), row(2, 1, 5)], contract=CHILDREN)
    assert maintain(store, PARENTS, dry_run=True) == {"retention": 8, "still referenced": 2}
    assert maintain(store, PARENTS) == {"retention": 8, "still referenced": 2}
    assert ids(store, "parents") == [4, 5]
    assert "2 old rows stay" in caplog.text
    store.sql("DELETE FROM children WHERE id = 1")
    assert maintain(store, PARENTS) == {"retention": 1, "still referenced": 1}


def test_rows_that_reference_one_another_go_together(store: Store) -> None:
    mine = contract("tree", references={"parent_id": "tree.id"})
    chain = [row(n, 40, n - 1 if n else None) for n in range(7)]
    store.load([*chain, row(20, 40, 20), row(21, 40, 22), row(22, 40, 21), row(30, 40), row(31, 1, 30)], contract=mine)
    assert maintain(store, mine, dry_run=True) == {"retention": 10, "still referenced": 1}
    assert maintain(store, mine) == {"retention": 10, "still referenced": 1}
    assert ids(store, "tree") == [30, 31]


def test_old_rows_of_the_quarantine_go(store: Store) -> None:
    children = contract("children", 10, references={"parent_id": "parents.id"})
    store.load([row(1, 1)], contract=PARENTS)
    store.load([row(1, 30, 77), row(2, 9, 77), row(3, 0, 77)], contract=children)
    assert store.quarantined() == 3
    assert maintain(store, children, dry_run=True) == {"quarantine": 1}
    assert maintain(store, children) == {"quarantine": 1}
    assert store.quarantined() == 2
    store.load([row(77, 1)], contract=PARENTS, sequence=2)
    assert store.destination.release(store.plan([], contract=children)) is not None
    assert ids(store, "children") == [2, 3]


def test_the_ledger_forgets_what_is_settled_and_answers_for_it(store: Store) -> None:
    mine = contract(days=None)
    plans = [store.plan([row(n, 1)], contract=mine, sequence=n) for n in range(1, 7)]
    for plan in plans:
        load(store.destination, plan)
    assert maintain(store, mine, settled=4, dry_run=True) == {"ledger": 4}
    assert maintain(store, mine, settled=4) == {"ledger": 4}
    assert [entry[1] for entry in store.ledger()] == [5, 6]
    for plan in plans:
        found = store.destination.find_commit(plan)
        assert found is not None
        assert found.replayed
        assert load(PostgreSQLDestination(store.config), plan).replayed
    assert maintain(store, mine, settled=99) == {"ledger": 1}
    assert [entry[1] for entry in store.ledger()] == [6]
    assert store.destination.position(mine) == 6
    assert load(store.destination, store.plan([row(7, 1)], contract=mine, sequence=7)).inserted == 1
    assert ids(store) == [1, 2, 3, 4, 5, 6, 7]


def test_a_table_that_retention_has_emptied_is_not_taken_for_a_lost_one(store: Store) -> None:
    mine = contract()
    first = store.plan([row(1, 30)], contract=mine)
    load(store.destination, first)
    store.sql("UPDATE ownlens.tables SET rows_loaded = 5")  # somebody deleted four rows by hand
    maintain(store, mine)
    assert ids(store) == []
    assert load(PostgreSQLDestination(store.config), first).replayed
    assert ids(store) == []


def test_a_table_that_no_load_filled_is_left_alone(store: Store) -> None:
    mine = contract()
    assert maintain(store, mine) == {}
    store.load([row(1, 1)], contract=contract("other"))
    store.sql("CREATE TABLE notes (id bigint PRIMARY KEY, day date)")
    store.sql("INSERT INTO notes VALUES (1, '1999-01-01')")
    assert maintain(store, mine) == {}
    assert ids(store) == [1]


def test_another_table_in_its_place_is_not_touched(store: Store) -> None:
    mine = contract()
    store.load([row(1, 1), row(2, 1)], contract=mine)
    store.sql("DROP TABLE notes")
    store.sql("CREATE TABLE notes (id bigint PRIMARY KEY, day date)")
    store.sql("INSERT INTO notes VALUES (1, '1999-01-01')")
    with pytest.raises(Rejected, match="is not the one that was loaded, so nothing of it is deleted"):
        maintain(store, mine)
    assert ids(store) == [1]
    plan = store.plan([row(3, 1)], contract=mine, sequence=2, strategy=Strategy.OVERWRITE)
    assert load(store.destination, replace(plan, full_refresh=True)).rows == 1
    assert maintain(store, mine) == {}


def test_an_older_ledger_is_brought_up_to_date(store: Store) -> None:
    mine = contract()
    for number in (1, 2, 3):
        store.load([row(number, 30)], contract=mine, sequence=number)
    store.sql("DROP TABLE ownlens.spared")
    store.sql("ALTER TABLE ownlens.tables DROP COLUMN table_oid")
    store.sql("ALTER TABLE ownlens.loads DROP COLUMN rows_spared")
    assert maintain(store, mine, settled=2) == {"retention": 3, "ledger": 2}


def test_statistics_are_brought_up_to_date(store: Store) -> None:
    mine = contract()
    store.load([row(n, 1) for n in range(50)], contract=mine)
    maintain(store, mine)
    assert store.sql("SELECT reltuples::int FROM pg_class WHERE relname = 'notes'") == [(50,)]


def test_kept_since_tells_the_retention(store: Store) -> None:
    today = datetime.now(UTC).date()
    kept = store.destination.kept_since(store.plan([], contract=contract()))
    assert kept is not None
    assert abs((kept - (today - timedelta(days=9))).days) <= 1
    assert store.destination.kept_since(store.plan([], contract=contract(days=None))) is None


# --- at the same time as loads, and killed


def test_a_child_that_comes_meanwhile_keeps_its_parent(store: Store) -> None:
    """A load that has referenced an old row, and is not committed, keeps that row, and is not waited for."""
    store.load([row(n, 30) for n in range(5)], contract=PARENTS)
    store.load([row(1, 1, 0)], contract=CHILDREN)
    with store.session() as session, session.transaction():
        session.execute(
            "INSERT INTO children (id, day, parent_id, created_at, updated_at) VALUES (9, now(), 3, now(), now())"
        )
        assert maintain(store, PARENTS)["retention"] == 3
    assert ids(store, "parents") == [0, 3]


def test_maintenance_waits_for_a_load_of_the_table(make_store: Any) -> None:
    store = make_store(lock_timeout=1)
    mine = contract()
    store.load([row(1, 30)], contract=mine)
    with store.session() as session, session.transaction():
        session.execute("SELECT FROM ownlens.tables FOR UPDATE")
        with pytest.raises(Retryable):
            maintain(store, mine)
    assert maintain(store, mine) == {"retention": 1}


def test_loads_and_maintenance_at_the_same_time(store: Store) -> None:
    mine = contract()
    store.load([row(0, 1)], contract=mine)
    stop, failed = threading.Event(), []

    def keep_maintaining() -> None:
        own = PostgreSQLDestination(store.config)
        try:
            while not stop.is_set():
                maintain(store, mine, settled=3, destination=own)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_maintaining) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 14):
        rows = [row(number, 1), *(row(number * 100 + n, 30) for n in range(8))]
        assert store.load(rows, contract=mine, sequence=number).inserted == 9
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    maintain(store, mine)
    assert ids(store) == [0, *range(2, 14)]
    assert store.sql("SELECT rows_loaded FROM ownlens.tables") == [(13,)]


_KILLED = """
import sys
from tests.destinations.postgresql.test_maintenance import *
from ownlens_plugins.registry import Registry
from ownlens_postgresql.config import PostgreSQLConfig, PostgreSQLOptions
retention.BATCH_ROWS = 3
mine = contract()
options = PostgreSQLOptions.model_validate(mine.options_for("postgresql"))
config = PostgreSQLConfig.model_validate_json(sys.argv[1])
PostgreSQLDestination(config).maintain(Upkeep(mine, options, 2, TODAY))
"""


@pytest.mark.parametrize("point", ["before_commit", "commit_sent"])
def test_maintenance_that_is_killed_goes_on_where_it_stopped(store: Store, point: str) -> None:
    mine = contract()
    for number in (1, 2, 3):
        store.load([row(number * 10 + n, 30) for n in range(4)] + [row(number, 1)], contract=mine, sequence=number)
    config = store.config.model_dump_json(by_alias=True, exclude={"password"})
    done = subprocess.run([sys.executable, "-c", _KILLED, config], env=_fault(point), timeout=60, check=False)
    assert done.returncode == -9
    assert len(ids(store)) == (15 if point == "before_commit" else 12)
    assert store.load([row(4, 1)], contract=mine, sequence=4).inserted == 1
    maintain(store, mine, settled=2)
    assert ids(store) == [1, 2, 3, 4]
    assert [entry[1] for entry in store.ledger()] == [3, 4]


_END_LOADERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ownlens'"


def test_maintenance_whose_connection_ends_before_any_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, answer = contract(), Connection._answer
    kept: list[int] = []
    number, met = 0, True
    while met:
        number, calls = number + 1, 0
        store.load([row(-number, 30), row(-number - 100, 30), row(number, 1)], contract=mine, sequence=number)
        kept.append(number)

        def dying(connection: Connection, function: Any, seconds: float, last: int = number * 4 - 3) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                store.sql(_END_LOADERS)
            return answer(connection, function, seconds)

        with monkeypatch.context() as patch:
            patch.setattr(Connection, "_answer", dying)
            with suppress(Retryable):
                maintain(store, mine, settled=number - 1)
        met = calls >= number * 4 - 3
        maintain(store, mine, settled=number - 1)
        assert ids(store) == kept
        assert [entry[1] for entry in store.ledger()] == [number]
        assert store.sql("SELECT rows_loaded FROM ownlens.tables") == [(number,)]
    assert number > 8


def _fault(point: str) -> dict[str, str]:
    return {**os.environ, "OWNLENS_FAULT": f"{point}:kill"}


# --- rights


def test_the_loader_maintains_its_own_tables(lesser: Store) -> None:
    lesser.load([row(n, 30) for n in range(5)], contract=PARENTS)
    lesser.load([row(1, 1, 4)], contract=CHILDREN)
    lesser.load([row(9, 1)], contract=PARENTS, sequence=2)
    assert maintain(lesser, PARENTS, settled=1) == {"retention": 4, "still referenced": 1, "ledger": 1}


def test_a_table_of_another_owner_needs_the_grant_that_is_said(lesser: Store) -> None:
    mine = contract(preset="events")
    lesser.sql(
        "CREATE TABLE notes (id bigint PRIMARY KEY, day date, parent_id bigint, created_at timestamptz NOT NULL, "
        "updated_at timestamptz NOT NULL)"
    )
    lesser.sql("GRANT SELECT, INSERT ON notes TO loader")
    lesser.load([row(1, 30), row(2, 1)], contract=mine)
    with pytest.raises(Rejected, match=r'run GRANT DELETE ON "public"."notes" TO "loader"') as caught:
        maintain(lesser, mine)
    lesser.sql(str(caught.value).partition("; run ")[2])
    assert maintain(lesser, mine) == {"retention": 1}
    lesser.sql("CREATE TABLE theirs (note bigint REFERENCES notes)")
    lesser.load([row(3, 30)], contract=mine, sequence=2)
    for grant in ("GRANT UPDATE ON", "GRANT SELECT ON"):
        with pytest.raises(Rejected, match=grant) as caught:
            maintain(lesser, mine)
        lesser.sql(str(caught.value).partition("run ")[2])
    assert maintain(lesser, mine) == {"retention": 1}
