"""Each load is applied exactly once: replays, rivals, stale attempts, damaged sets."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import LoadResult, Receipt
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected, StagedSetChanged
from ownlens_plugins.testing import sample_contract, sample_rows

from .conftest import Store

STRATEGIES = [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE]


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work(0), work(1), ... at once and return the results, or the errors, in order."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_replay_changes_nothing(store: Store, strategy: Strategy) -> None:
    rows = sample_rows(50)
    first = store.load(rows, strategy=strategy)
    store.sql("DELETE FROM samples WHERE id = 7")  # would come back if the replay did anything
    again = store.load(rows, strategy=strategy)
    assert again == replace(first, replayed=True)
    assert len(store.landed()) == 49
    assert store.ledger() == [("samples", 1, 50, 0)]


def test_nothing_is_visible_before_commit(store: Store) -> None:
    plan = store.plan(sample_rows(10))
    assert store.destination.find_commit(plan) is None
    session = store.destination.open(plan)
    receipts = [session.writer.write(part) for part in plan.parts]
    assert store.destination.find_commit(plan) is None
    assert store.landed() == []
    session.commit(receipts)
    assert len(store.landed()) == 10


def test_another_digest_is_refused_before_and_inside_commit(store: Store) -> None:
    plan = store.plan(sample_rows(10))
    changed = replace(plan, digest="0" * 64)
    session = store.destination.open(changed)
    load(store.destination, plan)
    with pytest.raises(StagedSetChanged, match="samples: postgresql holds samples/00000001 with another digest"):
        load(store.destination, changed)
    with pytest.raises(StagedSetChanged):
        session.commit([session.writer.write(part) for part in changed.parts])
    assert store.landed() == store.staged(sample_rows(10))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stale_attempt_changes_nothing(store: Store, strategy: Strategy) -> None:
    old, new = sample_rows(20), sample_rows(20, version=1, first=5)
    stale = store.plan(old, sequence=1, strategy=strategy)
    session = store.destination.open(stale)
    receipts = [session.writer.write(part) for part in stale.parts]
    store.load(new, sequence=2, strategy=strategy)
    result = session.commit(receipts)
    assert (result.replayed, result.rows, result.inserted) == (True, 0, 0)
    assert load(store.destination, stale) == result
    assert store.landed() == store.staged(new)
    assert store.ledger() == [("samples", 2, 20, 0)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_six_attempts_at_once_apply_one(store: Store, strategy: Strategy) -> None:
    plan = store.plan(sample_rows(2_000), strategy=strategy)
    results = in_threads(6, lambda _: load(store.destination, plan))
    assert all(isinstance(result, LoadResult) for result in results), results
    assert sorted(result.replayed for result in results) == [False] + [True] * 5
    assert store.landed() == store.staged(sample_rows(2_000))
    assert store.ledger() == [("samples", 1, 2_000, 0)]


def test_a_rival_that_is_rolled_back_leaves_the_load_to_the_other(store: Store) -> None:
    plan = store.plan(sample_rows(10))
    session = store.destination.open(plan)
    with store.session() as rival:
        rival.execute("BEGIN")
        rival.execute(
            "INSERT INTO ownlens.loads (table_schema, table_name, sequence, load_id, digest, strategy, rows, bytes, "
            "contract_fingerprint, ownlens_version) VALUES ('public', 'samples', 1, 'x', 'y', 'append', 1, 1, 'f', 'v')"
        )
        done: list[LoadResult] = []
        receipts = [session.writer.write(part) for part in plan.parts]
        worker = threading.Thread(target=lambda: done.append(session.commit(receipts)))
        worker.start()
        store.wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'transactionid'")
        assert not done
        rival.execute("ROLLBACK")
        worker.join()
    assert done[0].inserted == 10


def test_loads_of_different_tables_and_first_opens_run_at_once(store: Store) -> None:
    contracts = [sample_contract(table=f"samples_{number}") for number in range(8)]
    plans = [store.plan(sample_rows(100), contract=contract) for contract in contracts]
    results = in_threads(8, lambda number: load(store.destination, plans[number]))
    assert [getattr(result, "inserted", result) for result in results] == [100] * 8


def test_a_new_session_after_an_aborted_one(store: Store) -> None:
    plan = store.plan(sample_rows(10))
    zombie = store.destination.open(plan)
    zombie.abort()
    zombie.close()
    assert load(store.destination, plan).inserted == 10
    for part in plan.parts:  # a writer that goes on changes nothing
        zombie.writer.write(part)
    assert store.landed() == store.staged(sample_rows(10))


def test_writers_and_plans_can_be_pickled_and_hold_no_secret(make_store: Callable[..., Store]) -> None:
    store = make_store(password="s3cr3t@/:'")
    plan = store.plan(sample_rows(3))
    session = store.destination.open(plan)
    pickled = pickle.dumps((plan, session.writer))
    assert b"s3cr3t" not in pickled
    copy, writer = pickle.loads(pickled)
    receipts = [writer.write(part) for part in copy.parts for _ in range(2)]
    assert session.commit(receipts[::2]).inserted == 3


def test_receipts_must_name_every_part(store: Store) -> None:
    plan = store.plan(sample_rows(10), parts=2)
    session = store.destination.open(plan)
    receipts = [session.writer.write(part) for part in plan.parts]
    with pytest.raises(Rejected, match="receipts for 1 of 2 parts"):
        session.commit(receipts[:1])
    with pytest.raises(Rejected, match="1 unknown"):
        session.commit([*receipts, Receipt("99999", 5)])
    assert store.landed() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_part_that_lost_rows_is_refused(store: Store, strategy: Strategy) -> None:
    plan = store.plan(sample_rows(10), strategy=strategy)
    short = replace(plan, parts=(replace(plan.parts[0], rows=plan.parts[0].rows + 1), *plan.parts[1:]))
    with pytest.raises(Rejected, match="11 rows are staged, but postgresql was sent 10"):
        load(store.destination, short)
    assert store.landed() == []
    assert store.ledger() == []


def damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("harm", [Path.unlink, damaged])
def test_a_missing_or_damaged_part_is_refused(store: Store, harm: Callable[[Path], None]) -> None:
    plan = store.plan(sample_rows(1_000), parts=3)
    harm(Path(plan.parts[2].uri))
    with pytest.raises(
        Rejected,
        match=r"samples: a part of staged set samples/00000001 .* load it anew with --full-refresh --tables samples",
    ):
        load(store.destination, plan)
    assert store.landed() == []
    assert store.ledger() == []


def test_a_refused_load_leaves_no_thread_and_no_connection(store: Store) -> None:
    contract = sample_contract(destinations={"postgresql": {"strategy": "append", "on_conflict": "error"}})
    store.load(sample_rows(1), contract=contract)
    with pytest.raises(Rejected):
        store.load(sample_rows(30_000), contract=contract, sequence=2, parts=20)
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    until = time.monotonic() + 10
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("ownlens")]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_empty_set_makes_the_table_and_the_ledger_row(store: Store, strategy: Strategy) -> None:
    result = store.load([], strategy=strategy)
    assert (result.rows, result.inserted, result.replayed) == (0, 0, False)
    assert store.landed() == []
    assert store.ledger() == [("samples", 1, 0, 0)]
    assert store.load([], strategy=strategy).replayed


def test_the_ledger_tells_what_happened(store: Store) -> None:
    store.load(sample_rows(10))
    plan = store.plan(sample_rows(6, first=6, version=1), sequence=2)
    result = load(store.destination, plan)
    facts = store.sql(
        "SELECT load_id, digest, strategy, rows, rows_inserted, rows_updated, rows_unchanged, rows_deleted, "
        "rows_rejected, bytes, contract_fingerprint, committed_at, seconds > 0 FROM ownlens.loads WHERE sequence = 2"
    )
    expected = ("samples/00000002", plan.digest, "upsert", 6, 2, 4, 0, 0, 0, plan.bytes, plan.contract.fingerprint)
    assert facts == [(*expected, result.committed_at, True)]
    table = store.sql("SELECT last_sequence, last_load_at, rows_loaded, columns ->> 'amount' FROM ownlens.tables")
    assert table == [(2, result.committed_at, 12, "decimal(18,4)?")]


def test_a_plan_for_another_destination_or_strategy_is_refused(store: Store) -> None:
    plan = store.plan(sample_rows(1))
    with pytest.raises(Rejected, match="no strategy replace_partition"):
        store.destination.open(replace(plan, strategy=Strategy.REPLACE_PARTITION))
    with pytest.raises(OwnLensError, match="another destination"):
        store.destination.open(replace(plan, options=object()))  # type: ignore[arg-type]
