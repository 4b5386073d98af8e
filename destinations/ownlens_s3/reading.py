"""Reading a Delta table's rows: by delta-rs, or file by file where its plan of a query would cost too much."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from .folder import TableFolder
from .locating import held_files, read_file
from .patching import is_readable
from .paths import Layout

# The time that delta-rs takes to plan a query grows with the square of the columns.
WIDE = 300


def read_rows(
    table: DeltaTable, folder: TableFolder, schema: pa.Schema, layout: Layout | None
) -> Iterator[pa.RecordBatch]:
    """Stream the visible rows of this version; of wide tables only the columns of `schema`."""
    files = held_files(table, layout) if len(schema) > WIDE and is_readable(table) else None
    if files is None:
        shown = QueryBuilder().register("lake", table).execute("SELECT * FROM lake")
        yield from pa.RecordBatchReader.from_stream(shown)
        return
    for file in files:
        yield from read_file(folder, file, schema, layout)
