"""One embedded engine for the session, and a database of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse import sql
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig

from .loads import Loads

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def engine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the engine: a process can open one only."""
    return tmp_path_factory.mktemp("clickhouse") / "engine"


@pytest.fixture
def make_loads(engine_path: Path, tmp_path: Path) -> Iterator[Callable[..., Loads]]:
    made: list[Loads] = []

    def make(**settings: Any) -> Loads:
        database = settings.pop("database", f"test_{next(_NUMBERS)}")
        config = ClickHouseConfig(interface="chdb", path=engine_path, database=database, **settings)
        made.append(Loads(config, tmp_path))
        return made[-1]

    yield make
    for loads in made:
        loads.store.run(f"DROP DATABASE IF EXISTS {sql.identifier(loads.config.database)} SYNC")
        # The engine must be free for the other test modules of this process that open one elsewhere.
        loads.destination.close()


@pytest.fixture
def loads(make_loads: Callable[..., Loads]) -> Loads:
    return make_loads()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the destination take its turns as on a server that other processes write to."""
    monkeypatch.setattr(Store, "shared", True)
