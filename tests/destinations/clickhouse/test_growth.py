"""What a load, and a look for nothing new, cost does not grow with the loads before them."""

from __future__ import annotations

from typing import Any

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.ledger import _COLUMNS
from ownlens_plugins.contracts import Strategy

from .loads import STRATEGIES, Loads, day_rows, narrow

STORES = ["chdb"]
FEW, MANY = 10, 300
# A store that other processes write to as well is asked twice more whose turn it is, and named so twice.
MOST = {"chdb": 16, "http": 20}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("interface", MOST, indirect=True)
def test_a_load_and_a_look_for_nothing_new_take_few_statements(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    contract = narrow(strategy)
    loads.load(contract, day_rows(3, day=1), sequence=1, tag="1")
    sent: list[tuple[str, dict[str, Any]]] = []
    for name in ("rows", "run", "insert_parquet"):
        monkeypatch.setattr(Store, name, _noting(getattr(Store, name), sent))
    plan = loads.plan(contract, day_rows(3, day=1, first=3), sequence=2, tag="2", parts=1)
    assert not loads.again(plan).replayed
    assert len(sent) <= MOST[loads.config.interface], "\n".join(query for query, _ in sent)
    sent.clear()
    assert loads.destination.position(contract) == 2
    assert loads.again(plan).replayed
    assert len(sent) <= 4, "\n".join(query for query, _ in sent)


@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT])
def test_a_load_costs_the_same_after_many_others(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    """Statements, and granules of the ledger that they read, behind 10 and behind 300 loads."""
    sent: list[tuple[str, dict[str, Any]]] = []
    for name in ("rows", "run"):
        monkeypatch.setattr(Store, name, _noting(getattr(Store, name), sent))
    contract = narrow(strategy)
    loads.load(contract, day_rows(3, day=1), sequence=1, tag="1")
    figures = {}
    for behind in (FEW, MANY):
        _have_loaded(loads, behind)
        plan = loads.plan(contract, day_rows(3, day=1, first=3 * behind), sequence=behind + 1, tag=str(behind))
        sent.clear()
        assert not loads.again(plan).replayed
        assert loads.again(plan).replayed
        assert loads.destination.position(contract) == behind + 1
        statements = list(sent)
        figures[behind] = len(statements), sum(_granules(loads, *each) for each in statements)
    assert figures[MANY] == figures[FEW]
    assert figures[FEW][1] > 0


def _noting(original: Any, sent: list[tuple[str, dict[str, Any]]]) -> Any:
    def noted(self: Store, query: str, /, *more: Any, **values: Any) -> Any:
        sent.append((query, values))
        return original(self, query, *more, **values)

    return noted


def _granules(loads: Loads, query: str, values: dict[str, Any]) -> int:
    """Return how many granules of the ledger's parts a query looks at."""
    if not query.startswith("SELECT") or "_ownlens_ledger" not in query:
        return 0
    return sum(int(row[4]) for row in loads.sql(f"EXPLAIN ESTIMATE {query}", **values))


def _have_loaded(loads: Loads, last: int) -> None:
    """Give the ledger the entries of loads up to this one, each like the first but for its number, in one part."""
    ledger = loads.store.name("_ownlens_ledger")
    names = ", ".join(f"`{name}`" for name in _COLUMNS)
    chosen = ", ".join("number AS `sequence`" if name == "sequence" else f"`{name}`" for name in _COLUMNS)
    held = loads.sql(f"SELECT max(sequence) FROM {ledger}")[0][0]
    loads.run(
        f"INSERT INTO {ledger} ({names}) SELECT {chosen} FROM (SELECT * EXCEPT sequence FROM {ledger} "
        f"WHERE sequence = 1) AS one CROSS JOIN (SELECT number FROM numbers({held + 1}, {last - held})) AS others"
    )
    loads.run(f"OPTIMIZE TABLE {ledger} FINAL")
