"""Parts that workers of other processes bring: nothing stays of a worker that goes on when its attempt is over."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.writer import ClickHouseWriter
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Retryable
from ownlens_plugins.testing import make_plan, sample_rows, sample_table

from .loads import STRATEGIES, Loads, comparable, sliced

STORES = ("chdb",)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Make a writer one of a process that knows nothing of the attempt."""

    def sent(writer: ClickHouseWriter) -> ClickHouseWriter:
        copy: ClickHouseWriter = pickle.loads(pickle.dumps(writer))
        monkeypatch.setattr(ClickHouseWriter, "_is_over", lambda _: False)
        return copy

    return sent


def planned(loads: Loads, strategy: Strategy) -> Any:
    contract = sliced(strategy)
    table = sample_table(contract, sample_rows(12))
    return make_plan(loads.destination, contract, table, loads.folder, parts=3), comparable(table)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_load_whose_parts_come_from_elsewhere(loads: Loads, elsewhere: Any, strategy: Strategy) -> None:
    plan, rows = planned(loads, strategy)

    def mapping(write: Any, parts: Any) -> Any:
        return [elsewhere(write.__self__).write(part) for part in parts]

    assert load(loads.destination, plan, map_parts=mapping).rows == 12
    assert load(loads.destination, plan, map_parts=mapping).replayed
    assert comparable(loads.destination.read(plan).read_all()) == rows
    assert loads.internal_tables() == []


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_worker_that_goes_on_takes_back_what_it_wrote(loads: Loads, elsewhere: Any, end: str) -> None:
    plan, _ = planned(loads, Strategy.APPEND)
    with loads.destination.open(plan) as session:
        writer = elsewhere(session.spread())
        receipts = [writer.write(part) for part in plan.parts]
        session.commit(receipts) if end == "commit" else session.abort()
        with pytest.raises(Retryable, match="this attempt is over"):
            writer.write(plan.parts[0])
    assert loads.internal_tables() == []


def test_the_attempt_ends_while_a_worker_writes(loads: Loads, elsewhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, rows = planned(loads, Strategy.APPEND)
    written, go_on = threading.Event(), threading.Event()
    look = Store.has_table

    def late(store: Store, table: str) -> bool:
        written.set()
        assert go_on.wait(20)
        return look(store, table)

    with loads.destination.open(plan) as session:
        writer = elsewhere(session.spread())
        receipts = [writer.write(part) for part in plan.parts]
        monkeypatch.setattr(Store, "has_table", late)
        errors: list[Exception] = []
        zombie = threading.Thread(target=lambda: errors.append(_error(lambda: writer.write(plan.parts[0]))))
        zombie.start()
        assert written.wait(20)
        session.commit(receipts)
        go_on.set()
        zombie.join()
    assert isinstance(errors[0], Retryable)
    assert loads.internal_tables() == []
    assert comparable(loads.destination.read(plan).read_all()) == rows


def _error(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is told by the test
        call()
    return caught.value  # type: ignore[no-any-return]


def test_a_dead_attempt_is_cleared_with_its_marker(loads: Loads, elsewhere: Any) -> None:
    plan, _ = planned(loads, Strategy.APPEND)
    with loads.destination.open(plan) as session:
        elsewhere(session.spread()).write(plan.parts[0])
    assert len(loads.internal_tables()) == 2
    load(loads.destination, plan)
    assert loads.internal_tables() == []
