"""Servers for the session, an embedded ClickHouse for the module, and a world for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from tests.conftest import new_database
from tests.postgresql_servers import debian_programs, running_server

from .servers import SETTINGS, Cluster
from .stores import three_stores
from .tables import CLICKS, create
from .worlds import World


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
def holder(engine_path: Path) -> Iterator[Store]:
    """Keep the embedded engine open for a module: it takes a while to open, and a process can open one folder only."""
    holder = Store(ClickHouseConfig(interface="chdb", path=engine_path, database="default"))
    holder.run("SELECT 1")
    yield holder
    holder.close()


@pytest.fixture
def engine(holder: Store, engine_path: Path) -> Path:
    return engine_path


@contextmanager
def a_world(cluster: Cluster, targets: Path, engine: Path, folder: Path) -> Iterator[World]:
    """Make databases for one world, and drop them afterwards."""
    name = cluster.new_database()
    with new_database(targets) as target:
        world = World(cluster.primary, name, folder / name, three_stores(folder / name, target, engine, name))
        yield world
        world.close()
    with closing(Store(ClickHouseConfig(interface="chdb", path=engine, database="default"))) as store:
        store.run(f"DROP DATABASE IF EXISTS {name} SYNC")
    cluster.drop_database(name)


@pytest.fixture
def make_world(
    cluster: Cluster, postgresql_folder: Path, engine: Path, tmp_path: Path
) -> Iterator[Callable[[], World]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(a_world(cluster, postgresql_folder, engine, tmp_path))


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()


@pytest.fixture
def clicks(world: World) -> World:
    """A world whose source has a table of clicks, without rows."""
    world.execute(create(CLICKS))
    return world
