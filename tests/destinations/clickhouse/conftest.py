"""The stores that tests run on, and a database of its own for each test.

A test runs on the embedded engine, and also over HTTP if its module says `STORES = EVERYWHERE`. The server is a
development server with the real engine behind it, or a real one that OWNLENS_TEST_CLICKHOUSE_URL names, such as
`https://user:password@host:8443/?ca_cert=/path/ca.pem`.
"""

from __future__ import annotations

import gc
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from ownlens_clickhouse import client, sql
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_sandbox.clickhouse_http import start_clickhouse

from .loads import EMBEDDED, Loads

_NUMBERS = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition.iter_markers("parametrize")
    chosen = any("interface" in str(mark.args[0]) for mark in marks)
    if "interface" in metafunc.fixturenames and not chosen:
        metafunc.parametrize("interface", getattr(metafunc.module, "STORES", EMBEDDED), indirect=True)


@pytest.fixture
def interface(request: pytest.FixtureRequest) -> str:
    """The store that the test runs on: `chdb` or `http`."""
    return str(request.param)


@pytest.fixture(scope="session")
def engine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the engine: a process can open one only."""
    return tmp_path_factory.mktemp("clickhouse") / "engine"


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, engine_path: Path) -> Iterator[Path]:
    """Keep the engine open for a module: it takes a while to open, and leaves threads and files when it is closed."""
    holder = Store(ClickHouseConfig(interface="chdb", path=engine_path, database="default"))
    if getattr(request.module, "ENGINE_STAYS_OPEN", True):
        holder.run("SELECT 1")
    yield engine_path
    # The engine must be free for the other test modules of this process that open one elsewhere. A client that was lent
    # when its pool was closed is closed once it comes back: those of sessions and readers that nobody ended come now.
    gc.collect()
    for pool in [*client._POOLS.values()]:
        pool.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """How to connect to a server: settings of `ClickHouseConfig`."""
    if url := os.environ.get("OWNLENS_TEST_CLICKHOUSE_URL"):
        yield _settings(url)
        return
    login = {"user": "loader", "password": "p@ss:w/%'\""}
    running = start_clickhouse(tmp_path_factory.mktemp("clickhouse") / "server", **login)
    yield {"host": "127.0.0.1", "port": running.port, **login}
    running.stop()


def _settings(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    login = {"user": unquote(parts.username or "default"), "password": unquote(parts.password or "")}
    place = {"host": parts.hostname, "port": parts.port, "secure": parts.scheme == "https"}
    return {**place, **login, **dict(parse_qsl(parts.query))}


@pytest.fixture
def make_loads(interface: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Loads]]:
    made: list[Loads] = []
    place: dict[str, Any] = {}
    if interface == "http":
        place, name = request.getfixturevalue("server"), f"test_{secrets.token_hex(4)}"
    else:
        place["path"], name = request.getfixturevalue("engine"), "test"

    def make(**settings: Any) -> Loads:
        database = settings.pop("database", f"{name}_{next(_NUMBERS)}")
        config = ClickHouseConfig(interface=interface, database=database, **place, **settings)
        made.append(Loads(config, tmp_path))
        return made[-1]

    yield make
    for loads in made:
        loads.store.run(f"DROP DATABASE IF EXISTS {sql.identifier(loads.config.database)} SYNC")
        loads.destination.close()


@pytest.fixture
def loads(make_loads: Callable[..., Loads]) -> Loads:
    return make_loads()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the destination take its turns as on a server that other processes write to."""
    monkeypatch.setattr(Store, "shared", True)
