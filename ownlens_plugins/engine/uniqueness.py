"""Make keys unique within a staged set: the newest version wins, or a second row of one key is refused."""

from __future__ import annotations

import atexit
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..contracts import TableContract

Doubles = dict[Path, list[int]]


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

    With `version_by` the greatest version stands above, without it the row that came first.
    """
    if not files:
        return {}
    names = [literal(file) for file in files]
    key = ", ".join(map(_quote, contract.key))
    with closing(open_duckdb()) as database:
        repeated = f"SELECT 1 FROM read_parquet($files) GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
        if database.execute(repeated, {"files": names}).fetchone() is None:
            return {}
        return _grouped(database.execute(_losers(contract, key), {"files": names}).fetchall())


def _losers(contract: TableContract, key: str) -> str:
    version = f"{_quote(contract.version_by)} DESC, " if contract.version_by else ""
    rank = f"row_number() OVER (PARTITION BY {key} ORDER BY {version}filename, file_row_number)"
    source = "read_parquet($files, filename = true, file_row_number = true)"
    return f"SELECT filename, file_row_number FROM {source} QUALIFY {rank} > 1"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _grouped(rows: Sequence[tuple[str, int]]) -> Doubles:
    doubles: defaultdict[Path, list[int]] = defaultdict(list)
    for file, number in rows:
        doubles[Path(file)].append(number)
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
