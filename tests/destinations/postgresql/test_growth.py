"""What a load, and a look for nothing new, cost does not grow with the loads before them."""

from __future__ import annotations

import pytest

from ownlens_plugins.engine.loading import load
from ownlens_postgresql.connection import Connection

from .conftest import Store
from .test_maintenance import contract, row

FEW, MANY = 10, 300


@pytest.mark.parametrize("preset", ["events", "entity"])
def test_a_load_costs_the_same_after_many_others(store: Store, monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    """Statements, and rows of the ledger that are read, behind 10 and behind 300 loads."""
    statements: list[str] = []
    run = Connection.run
    monkeypatch.setattr(Connection, "run", lambda self, *a, **k: (statements.append(a[0]), run(self, *a, **k))[1])
    mine = contract(preset=preset)
    load(store.destination, store.plan([row(1, 1)], contract=mine, sequence=1, parts=1))
    figures = {}
    for behind in (FEW, MANY):
        _have_loaded(store, behind)
        plan = store.plan([row(behind + 1, 1)], contract=mine, sequence=behind + 1, parts=1)
        before = _read(store)
        statements.clear()
        assert not load(store.destination, plan).replayed
        assert load(store.destination, plan).replayed
        assert store.destination.position(mine) == behind + 1
        figures[behind] = len(statements), _read(store) - before
    assert figures[MANY][0] == figures[FEW][0]
    assert figures[MANY][1] <= figures[FEW][1] + 3


def _have_loaded(store: Store, last: int) -> None:
    """Give the ledger the entries of loads up to this one, each like the first but for its number."""
    store.sql(
        "INSERT INTO ownlens.loads SELECT (jsonb_populate_record(l, jsonb_build_object('sequence', n))).* "
        "FROM ownlens.loads AS l, generate_series(2, %s::bigint) AS n WHERE l.sequence = 1 ON CONFLICT DO NOTHING",
        last,
    )
    store.sql("ANALYZE ownlens.loads")


def _read(store: Store) -> int:
    """Return how many rows of the ledger have been read so far."""
    store.sql("SELECT pg_sleep(0.3)")
    read = "sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int"
    return int(store.sql(f"SELECT {read} FROM pg_stat_user_tables WHERE schemaname = 'ownlens'")[0][0] or 0)
