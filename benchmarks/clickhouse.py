"""ClickHouse append through the load protocol, beside the engine's own INSERT ... SELECT of the same files."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ownlens_clickhouse import sql
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.definition import TableDefinition, define
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import contract_from
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import make_plan

from .figures import figures
from .lake import ROUNDS, ROWS_PER_PART, contract, rows


def measure(rows_count: int, workdir: Path) -> dict[str, Any]:
    """Append `rows_count` rows both ways, alternating, and return rows per second and their ratio.

    Ours is everything that a load does: staging the Parquet parts, attaching, counting and the ledger. The limit is one
    statement that reads the same files into an empty table of the same definition. Each figure is the median of three
    rounds.
    """
    described = contract()
    config = ClickHouseConfig(interface="chdb", path=workdir / "engine")
    destination = ClickHouseDestination(config)
    parts = max(1, -(-rows_count // ROWS_PER_PART))
    plan = make_plan(destination, described, rows(described.arrow_schema, rows_count), workdir / "staged", parts=parts)
    _warm(destination, workdir)
    store, ours, limit = Store(config), [], []
    for number in range(ROUNDS):
        limit.append(_seconds(_limit(store, plan, f"plain_{number}")))
        ours.append(_seconds(lambda: load(destination, plan)))
        assert store.rows(f"SELECT count() FROM {store.name(f'plain_{number}')}") == [(rows_count,)]
        for table in (plan.table, f"plain_{number}", "_ownlens_ledger"):
            store.run(sql.drop(store.name(table)))
        destination.close()
    return _figures(rows_count, statistics.median(ours), statistics.median(limit))


def _warm(destination: ClickHouseDestination, workdir: Path) -> None:
    # Starting the engine and its first statements belongs to neither side.
    described = contract_from({**contract().describe(), "table": "warm", "path": "bench/warm"})
    load(destination, make_plan(destination, described, rows(described.arrow_schema, 1000), workdir / "staged"))


def _limit(store: Store, plan: LoadPlan, name: str) -> Callable[[], None]:
    defined = define(plan)
    store.run(sql.create_target(store.name(name), defined))
    files = str(Path(plan.parts[0].uri).with_name("*.parquet"))
    columns = [column for column in defined.columns if not column.hidden]
    statement = (
        f"INSERT INTO {store.name(name)} ({sql.identifiers(column.name for column in columns)}) "
        f"SELECT * FROM file({sql.literal(files)}, 'Parquet', {sql.literal(_structure(defined))})"
    )
    return lambda: store.run(statement)


def _structure(defined: TableDefinition) -> str:
    return ", ".join(f"{sql.identifier(column.name)} {column.type}" for column in defined.columns if not column.hidden)


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _figures(count: int, ours: float, limit: float) -> dict[str, Any]:
    return figures(
        count,
        ours=ours,
        limit=limit,
        what="append, 2 month partitions, embedded engine",
        limited_by="INSERT ... SELECT FROM file() of the same files",
    )
