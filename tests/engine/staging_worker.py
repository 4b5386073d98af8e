"""Stages `reads` in a process of its own, which a test may kill: `staging_worker AREA POINT FIRST COUNT`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ownlens_plugins.engine import staging
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.object_store import S3Folder
from ownlens_plugins.registry import Registry
from ownlens_plugins.storage import LocalFolder

from .staging_rows import SCHEMA, WINDOW, reads, rows


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches
    die()


def main(area: str, point: str, first: int, count: int) -> str:
    table = pa.Table.from_pylist(rows(*range(first, first + count)), SCHEMA)
    batches: Any = iter(table.to_batches(max_chunksize=100))
    if point == "reading":
        batches = dying(batches)
    elif point == "unique":
        staging.find_doubles = die
    elif point == "upload":
        staging.publish_folder = die
    elif point == "uploaded":
        upload = staging._copy
        staging._copy = lambda *to: die(upload(*to))
    elif point == "publish":
        LocalFolder.create = S3Folder.create = die  # type: ignore[method-assign,assignment]
    extracted = Extracted(pa.RecordBatchReader.from_batches(SCHEMA, batches))
    try:
        manifest = StagingArea(area, Registry()).stage(reads(), extracted, WINDOW)
    except Retryable:
        return "taken"
    return str(manifest.sequence) if manifest else "nothing"


if __name__ == "__main__":
    folder, where, start, size = sys.argv[1:]
    if where == "race":
        print("ready", flush=True)
        sys.stdin.readline()
    print(main(folder, where, int(start), int(size)))
