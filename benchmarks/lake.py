"""Delta append through the load protocol, beside delta-rs appending the same rows from memory, in one run."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake

from ownlens_plugins.contracts import TableContract, contract_from
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import make_plan
from ownlens_s3.columns import to_lake
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from .figures import figures

DAYS = 60
ROWS_PER_PART = 500_000
ROUNDS = 3
_START = np.datetime64("2026-01-01T00:00:00", "us")


def contract() -> TableContract:
    """Return an events table as newsrooms have them, partitioned by day."""
    return contract_from(
        {
            "table": "bench_events",
            "domain": "bench",
            "preset": "events",
            "key": ["event_id"],
            "partition_by": "event_at",
            "path": "bench/events",
            "columns": {
                "event_id": "uuid",
                "user_id": "int64",
                "article_id": "int64?",
                "kind": "enum(view, click, share, comment)",
                "url": "text",
                "payload": "json?",
                "seconds": "float64",
                "position": "int32",
                "is_mobile": "bool",
                "event_at": "timestamptz",
                "created_at": "timestamptz",
            },
        }
    )


def rows(schema: pa.Schema, count: int) -> pa.Table:
    """Return `count` seeded events over 60 days, in order of time."""
    random = np.random.default_rng(7)
    micros = np.sort(random.integers(0, DAYS * 86_400_000_000, count))
    moments = pa.array(_START + micros.astype("timedelta64[us]")).cast(pa.timestamp("us", "UTC"))
    kinds = np.array(["view", "click", "share", "comment"])
    uuids = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(random.bytes(16 * count))])
    payload = pa.array([f'{{"depth": {n}}}' for n in range(100)]).take(pa.array(random.integers(0, 100, count)))
    columns = [
        pa.ExtensionArray.from_storage(pa.uuid(), uuids),
        pa.array(random.integers(0, 200_000, count)),
        pa.array(random.integers(0, 20_000, count)),
        pa.array(kinds[random.integers(0, 4, count)]),
        pa.array(np.char.add("https://news.example/story/", random.integers(0, 20_000, count).astype(str))),
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), payload),
        pa.array(random.gamma(2.0, 30.0, count)),
        pa.array(random.integers(0, 50, count).astype(np.int32)),
        pa.array(random.random(count) < 0.7),
        moments,
        moments,
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def measure(rows_count: int, workdir: Path) -> dict[str, Any]:
    """Append `rows_count` rows both ways, alternating, and return rows per second and their ratio.

    Ours reads the staged Parquet parts, converts, writes, syncs the files to disk and commits with its marker; the
    limit writes the converted rows from memory. Each figure is the median of three rounds.
    """
    described = contract()
    table = rows(described.arrow_schema, rows_count)
    destination = S3Destination(S3Config(uri=str(workdir / "lake")))
    parts = max(1, -(-rows_count // ROWS_PER_PART))
    plan = make_plan(destination, described, table, workdir / "staged", parts=parts)
    plain = _plain(described, table)
    ours, limit = [], []
    for number in range(ROUNDS):
        shutil.rmtree(workdir / "lake", ignore_errors=True)
        ours.append(_seconds(lambda: load(destination, plan)))
        limit.append(_seconds(lambda n=number: _delta_rs(plain, workdir / f"plain{n}")))  # type: ignore[misc]
        shutil.rmtree(workdir / f"plain{number}")
    return _figures(rows_count, statistics.median(ours), statistics.median(limit))


def _plain(described: TableContract, table: pa.Table) -> pa.Table:
    batches = [to_lake(described, batch) for batch in table.combine_chunks().to_batches()]
    lake = pa.Table.from_batches(batches)
    return lake.append_column("_ownlens_day", lake["event_at"].cast(pa.date32()))


def _delta_rs(table: pa.Table, folder: Path) -> None:
    write_deltalake(
        folder,
        table,
        mode="append",
        partition_by=["_ownlens_day"],
        writer_properties=WriterProperties(compression="ZSTD"),
    )


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _figures(count: int, ours: float, limit: float) -> dict[str, Any]:
    return figures(
        count, ours=ours, limit=limit, what="delta append, 60 day partitions", limited_by="delta-rs append from memory"
    )
