"""Servers for the session, an embedded ClickHouse for the module, and a world for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from tests.conftest import new_database
from tests.postgresql_servers import debian_programs, running_server

from .servers import SETTINGS, Cluster
from .stores import three_stores
from .worlds import World

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_server(debian_programs(), tls=False, settings=SETTINGS) as server:
        cluster = Cluster(server)
        yield cluster
        cluster.close()


@pytest.fixture(scope="session")
def engine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth") / "clickhouse"


@pytest.fixture(scope="module")
def engine(engine_path: Path) -> Iterator[Path]:
    """Keep the embedded engine open for a module; a process can open one folder only."""
    holder = Store(ClickHouseConfig(interface="chdb", path=engine_path, database="default"))
    holder.run("SELECT 1")
    yield engine_path
    holder.close()


@pytest.fixture
def make_world(
    cluster: Cluster, postgresql_folder: Path, engine: Path, tmp_path: Path
) -> Iterator[Callable[[], World]]:
    with ExitStack() as stack:

        def make() -> World:
            name = cluster.new_database()
            stack.callback(cluster.drop_database, name)
            target = stack.enter_context(new_database(postgresql_folder))
            folder = tmp_path / name
            world = World(cluster.primary, name, folder, three_stores(folder, target, engine, name))
            stack.callback(world.close)
            return world

        yield make


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()
