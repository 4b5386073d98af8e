"""Six processes at once: on the same staged set, and on different sets of one table."""

from __future__ import annotations

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import sample_rows

from .conftest import Store
from .load_once import start_load

STRATEGIES = [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_six_processes_load_one_set_into_a_new_database(store: Store, strategy: Strategy) -> None:
    plan = store.plan(sample_rows(3_000), strategy=strategy)
    processes = [start_load(store.config, plan) for _ in range(6)]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 6
    assert store.landed() == store.staged(sample_rows(3_000))
    assert store.ledger() == [("samples", 1, 3_000, 0)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_six_processes_load_six_sets_of_one_table(store: Store, strategy: Strategy) -> None:
    """A set that a newer one overtook is skipped whole; every other one is there whole."""
    plans = {
        number: store.plan(sample_rows(500, first=500 * number), sequence=number, strategy=strategy)
        for number in range(1, 7)
    }
    processes = [start_load(store.config, plan) for plan in plans.values()]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 6
    applied = [sequence for _, sequence, _, _ in store.ledger()]
    order = [row[0] for row in store.sql("SELECT sequence FROM ownlens.loads ORDER BY committed_at")]
    assert order == applied  # never an older one after a newer one
    assert applied[-1] == 6
    present = [6] if strategy is Strategy.OVERWRITE else applied
    assert store.landed() == store.staged([row for number in present for row in sample_rows(500, first=500 * number)])
    assert all(load(store.destination, plan).replayed for plan in plans.values())
