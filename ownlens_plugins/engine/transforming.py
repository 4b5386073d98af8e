"""Pass conformed rows through the transform hooks of plugins, as a narwhals LazyFrame over DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa

from ..contracts import TableContract
from ..errors import Rejected
from ..registry import Registry
from .sources.source import Extracted
from .uniqueness import literal, open_duckdb

ROWS_PER_BATCH = 65_536


@contextmanager
def transformed(contract: TableContract, registry: Registry, files: Sequence[Path]) -> Iterator[Extracted | None]:
    """Give the rows that the hooks made of the conformed files, or None when no hook changes this table.

    Raises:
        Rejected: a hook failed, or returned something that is not a narwhals LazyFrame.
    """
    database = open_duckdb()
    database.execute("SET TimeZone = 'UTC'")
    try:
        relation = database.read_parquet([literal(file) for file in files])
        frame = nw.from_native(relation)
        changed = _changed(contract, registry, frame)
        yield None if changed is frame else Extracted(_reader(contract, changed))
    finally:
        database.close()


def _changed(contract: TableContract, registry: Registry, frame: Any) -> Any:
    try:
        changed = registry.transform(contract, frame)
    except Exception as error:
        raise Rejected(f"{contract.table}: ownlens_transform failed: {error}; correct the plugin") from error
    if not isinstance(changed, nw.LazyFrame):
        raise Rejected(
            f"{contract.table}: ownlens_transform returned {type(changed).__name__}, not a narwhals LazyFrame"
        )
    return changed


def _reader(contract: TableContract, frame: Any) -> pa.RecordBatchReader:
    missing = [name for name in contract.column_names if name not in frame.collect_schema().names()]
    if missing:
        raise Rejected(f"{contract.table}: ownlens_transform dropped {', '.join(map(repr, missing))}; keep all columns")
    relation = nw.to_native(frame.select(list(contract.column_names)))
    return relation.to_arrow_reader(ROWS_PER_BATCH)
