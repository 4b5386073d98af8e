"""Pass conformed rows through the transform hooks of plugins, as a narwhals LazyFrame over DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
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
        Rejected: a hook failed, or returned something that is not a narwhals LazyFrame; or it changes a table with
            columns that DuckDB cannot tell apart.
    """
    database = open_duckdb()
    database.execute("SET TimeZone = 'UTC'")
    try:
        relation = database.read_parquet([literal(file) for file in files])
        frame = nw.from_native(relation)
        changed = _changed(contract, registry, frame)
        if changed is not frame:
            _refuse_twins(contract)
        yield None if changed is frame else Extracted(_reader(contract, changed))
    finally:
        database.close()


def _refuse_twins(contract: TableContract) -> None:
    # DuckDB takes such names for one, and would hand the hook, and us, the wrong column.
    seen: dict[str, str] = {}
    for name in contract.column_names:
        if twin := seen.get(name.lower()):
            raise Rejected(
                f"{contract.table}: ownlens_transform cannot tell {twin!r} and {name!r} apart, which differ only in "
                "case; rename one, or let the plugin return this table's frame as it is"
            )
        seen[name.lower()] = name


def _changed(contract: TableContract, registry: Registry, frame: Any) -> Any:
    try:
        changed = registry.transform(contract, frame)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise Rejected(f"{contract.table}: ownlens_transform failed: {reason}; correct the plugin") from error
    if not isinstance(changed, nw.LazyFrame):
        raise Rejected(
            f"{contract.table}: ownlens_transform returned {type(changed).__name__}, not a narwhals LazyFrame"
        )
    return changed


def _reader(contract: TableContract, frame: Any) -> pa.RecordBatchReader:
    with _computing(contract):
        missing = [name for name in contract.column_names if name not in frame.collect_schema().names()]
        if missing:
            names = ", ".join(map(repr, missing))
            raise Rejected(f"{contract.table}: ownlens_transform dropped {names}; keep all columns")
        rows = nw.to_native(frame.select(list(contract.column_names))).to_arrow_reader(ROWS_PER_BATCH)
        return pa.RecordBatchReader.from_batches(rows.schema, _batches(contract, rows))


def _batches(contract: TableContract, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _computing(contract):
        yield from rows


@contextmanager
def _computing(contract: TableContract) -> Iterator[None]:
    # The frame is lazy, so what it asks for is computed, and can fail, only here. DuckDB quotes values in its errors.
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise Rejected(
            f"{contract.table}: what ownlens_transform asks for cannot be computed ({type(error).__name__}); "
            "correct the plugin"
        ) from error
