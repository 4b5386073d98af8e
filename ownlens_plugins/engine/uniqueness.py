"""Make keys unique within a staged set: the newest version wins, or a second row of one key is refused."""

from __future__ import annotations

import atexit
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..contracts import TableContract

Doubles = dict[Path, list[int]]
ROWS_PER_BATCH = 131_072


def open_duckdb() -> duckdb.DuckDBPyConnection:
    """Return a cursor of this process's in-memory DuckDB, which spills to disk and never reaches for the network."""
    return _database().cursor()


@lru_cache(maxsize=1)
def _database() -> duckdb.DuckDBPyConnection:
    # Opening one takes 20 ms, a cursor takes none; cursors may be used from different threads at once.
    atexit.register(_close_database)
    return duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(Path(tempfile.gettempdir()) / f"ownlens-spill-{os.getpid()}"),
            "memory_limit": "512MB",
            "threads": 2,
        }
    )


def _close_database() -> None:
    # Left to the interpreter's end, its bindings print a page about leaked objects.
    _database().close()
    _database.cache_clear()


def literal(file: Path) -> str:
    """Return a path in which DuckDB sees no pattern."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(file))


def find_doubles(contract: TableContract, files: Sequence[Path]) -> Doubles:
    """Return, by file, the row numbers of rows that another row of the same key stands above.

    With `version_by` the greatest version stands above (null is the smallest), without it the row that came first.
    """
    if not files:
        return {}
    with closing(open_duckdb()) as database:
        if not _ask(database, _reader(contract, files, contract.key), _REPEATED.format(key=_keys(contract))):
            return {}
        wanted = [*contract.key, *([contract.version_by] if contract.version_by else [])]
        losers = _ask(database, _reader(contract, files, wanted, numbered=True), _losers(contract))
    return _grouped(files, losers)


def _keys(contract: TableContract) -> str:
    return ", ".join(_name(number) for number in range(len(contract.key)))


_REPEATED = "SELECT 1 FROM staged GROUP BY {key} HAVING count(*) > 1 LIMIT 1"


def _losers(contract: TableContract) -> str:
    version = f"{_name(len(contract.key))} DESC NULLS LAST, " if contract.version_by else ""
    rank = f"row_number() OVER (PARTITION BY {_keys(contract)} ORDER BY {version}file_number, row_number)"
    return f"SELECT file_number, row_number FROM staged QUALIFY {rank} > 1"


def _ask(database: duckdb.DuckDBPyConnection, staged: pa.RecordBatchReader, query: str) -> list[tuple[Any, ...]]:
    database.register("staged", staged)
    try:
        return database.execute(query).fetchall()
    finally:
        database.unregister("staged")


def _name(number: int) -> str:
    # DuckDB takes `id` and `ID` for one name, and gives its own columns names that a contract may have: columns are
    # handed to it under names that come from their position.
    return f"c{number}"


def _reader(
    contract: TableContract, files: Sequence[Path], columns: Sequence[str], *, numbered: bool = False
) -> pa.RecordBatchReader:
    types = [storage_type(contract.column(name).type.arrow) for name in columns]
    fields = [(_name(number), kind) for number, kind in enumerate(types)]
    schema = pa.schema([*fields, *([("file_number", pa.int64()), ("row_number", pa.int64())] if numbered else [])])
    return pa.RecordBatchReader.from_batches(schema, _batches(files, columns, schema, numbered=numbered))


def _batches(
    files: Sequence[Path], columns: Sequence[str], schema: pa.Schema, *, numbered: bool
) -> Iterator[pa.RecordBatch]:
    for number, file in enumerate(files):
        start = 0
        with pq.ParquetFile(file) as source:
            for batch in source.iter_batches(ROWS_PER_BATCH, columns=list(columns)):
                arrays = [plain_storage(batch.column(name)) for name in columns]
                if numbered:
                    arrays += [pa.repeat(number, batch.num_rows), pa.array(range(start, start + batch.num_rows))]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                start += batch.num_rows


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the plain type below an extension type."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def plain_storage(values: pa.Array) -> pa.Array:
    """Return the plain array below an extension array."""
    return values.storage if isinstance(values.type, pa.BaseExtensionType) else values


def _grouped(files: Sequence[Path], rows: Sequence[tuple[int, int]]) -> Doubles:
    doubles: defaultdict[Path, list[int]] = defaultdict(list)
    for file, number in rows:
        doubles[files[file]].append(number)
    return doubles


def take_out(doubles: Doubles, contract: TableContract) -> list[pa.RecordBatch]:
    """Rewrite the files without the given rows and return the rows taken out."""
    taken: list[pa.RecordBatch] = []
    for file, numbers in doubles.items():
        taken += _rewrite(file, sorted(numbers), contract)
    return taken


def _rewrite(file: Path, numbers: list[int], contract: TableContract) -> list[pa.RecordBatch]:
    draft = file.with_suffix(".draft")
    wanted, taken, start = set(numbers), [], 0
    with (
        pq.ParquetFile(file) as source,
        pq.ParquetWriter(draft, contract.arrow_schema, compression="zstd", compression_level=1) as writer,
    ):
        for batch in source.iter_batches():
            mask = pa.array([start + index in wanted for index in range(batch.num_rows)])
            out = batch.filter(mask)
            if out.num_rows:
                taken.append(out)
            writer.write_batch(_without(batch, mask))
            start += batch.num_rows
    draft.replace(file)
    return taken


def _without(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    keep = pa.array([not value for value in mask.to_pylist()])
    return batch.filter(keep)
