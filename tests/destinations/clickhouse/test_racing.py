"""Loads at the same time: of one set, of several sets of a table, of several tables, and of attempts long given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import date
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from ownlens_clickhouse import attempts, settling, sql
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_clickhouse.turns import turn
from ownlens_plugins import faults
from ownlens_plugins.api import Covers, LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Retryable
from ownlens_plugins.testing import sample_rows

from .loads import STRATEGIES, Loads, day_rows, narrow


def _until_done(plan: LoadPlan, destination: ClickHouseDestination) -> LoadResult:
    """Load as the flow does: again after every error that says so."""
    for _ in range(30):
        try:
            return load(destination, plan)
        except Retryable:
            continue
    raise AssertionError("it never succeeded")


# How racers keep out of each other's way; `processes` takes the locks of this process away. Over HTTP, the suite and
# test_processes have real processes.
WAYS = ["alone", "shared", "processes"]


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "alone":
        request.getfixturevalue("shared")
    if request.param == "processes":
        _take_locks_away(monkeypatch)
    return str(request.param)


def _take_locks_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("session", "destination"):
        monkeypatch.setattr(f"ownlens_clickhouse.{module}.turn", lambda _: nullcontext())


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_set_from_many_threads_lands_once(loads: Loads, strategy: Strategy, way: str) -> None:
    contract = narrow(strategy)
    loads.load(contract, sample_rows(20))
    plan = loads.plan(contract, sample_rows(40, version=1), sequence=2)

    with ThreadPoolExecutor(4) as racers:
        results = list(racers.map(lambda _: _until_done(plan, ClickHouseDestination(loads.config)), range(4)))

    kept = sample_rows(20) if strategy is Strategy.APPEND else []
    assert loads.landed(contract) == loads.staged(contract, kept, sample_rows(40, version=1))
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
    assert sum(not result.replayed for result in results) <= 1
    assert {result.rows for result in results} == {40}
    loads.again(plan)
    assert loads.internal_tables() == []


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_many_sets_of_one_table_leave_what_their_order_means(loads: Loads, strategy: Strategy, way: str) -> None:
    """The position only grows: a set that a newer one overtook is skipped, whole, and says so."""
    contract = narrow(strategy)
    rows = {n: day_rows(10, day=1, first=n * 5, version=n) for n in range(1, 6)}
    plans = [loads.plan(contract, rows[n], sequence=n) for n in rows]
    loads.again(loads.plan(contract, [], sequence=0))

    with ThreadPoolExecutor(5) as racers:
        results = list(racers.map(lambda plan: _until_done(plan, ClickHouseDestination(loads.config)), plans))

    applied = [n for n, result in zip(rows, results, strict=True) if result.rows]
    assert applied[-1] == 5
    assert [entry[1] for entry in loads.ledger()] == [0, *applied]
    expected: list[dict[str, Any]] = []
    for n in applied:
        keys = {row["id"] for row in rows[n]}
        if strategy is Strategy.UPSERT:
            expected = [row for row in expected if row["id"] not in keys]
        elif strategy is not Strategy.APPEND:
            expected = []
        expected += rows[n]
    assert loads.landed(contract) == loads.staged(contract, expected)
    loads.again(plans[-1])
    assert loads.internal_tables() == []


def test_two_tables_do_not_wait_for_each_other(loads: Loads) -> None:
    one, two = (narrow(Strategy.APPEND, table=name) for name in ("one", "two"))
    plan = loads.plan(one, sample_rows(5))
    target = loads.destination._target(plan)
    with turn(target):
        assert loads.load(two, sample_rows(5)).rows == 5


def test_a_turn_that_does_not_come_is_given_up(make_loads: Callable[..., Loads]) -> None:
    loads = make_loads(turn_timeout=0.2)
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(5))
    with (
        turn(loads.destination._target(plan)),
        pytest.raises(Retryable, match=r"^samples: clickhouse: another load of this table has not finished committing"),
    ):
        loads.again(plan)
    assert loads.again(plan).rows == 5
    assert loads.internal_tables() == []


class Stopped:
    """Holds one thread at a fault point until it is let go."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._thread: threading.Thread | None = None
        self._go = threading.Event()
        self.reached = threading.Event()
        self.outcome: LoadResult | Exception | None = None

    def reach(self, point: str) -> bool:
        if point == self._point and threading.current_thread() is self._thread and not self.reached.is_set():
            self.reached.set()
            assert self._go.wait(60)
        return self.reached.is_set()

    @contextmanager
    def running(self, work: Callable[[], LoadResult]) -> Iterator[None]:
        """Run until the point, do the body meanwhile, then let go and wait for the end."""

        def catch() -> None:
            try:
                self.outcome = work()
            except Exception as error:
                self.outcome = error

        self._thread = threading.Thread(target=catch)
        self._thread.start()
        assert self.reached.wait(60)
        try:
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let the thread go on, and wait for its end."""
        assert self._thread is not None
        self._go.set()
        self._thread.join(60)


def _stop_at(monkeypatch: pytest.MonkeyPatch, point: str) -> Stopped:
    stopped = Stopped(point)
    monkeypatch.setattr(faults, "reach", stopped.reach)
    return stopped


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("interface", "point"),
    [
        *(("chdb", point) for point in ("before_commit", "commit_sent", "after_commit", "before_ledger")),
        ("http", "commit_sent"),
    ],
    indirect=["interface"],
)
def test_an_attempt_that_was_taken_over_changes_nothing_any_more(
    make_loads: Callable[..., Loads], monkeypatch: pytest.MonkeyPatch, shared: None, strategy: Strategy, point: str
) -> None:
    """A paused process, or one cut off from the network, goes on after others have finished its load and newer ones."""
    loads = make_loads(turn_timeout=0.2)
    _take_locks_away(monkeypatch)
    days = {} if strategy is Strategy.OVERWRITE else {"partition": "day"}
    contract = narrow(strategy, options={**narrow(strategy).options_for("clickhouse"), **days})
    loads.load(contract, sample_rows(20))
    first = loads.plan(contract, sample_rows(30, version=1), sequence=2)
    newer = day_rows(6, day=2, first=900, version=2)
    stopped = _stop_at(monkeypatch, point)

    with stopped.running(lambda: load(loads.destination, first)):
        _until_done(first, ClickHouseDestination(loads.config))
        _until_done(loads.plan(contract, newer, sequence=3), ClickHouseDestination(loads.config))
        landed, ledger = loads.landed(contract), loads.ledger()

    assert loads.landed(contract) == landed
    assert loads.ledger() == ledger
    assert [entry[1] for entry in ledger] == [1, 2, 3]
    assert isinstance(stopped.outcome, LoadResult)
    assert stopped.outcome.replayed
    loads.again(first)
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", [Strategy.REPLACE_PARTITION, Strategy.UPSERT])
@pytest.mark.parametrize("point", ["before_commit", "commit_sent", "after_commit", "before_ledger"])
def test_an_attempt_that_was_taken_over_takes_no_rows_out_any_more(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, shared: None, strategy: Strategy, point: str
) -> None:
    """The day that it was about to empty has rows of a newer load when it wakes up."""
    loads.destination = ClickHouseDestination(loads.config.model_copy(update={"turn_timeout": 0.2}))
    loads.config = loads.destination.config
    _take_locks_away(monkeypatch)
    contract = narrow(strategy, options={**narrow(strategy).options_for("clickhouse"), "partition": "day"})
    loads.load(contract, [*day_rows(5, day=1), *day_rows(5, day=2, first=10), *day_rows(5, day=3, first=20)])
    covers = Covers(column="day", days=tuple(date(2026, 1, day) for day in (1, 2)))
    first = loads.plan(contract, day_rows(2, day=1, version=1), sequence=2, covers=covers)
    newer = day_rows(6, day=2, first=900, version=2)
    stopped = _stop_at(monkeypatch, point)
    with stopped.running(lambda: load(loads.destination, first)):
        _until_done(first, ClickHouseDestination(loads.config))
        _until_done(loads.plan(contract, newer, sequence=3), ClickHouseDestination(loads.config))
    kept = [*day_rows(2, day=1, version=1), *day_rows(5, day=3, first=20)]
    assert loads.landed(contract) == loads.staged(contract, kept, newer)
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    loads.again(first)
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_attempt_that_is_being_taken_over_has_no_power_any_more(
    make_loads: Callable[..., Loads], monkeypatch: pytest.MonkeyPatch, shared: None, strategy: Strategy
) -> None:
    """It wakes up while the other is about to record the load: one of them must do it, not both."""
    loads = make_loads(turn_timeout=0.2)
    _take_locks_away(monkeypatch)
    contract = narrow(strategy)
    loads.load(contract, sample_rows(20))
    plan = loads.plan(contract, sample_rows(30, version=1), sequence=2)
    slow, other = Stopped("commit_sent"), Stopped("before_ledger")
    monkeypatch.setattr(faults, "reach", lambda point: [each.reach(point) for each in (slow, other)])

    with (
        slow.running(lambda: load(loads.destination, plan)),
        other.running(lambda: _until_done(plan, ClickHouseDestination(loads.config))),
    ):
        slow.let_go()

    assert isinstance(slow.outcome, Retryable)
    assert isinstance(other.outcome, LoadResult)
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
    kept = sample_rows(20) if strategy is Strategy.APPEND else []
    assert loads.landed(contract) == loads.staged(contract, kept, sample_rows(30, version=1))


def _sleeping(loads: Loads, store: Store, *, steps: int) -> threading.Thread:
    """Start a statement of 0.4 seconds a step that names a table, and wait until it runs."""
    query = f"SELECT sleepEachRow(0.4), '_ownlens_claim' FROM numbers({steps}) SETTINGS max_block_size = 1"

    def run() -> None:
        with suppress(DatabaseError):
            store.run(query)

    thread = threading.Thread(target=run)
    thread.start()
    while not loads.sql("SELECT count() FROM system.processes WHERE position(query, 'sleepEach') = 8")[0][0]:
        time.sleep(0.01)
    return thread


def test_a_claim_is_taken_over_only_when_its_last_statement_has_ended(loads: Loads) -> None:
    """A statement goes on in the server after the process that sent it has died."""
    target = loads.destination._target(loads.plan(narrow(Strategy.APPEND), []))
    gone = attempts.internal("samples", 1, "0123456789abcdef", "at0")
    last = _sleeping(loads, loads.store, steps=5)
    settling._silence(target, gone, "_ownlens_other")
    assert last.is_alive()
    settling._silence(target, gone, "_ownlens_claim")
    assert loads.sql("SELECT count() FROM system.processes WHERE position(query, 'sleepEach') = 8") == [(0,)]
    last.join()


@pytest.mark.parametrize("interface", ["http"], indirect=True)
def test_the_statements_of_a_dead_attempt_are_ended(loads: Loads) -> None:
    """They carry ids by which whoever takes over finds them; those of others go on."""
    target = loads.destination._target(loads.plan(narrow(Strategy.APPEND), []))
    gone, other = (attempts.internal("samples", 1, f"{n}123456789abcdef", "at0") for n in (0, 1))
    last = _sleeping(loads, target.for_attempt(gone).store, steps=100)
    running = loads.sql("SELECT query_id FROM system.processes WHERE position(query, 'sleepEach') = 8")
    assert running == [(f"{gone.statements}at0_1",)]
    settling._silence(target, other, "_ownlens_other")
    assert last.is_alive()
    start = time.monotonic()
    settling._silence(target, gone, "_ownlens_claim")
    last.join(10)
    assert time.monotonic() - start < 20  # the statement would have taken twice as long


def test_an_attempt_that_was_taken_over_deletes_nothing(loads: Loads, shared: None) -> None:
    """The repair of a partition is the one statement that could undo the rows of whoever took over."""
    contract = narrow(Strategy.APPEND)
    loads.load(contract, sample_rows(5))
    target = loads.destination._target(loads.plan(contract, []))
    statement = sql.delete_load(target.name, target.store.name("_ownlens_gone"), "202601", 1)
    with pytest.raises(Exception, match="UNKNOWN_TABLE"):
        loads.run(statement)
    assert len(loads.landed(contract)) == 5


def test_a_writer_that_goes_on_after_its_attempt_changes_nothing(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=2)
    for end in ("commit", "abort"):
        with loads.destination.open(plan) as attempt:
            receipts = [attempt.writer.write(part) for part in plan.parts]
            if end == "commit":
                attempt.commit(receipts)
            else:
                attempt.abort()
        with pytest.raises(Retryable, match="this attempt is over"):
            attempt.writer.write(plan.parts[0])
        plan = loads.plan(contract, sample_rows(10, first=50), sequence=2)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(10))
    assert loads.internal_tables() == []


@pytest.mark.parametrize("kept", [0, 1])
def test_a_part_written_twice_counts_once(loads: Loads, kept: int) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=2)
    with loads.destination.open(plan) as attempt:
        twice = [attempt.writer.write(plan.parts[0]) for _ in range(2)]
        attempt.commit([twice[kept], attempt.writer.write(plan.parts[1])])
    assert loads.landed(contract) == loads.staged(contract, sample_rows(10))
    assert loads.internal_tables() == []


def test_opening_leaves_the_tables_of_a_running_attempt_alone(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=1)
    with loads.destination.open(plan) as first:
        receipt = first.writer.write(plan.parts[0])
        with loads.destination.open(plan) as second:
            second.abort()
        assert first.commit([receipt]).inserted == 10
    assert loads.internal_tables() == []


def test_opening_clears_what_a_dead_process_left(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=1)
    dead = attempts.internal("samples", 1, "0123456789abcdef", "p1")
    loads.load(contract, [], sequence=0)
    loads.run(f"CREATE TABLE {loads.store.name(dead.name)} (a Int8) ENGINE = Memory")
    with loads.destination.open(plan):
        assert loads.internal_tables() == []


@pytest.mark.parametrize("end", ["closed", "forgotten"])
def test_an_abandoned_session_is_cleared_when_it_ends(loads: Loads, end: str) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=1)
    lost = loads.destination.open(plan)
    lost.writer.write(plan.parts[0])
    if end == "closed":
        lost.close()
    del lost
    assert loads.internal_tables() != []
    loads.again(plan)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(10))
    assert loads.internal_tables() == []


def test_errors_of_an_abort_do_not_hide_why(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10))
    monkeypatch.setattr(settling, "discard", _refuse)
    with loads.destination.open(plan) as attempt:
        attempt.abort()


def _refuse(*_: Any) -> None:
    raise OwnLensError("the store is gone")
