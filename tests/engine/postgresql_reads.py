"""The table `reads` in a real PostgreSQL: rows that come, and runs that stage them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.engine.staging import StagingArea

from ..conftest import Database
from .staging_rows import ids

READS = """
CREATE TABLE reads (read_id bigint PRIMARY KEY, title text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())
"""


@pytest.fixture
def db(database: Database) -> Database:
    database.execute(READS)
    return database


def insert(db: Database, *read_ids: int, at: datetime | None = None) -> None:
    for read_id in read_ids:
        db.execute("INSERT INTO reads VALUES (%s, 't', coalesce(%s, now()), now())", (read_id, at))


def run(
    db: Database, area: StagingArea, contract: TableContract, *, source_moved: bool = False, **options: Any
) -> list[int] | None:
    """Stage the table's new rows as a run would, and return their ids."""
    with db.source(**options).snapshot() as snapshot:
        manifest = stage_table(contract, snapshot, area, source_moved=source_moved).manifest
    return None if manifest is None else sorted(ids(area, manifest))


@contextmanager
def open_transaction(db: Database, statement: str) -> Iterator[Any]:
    """A transaction of another session that has run a statement and not ended."""
    with db.connect() as connection:
        connection.execute(statement.encode())
        yield connection
