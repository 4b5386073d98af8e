"""What a load costs on Spark beside the same load by this process: `python -m benchmarks.spark [--rows N] [--parts N]`.

Into PostgreSQL and the lake, warm, each figure the best of three; then many small loads one after the other. The master
is local[2] unless --master names another, whose nodes must see the folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_plugins.engines import SparkConfig
from ownlens_plugins.spark.workers import SparkWorkers
from ownlens_plugins.testing import make_plan
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from . import lake, postgresql

TRIES, SMALL_LOADS, SMALL_ROWS = 3, 20, 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--master", default="local[2]")
    arguments = parser.parse_args()
    workers = SparkWorkers(SparkConfig(master=arguments.master))
    print(f"session: {_timed(workers.session):.1f} s")
    with tempfile.TemporaryDirectory() as folder, postgresql.server(Path(folder)) as host:
        _measure(workers, Path(folder), host, arguments.rows, arguments.parts)
    workers.close()


def _measure(workers: SparkWorkers, folder: Path, host: str, rows: int, parts: int) -> None:
    contract = lake.contract()
    table = lake.rows(contract.arrow_schema, rows)
    small = table.slice(0, SMALL_ROWS)
    for name in ("postgresql", "s3"):
        for spark in (False, True):
            who = "spark" if spark else "local"
            numbers = iter(range(1, 1000))

            def one(data: Any, pieces: int, name: str = name, spark: bool = spark, numbers: Any = numbers) -> float:
                number = next(numbers)
                store = _store(name, host, folder / f"{name}-{spark}-{number}", number, spark=spark)
                plan = make_plan(store, contract, data, folder / f"staged-{name}-{spark}-{number}", parts=pieces)
                return _timed(lambda: _load(store, plan, workers if spark else None))

            one(small, 1)  # tables, connections, imports
            best = min(one(table, parts) for _ in range(TRIES))
            print(f"{name} {who}: {rows / best:,.0f} rows/s", flush=True)
            seconds = sum(one(small, 1) for _ in range(SMALL_LOADS)) / SMALL_LOADS
            print(f"{name} {who}: {seconds:.2f} s a load of {SMALL_ROWS} rows", flush=True)


def _store(name: str, host: str, folder: Path, number: int, *, spark: bool) -> Destination[Any, Any]:
    if name == "s3":
        return S3Destination(S3Config(uri=str(folder)))
    return postgresql.destination(host, f"bench_{'spark' if spark else 'local'}_{number}")


def _load(store: Destination[Any, Any], plan: LoadPlan, workers: SparkWorkers | None) -> None:
    load(store, plan, map_parts=workers.mapping(plan) if workers else None)


def _timed(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
