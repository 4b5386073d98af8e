"""The process dies at every named point, or the server under it: a normal run afterwards gives each row once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Retryable
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import sample_contract, sample_rows
from ownlens_postgresql.connection import Connection

from .conftest import Store
from .load_once import start_load

CASES = {
    "copy": (Strategy.APPEND, "error", {}),
    "append": (Strategy.APPEND, "error", {"id": "parents.id"}),
    "upsert": (Strategy.UPSERT, "update", {"id": "parents.id"}),
    "overwrite": (Strategy.OVERWRITE, "update", {"id": "parents.id"}),
}
# A load comes by `abort` when it fails; it writes no parts before its commit.
REACHED = [point for point in POINTS if point not in {"abort", "part_written"}]
COMMITTED = {"commit_sent", "after_commit", "cleanup"}
State = tuple[Any, ...]
EXPECTED: dict[str, State] = {}
PARENT = sample_contract(preset="reference", table="parents", columns={"id": "int64", "updated_at": "timestamptz"})


def killed(store: Store, plan: LoadPlan, point: str) -> bool:
    """Load a plan in a process of its own that dies at a point; tell whether it did."""
    process = start_load(store.config, plan, f"{point}:kill")
    process.join(timeout=120)
    return process.exitcode == -signal.SIGKILL


def prepare(store: Store, case: str) -> tuple[TableContract, LoadPlan]:
    """Load a first set, and return the contract and the plan of a second one, some of whose rows lack parents."""
    strategy, on_conflict, references = CASES[case]
    block = {"strategy": strategy.value, "on_conflict": on_conflict}
    contract = sample_contract(extraction="whole", references=references, destinations={"postgresql": block})
    store.load(sample_rows(290), contract=PARENT)
    store.load(sample_rows(100), contract=contract)
    first = 100 if strategy is Strategy.APPEND else 50
    return contract, store.plan(sample_rows(200, first=first, version=1), contract=contract, sequence=2)


def state(store: Store, contract: TableContract) -> State:
    loads = store.sql(
        "SELECT sequence, digest, rows_inserted, rows_updated, rows_unchanged, rows_deleted, rows_rejected, "
        "committed_at FROM ownlens.loads WHERE table_name = 'samples' ORDER BY 1"
    )
    aside = store.sql("SELECT load_id, staged_row FROM ownlens.quarantine ORDER BY staged_row::text")
    left = store.sql("SELECT relname FROM pg_class WHERE relname LIKE '\\_ownlens%'")
    return store.landed(contract), loads, aside, left


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def expected(make_store: Callable[..., Store], case: str) -> State:
    """What an undisturbed load leaves, without its time."""
    if case not in EXPECTED:
        store = make_store()
        contract, plan = prepare(store, case)
        load(store.destination, plan)
        EXPECTED[case] = without_times(state(store, contract))
    return EXPECTED[case]


def without_times(found: State) -> State:
    landed, loads, aside, left = found
    return landed, [row[:-1] for row in loads], aside, left


@pytest.mark.parametrize("point", REACHED)
def test_sigkill_at_every_point(store: Store, expected: State, case: str, point: str) -> None:
    contract, plan = prepare(store, case)
    before = state(store, contract)
    assert killed(store, plan, point)
    committed = store.sql("SELECT count(*) FROM ownlens.loads WHERE table_name = 'samples' AND sequence = 2")[0][0]
    assert committed == (1 if point in COMMITTED else 0)
    if not committed:
        store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
        assert state(store, contract) == before
    result = load(store.destination, plan)
    assert result.replayed is (point in COMMITTED)
    after = state(store, contract)
    assert without_times(after) == expected
    assert load(store.destination, plan).replayed
    assert state(store, contract) == after


@pytest.mark.parametrize("point", REACHED)
def test_an_error_at_every_point(
    store: Store, expected: State, case: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error: the engine looks, and a load that is there counts as loaded."""
    contract, plan = prepare(store, case)
    monkeypatch.setenv("OWNLENS_FAULT", f"{point}:raise")
    if point in COMMITTED:
        assert load(store.destination, plan).replayed
    else:
        with pytest.raises(OSError, match=f"fault injected at {point}"):
            load(store.destination, plan)
    monkeypatch.delenv("OWNLENS_FAULT")
    load(store.destination, plan)
    assert without_times(state(store, contract)) == expected


def test_a_kill_during_abort_leaves_nothing_to_clear(store: Store) -> None:
    store.load(sample_rows(3))
    plan = store.plan(sample_rows(1, first=9), sequence=2)
    Path(plan.parts[0].uri).write_bytes(b"damaged")
    assert killed(store, plan, "abort")
    assert store.landed() == store.staged(sample_rows(3))
    assert store.load(sample_rows(2, first=9), sequence=2).inserted == 2


def test_the_backend_dies_before_each_statement_in_turn(
    store: Store, expected: State, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the connection before the first, second, ... statement of the load, COMMIT included."""
    contract, plan = prepare(store, case)
    before = state(store, contract)
    store.remember()
    answer = Connection._answer
    deaths = landed = 0
    while (outcome := loaded_with_a_death(store, plan, deaths, monkeypatch)) is not Outcome.UNDISTURBED:
        monkeypatch.setattr(Connection, "_answer", answer)
        if outcome is Outcome.LANDED:  # the connection died at its end, or after COMMIT
            assert without_times(state(store, contract)) == expected
            store.restore()
            landed += 1
        else:
            assert state(store, contract) == before
        deaths += 1
    monkeypatch.setattr(Connection, "_answer", answer)
    assert without_times(state(store, contract)) == expected
    assert deaths >= 20
    assert 1 <= landed <= 5


class Outcome(Enum):
    FAILED = 1
    LANDED = 2
    UNDISTURBED = 3


def loaded_with_a_death(store: Store, plan: LoadPlan, after: int, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Load, while the server ends the connection after so many of the driver's calls."""
    answer = Connection._answer
    calls = 0

    def dying(self: Connection, function: Callable[[], Any], seconds: float) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            store.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ownlens'")
        return answer(self, function, seconds)

    monkeypatch.setattr(Connection, "_answer", dying)
    try:
        load(store.destination, plan)
    except Retryable:
        return Outcome.FAILED
    return Outcome.LANDED if calls > after else Outcome.UNDISTURBED


def test_two_processes_and_a_kill(store: Store) -> None:
    """A killed rival's lock goes with it."""
    store.load([])
    plan = store.plan(sample_rows(2_000), sequence=2)
    with store.session() as rival:
        rival.execute("BEGIN; SELECT FROM ownlens.tables FOR UPDATE")
        process = start_load(store.config, plan)
        store.wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'", seconds=30)
        process.kill()
        process.join()
        worker = threading.Thread(target=lambda: load(store.destination, plan))
        worker.start()
        rival.execute("COMMIT")
        worker.join(timeout=30)
    assert store.landed() == store.staged(sample_rows(2_000))
    assert store.ledger() == [("samples", 1, 0, 0), ("samples", 2, 2_000, 0)]
