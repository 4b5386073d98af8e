"""One Prefect server for all flow tests, and a small project: three tables, CSV source, lake and PostgreSQL."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ownlens_cli.environment import quiet_dependencies

CONTRACTS = {
    "authors": """
preset: reference
key: [author_id]
columns: {author_id: int32, name: text, updated_at: timestamptz}
""",
    "articles": """
preset: entity
key: [article_id]
partition_by: created_at
columns: {article_id: int64, author_id: int32, title: 'text?', created_at: timestamptz, updated_at: timestamptz}
references: {author_id: authors.author_id}
checks:
  - expect_column_value_lengths_to_be_between: {column: title, min_value: 1}
""",
    "reads": """
preset: events
key: [read_id]
partition_by: read_date
columns: {read_id: int64, article_id: 'int64?', read_date: date, seconds: int32, created_at: timestamptz}
references: {article_id: articles.article_id}
""",
}
ROWS = {
    "authors": "author_id,name,updated_at\n1,Ada,2026-01-01 00:00:00Z\n2,Bo,2026-01-01 00:00:00Z\n",
    "articles": (
        "article_id,author_id,title,created_at,updated_at\n"
        "10,1,First,2026-01-01 08:00:00Z,2026-01-01 08:00:00Z\n"
        "11,2,Second,2026-01-02 08:00:00Z,2026-01-02 09:00:00Z\n"
    ),
    "reads": (
        "read_id,article_id,read_date,seconds,created_at\n"
        "100,10,2026-01-02,30,2026-01-02 10:00:00Z\n"
        "101,11,2026-01-02,40,2026-01-02 11:00:00Z\n"
        "102,,2026-01-03,50,2026-01-03 11:00:00Z\n"
    ),
}


@pytest.fixture(scope="package", autouse=True)
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    quiet_dependencies()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    # The heartbeat's thread sleeps a second at the end of every flow.
    quiet = temporary_settings({PREFECT_HOME: home, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with quiet, prefect_test_harness(server_startup_timeout=240):
        yield


@pytest.fixture(scope="session")
def warehouse() -> Iterator[dict[str, Any]]:
    """A PostgreSQL server for the loads of this folder's tests."""
    from ownlens_sandbox.servers import address, start_server

    # Not below pytest's own folder: another test session closes that to the user whom the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="ownlens-warehouse-"))
    folder.chmod(0o755)
    server = start_server(folder / "data")
    host, port = address(server.get_uri())
    yield {"host": host, "port": port, "user": "postgres"}
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(warehouse: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A database of its own for each test."""
    name = f"d{abs(hash(tmp_path))}"
    with psycopg.connect(**warehouse, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return {**warehouse, "database": name}


@dataclass(frozen=True)
class Project:
    """A project folder with its own database schema."""

    folder: Path
    database: dict[str, Any]

    @property
    def config(self) -> str:
        return str(self.folder / "ownlens.toml")

    def write_table(self, table: str, text: str) -> None:
        (self.folder / "data" / f"{table}.csv").write_text(text)

    def add_line(self, table: str, line: str) -> None:
        with (self.folder / "data" / f"{table}.csv").open("a") as file:
            file.write(line + "\n")

    def write_contract(self, table: str, body: str) -> None:
        head = f"table: {table}\ndomain: press\npath: press/{table}\n"
        (self.folder / "contracts" / "press" / f"{table}.yaml").write_text(head + body)

    def write_config(self, **postgresql: Any) -> None:
        database = {**self.database, "schema": "press", **postgresql}
        lines = [f"{name} = {json.dumps(value)}" for name, value in database.items()]
        (self.folder / "ownlens.toml").write_text(
            f"""
[profiles.default]
contracts = "{self.folder}/contracts"
staging = "{self.folder}/staging"
log_file = "{self.folder}/ownlens.log"
lag_seconds = 0
retries = 1
retry_delay_seconds = 0.1
[profiles.default.source]
kind = "files"
folder = "{self.folder}/data"
[profiles.default.destinations.s3]
uri = "{self.folder}/lake"
[profiles.default.destinations.postgresql]
"""
            + "\n".join(lines)
            + "\n"
        )

    def load(self, *arguments: str, flow: bool = False) -> int:
        """Run `ownlens load` in this process, alone or as a flow run on these tests' server; return its exit code."""
        from ownlens_cli.main import run

        return run(["load", "--config", self.config, "--flow" if flow else "--no-flow", *arguments])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the PostgreSQL destination by another road than ours."""
        names = {"database": "dbname"}
        with psycopg.connect(**{names.get(name, name): value for name, value in self.database.items()}) as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def project(tmp_path: Path, database: dict[str, Any]) -> Project:
    made = Project(tmp_path, database)
    (tmp_path / "data").mkdir()
    (tmp_path / "contracts" / "press").mkdir(parents=True)
    for table, body in CONTRACTS.items():
        made.write_contract(table, body)
        made.write_table(table, ROWS[table])
    made.write_config()
    return made
