"""Show the rows that the ledger's quarantine keeps aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa

from . import sql
from .connection import Connection
from .database import Database
from .errors import is_missing
from .ledger import Ledger

_SCHEMA = pa.schema([(name, pa.string()) for name in ("reason", "row", "load_id")])


def _quarantine(ledger: Ledger) -> str:
    return sql.qualified(ledger.schema, "quarantine")


def counts(database: Database, ledger: Ledger, schema: str) -> Mapping[str, Mapping[str, int]]:
    """Return the rows kept aside for the tables of one schema, by table and reason."""
    found: dict[str, dict[str, int]] = {}
    query = (
        f"SELECT table_name, reason, count(*) FROM {_quarantine(ledger)} WHERE table_schema = $1::text "
        "GROUP BY 1, 2 ORDER BY 1, 3 DESC"
    )
    with _reading(database, None) as connection:
        for table, reason, rows in _run(connection, query, schema):
            found.setdefault(table, {})[reason] = rows
    return found


def rows(database: Database, ledger: Ledger, schema: str, table: str) -> pa.RecordBatchReader:
    """Stream the rows kept aside for a table, oldest first."""
    query = (
        f"SELECT reason, staged_row::text AS row, load_id FROM {_quarantine(ledger)} "
        f"WHERE table_schema = {sql.literal(schema)} AND table_name = {sql.literal(table)} ORDER BY id"
    )
    batches = _batches(database, query, table)
    # The first batch now, so that a refusal is an error here and not inside Arrow.
    first = next(batches, None)
    return pa.RecordBatchReader.from_batches(_SCHEMA, batches if first is None else chain([first], batches))


def _batches(database: Database, query: str, table: str) -> Iterator[pa.RecordBatch]:
    with _reading(database, table) as connection:
        try:
            for batch in connection.stream(query):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=_SCHEMA)
        except Exception as error:
            if not is_missing(error):  # nothing was loaded into this database yet
                raise


@contextmanager
def _reading(database: Database, table: str | None) -> Iterator[Connection]:
    with database.transaction(database.context(table), reading=True) as connection:
        yield connection


def _run(connection: Connection, query: str, schema: str) -> list[tuple[str, str, int]]:
    try:
        found: list[tuple[str, str, int]] = connection.run(query, schema)
    except Exception as error:
        if not is_missing(error):
            raise
        return []
    return found
