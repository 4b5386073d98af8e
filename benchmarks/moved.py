"""A Delta merge in which one row in a hundred changes its partition, beside the same merge without, in one run."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import TableContract, contract_from
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import make_plan
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from .figures import figures
from .lake import rows

DAYS = 60
MOVED = 0.01
SHARE = 0.1
ROUNDS = 3


def contract() -> TableContract:
    """Return a table of sessions, keyed by random uuids and partitioned by the day that they were last seen."""
    columns = {
        "session_id": "uuid",
        "user_id": "int64",
        "article_id": "int64?",
        "kind": "enum(view, click, share, comment)",
        "url": "text",
        "payload": "json?",
        "seconds": "float64",
        "position": "int32",
        "is_mobile": "bool",
        "event_at": "timestamptz",
        "updated_at": "timestamptz",
    }
    document = {"table": "bench_sessions", "domain": "bench", "preset": "entity", "path": "bench/sessions"}
    lake = {"s3": {"strategy": "upsert", "format": "delta", "partition": "day"}}
    return contract_from(
        {**document, "key": ["session_id"], "partition_by": "event_at", "columns": columns, "destinations": lake}
    )


def measure(rows_count: int, workdir: Path) -> dict[str, Any]:
    """Merge a tenth of the rows both ways, alternating, into copies of one table of `rows_count` rows.

    The staged rows are the newest ones and new values for rows of all days. "Moved" puts one in a hundred of them on
    another day. Each figure is the median of three rounds.
    """
    described = contract()
    held = rows(described.arrow_schema, rows_count)
    destination = S3Destination(S3Config(uri=str(workdir / "lake")))
    load(destination, make_plan(destination, described, held, workdir / "staged", parts=2))
    shutil.copytree(workdir / "lake", workdir / "kept")
    still, moved = (
        make_plan(destination, described, _changes(held, share), workdir / f"set-{share}", sequence=2)
        for share in (0.0, MOVED)
    )
    without, with_moves = [], []
    for _ in range(ROUNDS):
        without.append(_seconds(destination, still, workdir))
        with_moves.append(_seconds(destination, moved, workdir))
    return _figures(still.rows, statistics.median(with_moves), statistics.median(without))


def _changes(held: pa.Table, moved: float) -> pa.Table:
    """Return newer rows for a tenth of the table, a share of them on another day."""
    random = np.random.default_rng(11)
    chosen = np.sort(random.choice(held.num_rows, int(held.num_rows * SHARE), replace=False))
    taken = held.take(pa.array(chosen)).combine_chunks()
    micros = taken["event_at"].cast(pa.int64()).to_numpy()
    shifted = np.where(random.random(len(micros)) < moved, micros - 86_400_000_000, micros)
    newer = taken["updated_at"].cast(pa.int64()).to_numpy() + 1
    kind = held.schema.field("event_at").type
    for name, values in (("event_at", shifted), ("updated_at", newer)):
        place = taken.schema.get_field_index(name)
        taken = taken.set_column(place, held.schema.field(name), pa.array(values).cast(kind))
    return taken


def _seconds(destination: S3Destination, plan: LoadPlan, workdir: Path) -> float:
    shutil.rmtree(workdir / "lake")
    shutil.copytree(workdir / "kept", workdir / "lake")
    start = time.perf_counter()
    result = load(destination, plan)
    seconds = time.perf_counter() - start
    assert (result.inserted, result.updated) == (0, plan.rows)
    return seconds


def _figures(count: int, ours: float, limit: float) -> dict[str, Any]:
    return figures(
        count,
        ours=ours,
        limit=limit,
        what="delta merge of a tenth of the rows, 60 day partitions, 1 % of them moved",
        limited_by="the same merge with no row moved",
    )
