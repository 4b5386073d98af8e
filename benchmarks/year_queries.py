"""A query of one day after a year of loads, beside the same query of a table that was written at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow.compute as pc
from deltalake import DeltaTable

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.destination import S3Destination

if TYPE_CHECKING:
    from benchmarks.year_world import YearWorld

TIMES = 41
Query = Callable[[], object]


def compare_queries(world: YearWorld) -> dict[str, str]:
    """Load the events once more into empty stores, and time the query there and in the stores of the year, in turns."""
    day = datetime.now(UTC).date() - timedelta(days=30)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    span = (start, start + timedelta(days=1))
    fresh = _fresh(world)
    fresh.load_events_only()
    fresh.maintain()  # as many days as in the stores of the year
    return {
        name: _compared(QUERIES[name](world.stores[name], span), QUERIES[name](fresh.stores[name], span))
        for name in world.stores
    }


def _fresh(world: YearWorld) -> YearWorld:
    world.target.execute("CREATE DATABASE fresh")
    changes: dict[str, tuple[Any, dict[str, str]]] = {
        "s3": (S3Destination, {"uri": str(world.folder / "fresh-lake")}),
        "postgresql": (PostgreSQLDestination, {"database": "fresh"}),
        "clickhouse": (ClickHouseDestination, {"database": "fresh"}),
    }
    stores: dict[str, Destination[Any, Any]] = {}
    for name, store in world.stores.items():
        kind, change = changes[name]
        stores[name] = kind(store.config.model_copy(update=change))
    return replace(world, stores=stores, staging=world.folder / "fresh-staging")


def _compared(year: Query, fresh: Query) -> str:
    assert year() == fresh()
    took: dict[Query, list[float]] = {year: [], fresh: []}
    for turn in range(2 * TIMES):
        query = (year, fresh)[turn % 2]
        begun = time.perf_counter()
        query()
        took[query].append(time.perf_counter() - begun)
    old, new = (statistics.median(took[query]) for query in (year, fresh))
    return f"{1000 * old:.2f} / {1000 * new:.2f} ms = {old / new:.2f}"


def _in_lake(store: Any, span: tuple[datetime, datetime]) -> Query:
    wanted = (pc.field("created_at") >= span[0]) & (pc.field("created_at") < span[1])

    def query() -> object:
        table = DeltaTable(f"{store.config.uri}/year/events").to_pyarrow_dataset().to_table(["amount"], filter=wanted)
        return table.num_rows

    return query


def _in_postgresql(store: Any, span: tuple[datetime, datetime]) -> Query:
    connection = psycopg.connect(
        host=store.config.host, dbname=store.config.database, user=store.config.user, autocommit=True
    )
    asked = "SELECT count(*), sum(amount) FROM events WHERE created_at >= %s AND created_at < %s"
    connection.execute("ANALYZE events")
    return lambda: connection.execute(asked, span).fetchall()[0][0]


def _in_clickhouse(store: Any, span: tuple[datetime, datetime]) -> Query:
    client = Store(store.config)
    first, last = (f"toDateTime64('{moment:%Y-%m-%d %H:%M:%S}', 6, 'UTC')" for moment in span)
    asked = (
        f"SELECT count(), sum(amount) FROM {store.config.database}.events "
        f"WHERE created_at >= {first} AND created_at < {last}"
    )
    return lambda: client.rows(asked)[0][0]


QUERIES: dict[str, Callable[[Any, tuple[datetime, datetime]], Query]] = {
    "s3": _in_lake,
    "postgresql": _in_postgresql,
    "clickhouse": _in_clickhouse,
}
