"""What a load costs does not grow with the loads before it."""

from __future__ import annotations

import pytest

from ownlens_plugins.engine.loading import load
from ownlens_postgresql.connection import Connection

from .conftest import Store
from .test_maintenance import contract, row


def test_a_load_costs_the_same_after_many_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements, and rows of the ledger that are read, at 10 and at 200 loads."""
    statements: list[str] = []
    run = Connection.run
    monkeypatch.setattr(Connection, "run", lambda self, *a, **k: (statements.append(a[0]), run(self, *a, **k))[1])
    mine = contract(preset="events")
    figures = {}
    for number in range(1, 201):
        plan = store.plan([row(number, 1)], contract=mine, sequence=number, parts=1)
        before = _read(store) if number in (10, 200) else 0
        statements.clear()
        load(store.destination, plan)
        if number in (10, 200):
            figures[number] = len(statements), _read(store) - before
    assert figures[200][0] == figures[10][0]
    assert figures[200][1] <= figures[10][1] + 3


def _read(store: Store) -> int:
    """Return how many rows of the ledger have been read so far."""
    store.sql("SELECT pg_sleep(0.3)")
    read = "sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int"
    return int(store.sql(f"SELECT {read} FROM pg_stat_user_tables WHERE schemaname = 'ownlens'")[0][0] or 0)
