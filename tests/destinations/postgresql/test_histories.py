"""Random histories of one table in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing.machine import Subject, run_histories
from ownlens_postgresql.destination import PostgreSQLDestination

from . import test_conformance as suites
from .conftest import Store


@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE])
def test_any_history(make_store: Callable[..., Store], strategy: Strategy) -> None:
    suite = suites.TestPostgreSQL()

    def opened(_: Path) -> PostgreSQLDestination:
        suite.store = make_store()
        return suite.store.destination

    subject = Subject(opened, suite.contract(strategy), strategy, suite.traces, suites.KILL_POINTS[:-1])
    run_histories(subject, 2)
