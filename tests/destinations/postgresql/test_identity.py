"""The ledger knows the table that it wrote: one that was dropped, emptied or replaced is noticed and filled anew."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Covers, LoadPlan, Window
from ownlens_plugins.contracts import Extraction, Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import sample_contract, sample_rows, sample_table
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.postgresql_servers import debian_programs

from .conftest import Store
from .load_once import start_load
from .test_references import PARENTS, moment, parents
from .test_releases import EVENTS, event

COLUMNS = {"id": "int64", "day": "date", "title": "text?", "updated_at": "timestamptz"}
APPENDED = sample_contract(
    columns=COLUMNS, partition_by="day", destinations={"postgresql": {"strategy": "append", "on_conflict": "error"}}
)
UPSERTED = sample_contract(columns=COLUMNS, partition_by="day", destinations={"postgresql": {"strategy": "upsert"}})
CONTRACTS = pytest.mark.parametrize("contract", [APPENDED, UPSERTED], ids=["append", "upsert"])
RECREATE = "CREATE TABLE fresh (LIKE samples INCLUDING ALL); DROP TABLE samples; ALTER TABLE fresh RENAME TO samples"
LOSSES = {
    "dropped": "DROP TABLE samples",
    "recreated": RECREATE,
    "truncated": "TRUNCATE samples",
    "moved": "CREATE SCHEMA attic; ALTER TABLE samples SET SCHEMA attic",
}


def change(store: Store, statements: str) -> None:
    for statement in statements.split("; "):
        store.sql(statement)


def three_loads(store: Store, contract: TableContract) -> list[LoadPlan]:
    """Load three sets of ten rows; return their plans."""
    plans = [
        store.plan(sample_rows(10, first=10 * number), contract=contract, sequence=number + 1) for number in range(3)
    ]
    for plan in plans:
        load(store.destination, plan)
    return plans


def in_a_new_process(store: Store) -> Store:
    return replace(store, destination=PostgreSQLDestination(store.config))


def whole(contract: TableContract, store: Store) -> list[str]:
    return store.staged(sample_rows(30), contract)


@CONTRACTS
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("anew", [True, False], ids=["new process", "same process"])
def test_a_table_that_is_lost_is_filled_from_all_sets(
    store: Store, contract: TableContract, loss: str, anew: bool
) -> None:
    plans = three_loads(store, contract)
    change(store, LOSSES[loss])
    store = in_a_new_process(store) if anew else store
    assert [store.destination.find_commit(plan) for plan in plans] == [None, None, None]
    for plan in plans:
        assert load(store.destination, plan).inserted == 10
    assert store.landed(contract) == whole(contract, store)
    assert [row[1:3] for row in store.ledger()] == [(1, 10), (2, 10), (3, 10)]
    assert store.sql("SELECT rows_loaded FROM ownlens.tables") == [(30,)]
    assert all(load(store.destination, plan).replayed for plan in plans)


def test_a_run_fills_a_dropped_table_by_itself(store: Store, area: StagingArea, registry: Registry) -> None:
    for number in range(3):
        rows = sample_table(UPSERTED, sample_rows(10, first=10 * number))
        window = Window(moment(number) if number else None, moment(number + 1))
        request = StageRequest(Extraction.WINDOW, window)
        assert area.stage(UPSERTED, Extracted(rows.to_reader()), request) is not None
        load_table(store.destination, UPSERTED, area, registry)
    store.sql("DROP TABLE samples")
    outcome = load_table(store.destination, UPSERTED, area, registry)
    assert (outcome.rows, outcome.inserted) == (30, 30)
    assert store.landed(UPSERTED) == whole(UPSERTED, store)


def test_what_waited_is_forgotten_with_the_table(store: Store) -> None:
    """It is in the staged sets, which bring it again: an append would find its key."""
    store.load(parents(1), contract=PARENTS)
    plans = [store.plan([event(1, 1)], contract=EVENTS), store.plan([event(2, 9)], contract=EVENTS, sequence=2)]
    assert [load(store.destination, plan).rejected for plan in plans] == [0, 1]
    store.load(parents(1, 9), contract=PARENTS, sequence=3)  # staged files are named by their number alone
    store.sql("DROP TABLE children")
    assert store.destination.release(plans[1]) is None
    assert [store.destination.find_commit(plan) for plan in plans] == [None, None]
    assert [load(store.destination, plan).inserted for plan in plans] == [1, 1]
    assert store.quarantined() == 0


@CONTRACTS
@pytest.mark.parametrize("point", ["stage_open", "before_ledger", "before_commit", "commit_sent"])
def test_a_kill_while_a_lost_table_is_filled(store: Store, contract: TableContract, point: str) -> None:
    plans = three_loads(store, contract)
    store.sql("DROP TABLE samples")
    process = start_load(store.config, plans[0], f"{point}:kill")
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    store = in_a_new_process(store)
    found = [store.destination.find_commit(plan) for plan in plans]
    assert [one is not None for one in found] == [point == "commit_sent", False, False]
    for plan in plans:
        load(store.destination, plan)
    assert store.landed(contract) == whole(contract, store)


@CONTRACTS
def test_rivals_fill_a_lost_table_once(store: Store, contract: TableContract) -> None:
    plans = three_loads(store, contract)
    store.sql("DROP TABLE samples")
    for plan in plans:
        processes = [start_load(store.config, plan) for _ in range(3)]
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0] * 3
    assert store.landed(contract) == whole(contract, store)
    assert [row[1:3] for row in store.ledger()] == [(1, 10), (2, 10), (3, 10)]


@CONTRACTS
def test_a_load_that_was_decided_before_the_loss_never_stands_alone(store: Store, contract: TableContract) -> None:
    """Its commit would make the sets before it count as applied."""
    plans = three_loads(store, contract)
    newest = store.plan(sample_rows(5, first=30), contract=contract, sequence=4)
    assert store.destination.find_commit(newest) is None
    store.sql("DROP TABLE samples")
    for reason in ("vanished after open", "was dropped or emptied while the run went on"):
        session = store.destination.open(newest)  # the second time, it makes the table
        with pytest.raises(Retryable, match=f"^samples: postgresql table .* {reason}; run it again"):
            session.commit([session.writer.write(part) for part in newest.parts])
    for plan in [*plans, newest]:
        assert store.destination.find_commit(plan) is None or plan is newest
        load(store.destination, plan)
    assert store.landed(contract) == store.staged(sample_rows(35), contract)


def test_an_increment_is_no_beginning(store: Store) -> None:
    """The sets before it are gone from the staging area."""
    plans = three_loads(store, UPSERTED)
    store.sql("DROP TABLE samples")
    store = in_a_new_process(store)
    with pytest.raises(Rejected, match=r"was dropped or emptied, and samples/00000003 holds only .* --full-refresh"):
        load(store.destination, replace(plans[2], window=Window(moment(3), moment(4))))
    refresh = store.plan(sample_rows(30), contract=UPSERTED, sequence=4, strategy=Strategy.OVERWRITE)
    assert load(store.destination, replace(refresh, window=Window(None, moment(5)))).inserted == 30
    assert load(store.destination, plans[0]).replayed


@pytest.mark.parametrize("strategy", [Strategy.OVERWRITE, Strategy.UPSERT])
def test_a_set_of_the_whole_table_is_a_beginning(store: Store, strategy: Strategy) -> None:
    three_loads(store, UPSERTED)
    store.sql("DROP TABLE samples")
    plan = store.plan(sample_rows(4), contract=UPSERTED, sequence=4, strategy=strategy)
    assert load(store.destination, replace(plan, covers=Covers())).inserted == 4
    assert [row[1] for row in store.ledger()] == [4]


@CONTRACTS
def test_a_table_that_never_had_rows_is_not_lost(store: Store, contract: TableContract) -> None:
    plan = store.plan([], contract=contract)
    load(store.destination, plan)
    assert in_a_new_process(store).destination.find_commit(plan)


def test_rows_that_an_overwrite_took_are_not_lost(store: Store) -> None:
    three_loads(store, UPSERTED)
    plan = store.plan([], contract=UPSERTED, sequence=4, strategy=Strategy.OVERWRITE)
    load(store.destination, plan)
    assert in_a_new_process(store).destination.find_commit(plan)


# --- another table in its place

SWAP = (
    "CREATE TABLE other (LIKE samples INCLUDING ALL); INSERT INTO other {rows}; DROP TABLE samples; "
    "ALTER TABLE other RENAME TO samples"
)


@CONTRACTS
def test_a_restored_table_is_adopted(store: Store, contract: TableContract) -> None:
    plans = three_loads(store, contract)
    change(store, SWAP.format(rows="SELECT * FROM samples"))
    store = in_a_new_process(store)
    assert all(load(store.destination, plan).replayed for plan in plans)
    # Known from now on, with more rows too.
    assert store.sql("SELECT table_oid = 'samples'::regclass::oid::bigint FROM ownlens.tables") == [(True,)]
    store.sql("DELETE FROM samples WHERE id = 0")
    plan = store.plan([*sample_rows(1, first=40), *sample_rows(5, first=30)], contract=contract, sequence=4)
    assert load(in_a_new_process(store).destination, plan).inserted == 6
    assert store.sql("SELECT count(*) FROM samples") == [(35,)]


@CONTRACTS
def test_a_table_with_other_rows_is_refused_until_it_is_replaced(store: Store, contract: TableContract) -> None:
    plans = three_loads(store, contract)
    change(store, SWAP.format(rows="SELECT * FROM samples LIMIT 7"))
    store = in_a_new_process(store)
    plan = store.plan(sample_rows(5, first=30), contract=contract, sequence=4)
    for attempt in (lambda: store.destination.find_commit(plans[2]), lambda: load(store.destination, plan)):
        with pytest.raises(Rejected, match=r"is not the one that was loaded, and holds other rows; .*--full-refresh"):
            attempt()
    assert store.sql("SELECT count(*) FROM samples") == [(7,)]
    refresh = store.plan(sample_rows(3), contract=contract, sequence=5, strategy=Strategy.OVERWRITE)
    load(store.destination, refresh)
    assert store.landed(contract) == store.staged(sample_rows(3), contract)
    assert [row[1] for row in store.ledger()] == [5]
    assert in_a_new_process(store).destination.find_commit(plans[0])


def test_a_table_that_was_exchanged_before_its_first_load_is_used(store: Store) -> None:
    store.destination.open(store.plan([], contract=UPSERTED))
    change(store, SWAP.format(rows="SELECT 99, '2026-01-01', 'mine', now()"))
    assert in_a_new_process(store).load(sample_rows(3), contract=UPSERTED).inserted == 3
    assert store.sql("SELECT count(*) FROM samples") == [(4,)]


def test_a_partitioned_table_is_one_table(store: Store) -> None:
    make = (
        "CREATE TABLE samples (id bigint PRIMARY KEY, day date, title text, updated_at timestamptz NOT NULL) "
        "PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF samples DEFAULT"
    )
    change(store, make)
    plans = three_loads(store, UPSERTED)
    store = in_a_new_process(store)
    assert store.destination.find_commit(plans[0])
    change(store, f"DROP TABLE samples; {make}")
    assert [store.destination.find_commit(plan) for plan in plans] == [None, None, None]
    for plan in plans:
        load(store.destination, plan)
    assert store.landed(UPSERTED) == whole(UPSERTED, store)


def test_a_dump_that_was_restored_goes_on(lesser: Store, server15: Any, tmp_path: Path) -> None:
    """pg_dump keeps rows and ledger, and gives every table a new oid."""
    plans = three_loads(lesser, UPSERTED)
    where = {**server15.address}
    address = ["-h", str(where["host"]), "-p", str(where["port"]), "-U", "loader"]
    env = {"PGPASSWORD": lesser.config.password.get_secret_value(), "PGSSLMODE": "require"}  # type: ignore[union-attr]
    dump = tmp_path / "dump"
    programs = debian_programs()
    done = subprocess.run(
        [str(programs / "pg_dump"), *address, "-Fc", "-f", str(dump), lesser.config.database],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    old = lesser.sql("SELECT table_oid FROM ownlens.tables")
    lesser.sql("DROP TABLE samples")
    lesser.sql("DROP SCHEMA ownlens CASCADE")
    lesser.sql("CREATE SCHEMA ownlens AUTHORIZATION loader")
    subprocess.run(
        [str(programs / "pg_restore"), *address, "-d", lesser.config.database, str(dump)], env=env, capture_output=True
    )
    assert lesser.sql("SELECT table_oid FROM ownlens.tables") == old
    store = in_a_new_process(lesser)
    assert all(load(store.destination, plan).replayed for plan in plans)
    assert store.load(sample_rows(5, first=30), contract=UPSERTED, sequence=4).inserted == 5
    assert store.sql("SELECT table_oid FROM ownlens.tables") != old


# --- a ledger of the version before

OLDER = (
    "ALTER TABLE ownlens.loads DROP COLUMN rows_spared; ALTER TABLE ownlens.tables DROP COLUMN table_oid; "
    "DROP TABLE ownlens.spared"
)


@CONTRACTS
def test_a_ledger_of_the_version_before_goes_on(either: Store, contract: TableContract) -> None:
    plans = three_loads(either, contract)
    change(either, OLDER)
    store = in_a_new_process(either)
    assert all(load(store.destination, plan).replayed for plan in plans)
    assert store.destination.release(plans[2]) is None
    store.load(sample_rows(5, first=30), contract=contract, sequence=4)
    assert store.sql("SELECT table_oid = 'samples'::regclass::oid::bigint FROM ownlens.tables") == [(True,)]
    store.sql("DROP TABLE samples")
    assert in_a_new_process(store).destination.find_commit(plans[0]) is None


@CONTRACTS
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_noticed_with_an_older_ledger_too(store: Store, contract: TableContract, loss: str) -> None:
    plans = three_loads(store, contract)
    change(store, OLDER)
    change(store, LOSSES[loss])
    store = in_a_new_process(store)
    assert [store.destination.find_commit(plan) for plan in plans] == [None, None, None]
    for plan in plans:
        load(store.destination, plan)
    assert store.landed(contract) == whole(contract, store)


def test_an_older_ledger_of_another_owner_is_told_what_it_lacks(emptied: Store) -> None:
    three_loads(emptied, UPSERTED)
    change(emptied, "ALTER TABLE ownlens.loads DROP COLUMN rows_spared; ALTER TABLE ownlens.loads OWNER TO postgres")
    emptied.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ownlens.loads TO loader")
    store = in_a_new_process(emptied)
    with pytest.raises(Rejected, match="ledger lacks a column, and belongs to another role, which must run") as caught:
        store.load(sample_rows(5, first=30), contract=UPSERTED, sequence=4)
    store.sql(str(caught.value).partition("must run ")[2])
    assert store.load(sample_rows(5, first=30), contract=UPSERTED, sequence=4).inserted == 5
