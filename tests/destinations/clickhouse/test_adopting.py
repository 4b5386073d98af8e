"""A table whose ledger is lost is adopted by several processes at once, and beside loads: one row of the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import pytest

from ownlens_clickhouse import adopting, attempts
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_clickhouse.ledger import Ledger
from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable
from ownlens_plugins.testing import sample_rows

from .loads import Loads, narrow

WAYS = ["alone", "shared", "processes"]
CONTRACT = narrow(Strategy.UPSERT)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How rivals keep out of each other's way; `processes` takes the locks of this process away."""
    if request.param != "alone":
        request.getfixturevalue("shared")
    if request.param == "processes":
        for module in ("session", "destination", "adopting"):
            monkeypatch.setattr(f"ownlens_clickhouse.{module}.turn", lambda _: nullcontext())
    return str(request.param)


def outcome(work: Callable[[], LoadResult]) -> LoadResult | OwnLensError:
    """Try again after every error that says so."""
    for _ in range(30):
        try:
            return work()
        except Retryable:
            continue
        except OwnLensError as error:
            return error
    raise AssertionError("it never succeeded")


def lost(loads: Loads) -> None:
    """Load 20 rows, and lose the ledger."""
    loads.load(CONTRACT, sample_rows(20))
    loads.run(f"DROP TABLE {loads.store.name('_ownlens_ledger')} SYNC")
    loads.forget()


def at_once(loads: Loads, monkeypatch: pytest.MonkeyPatch, *plans: LoadPlan) -> list[LoadResult | OwnLensError]:
    """Adopt for several sets at once: all look before one of them writes, if nothing keeps them from it."""
    meeting = threading.Barrier(len(plans))
    record = Ledger._insert

    def late(self: Ledger, *given: object) -> None:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)
        record(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "_insert", late)
    with ThreadPoolExecutor(len(plans)) as racers:
        adopters = [ClickHouseDestination(loads.config) for _ in plans]
        calls = [lambda a=a, p=p: outcome(lambda: a.adopt(p, 20)) for a, p in zip(adopters, plans, strict=True)]
        return [each.result() for each in [racers.submit(call) for call in calls]]


def test_one_of_several_adopters_marks_the_set(loads: Loads, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost(loads)
    plan = loads.plan(CONTRACT, sample_rows(20), sequence=2)
    results = at_once(loads, monkeypatch, plan, plan, plan)
    assert all(isinstance(each, LoadResult) for each in results), results
    assert loads.ledger() == [("samples", 2, 20, 0)]
    assert loads.again(plan).replayed
    assert loads.internal_tables() == []


def test_of_two_sets_one_is_marked(loads: Loads, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost(loads)
    plans = [loads.plan(CONTRACT, sample_rows(20), sequence=number) for number in (2, 3)]
    results = at_once(loads, monkeypatch, *plans)
    (entry,) = loads.ledger()
    assert entry[1] in (2, 3)
    # A set that the other one is ahead of counts as done.
    assert entry[1] == 3 or isinstance(results[1], Rejected)
    assert loads.internal_tables() == []


def test_the_turn_of_an_adopter_that_died_is_taken_over(
    loads: Loads, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(loads)
    plan = loads.plan(CONTRACT, sample_rows(20), sequence=2)

    def die(self: Ledger, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "_insert", die)
        patched.setattr(adopting.settling, "discard", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            loads.destination.adopt(plan, 20)
    assert [attempts.parse(name).is_claim for name in loads.internal_tables()] == [True]  # type: ignore[union-attr]
    loads.destination.adopt(plan, 20)
    assert loads.ledger() == [("samples", 2, 20, 0)]
    assert load(loads.destination, loads.plan(CONTRACT, sample_rows(5, first=20), sequence=3)).inserted == 5
    assert loads.internal_tables() == []
