"""Rows of a destination that speaks no SQL: what a suite needs of them, in a table of DuckDB."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..api import ROWS_PER_BATCH, TouchedSlice
from .asking import Unanswered
from .dialects import DuckDB

_TABLE = "touched"
# Beyond this much, groups and rows go to a temporary folder.
_MEMORY = "512MB"
_SETTINGS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "memory_limit": _MEMORY}


class ArrowRows:
    """A table of DuckDB with the rows that lie in a slice; its columns are named by place, for DuckDB ignores case."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, places: Mapping[str, str]) -> None:
        self._connection = connection
        self.dialect = DuckDB(_TABLE, places)

    def ask(self, questions: Sequence[str]) -> list[Any]:
        """Answer questions about the rows in one statement.

        Raises:
            Unanswered: DuckDB refused it.
        """
        try:
            found = self._connection.execute(self.dialect.statement(questions)).fetchone()
        except duckdb.Error as error:
            raise Unanswered(type(error).__name__) from None
        assert found is not None
        return [int(value) if isinstance(value, Decimal) else value for value in found[1:]]


@contextmanager
def arrow_rows(
    reader: pa.RecordBatchReader, touched: TouchedSlice | None, *, values: Iterable[str], presence: Iterable[str]
) -> Iterator[ArrowRows]:
    """Hold the rows that lie in a slice (None: all) for questions, while the context lasts.

    Columns named in `values` come as they are, times as integers (days or microseconds) and uuids as bytes. Those only
    in `presence` come as booleans that are null where the value is null.
    """
    wanted = list(dict.fromkeys(values))
    present = [name for name in dict.fromkeys(presence) if name not in wanted]
    places = {name: f"c{place}" for place, name in enumerate([*wanted, *present])}
    with tempfile.TemporaryDirectory(prefix="ownlens-") as folder:
        connection = duckdb.connect(config={**_SETTINGS, "temp_directory": folder})
        try:
            _fill(connection, reader, touched, wanted, present)
            yield ArrowRows(connection, places)
        finally:
            connection.close()


def _fill(
    connection: duckdb.DuckDBPyConnection,
    reader: pa.RecordBatchReader,
    touched: TouchedSlice | None,
    wanted: list[str],
    present: list[str],
) -> None:
    # Read here and not by DuckDB: an error of the store keeps its type, and so what the engine does about it.
    verb = f"CREATE TEMP TABLE {_TABLE} AS"
    for rows in _gathered(reader, needed_columns(touched, wanted, present)):
        piece = _piece(rows, touched, wanted, present)
        connection.register("piece", piece)
        connection.execute(f"{verb} SELECT * FROM piece")
        connection.unregister("piece")
        verb = f"INSERT INTO {_TABLE}"


def needed_columns(touched: TouchedSlice | None, *names: Iterable[str]) -> list[str]:
    """Return each name once, and the slice's column with them."""
    return list(dict.fromkeys([*chain(*names), *([touched.column] if touched else [])]))


def _gathered(reader: pa.RecordBatchReader, names: list[str]) -> Iterator[pa.Table]:
    # A lake of many small files streams batches of a few rows, and each would cost as much as a large one.
    schema = pa.schema([reader.schema.field(name) for name in names])
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch.select(names))
        rows += batch.num_rows
        if rows >= ROWS_PER_BATCH:
            yield pa.Table.from_batches(batches, schema)
            batches, rows = [], 0
    yield pa.Table.from_batches(batches, schema)


def _piece(rows: pa.Table, touched: TouchedSlice | None, wanted: list[str], present: list[str]) -> pa.Table:
    if touched is not None:
        rows = rows.filter(_inside(rows.column(touched.column), touched))
    columns = [_storage(rows.column(name)) for name in wanted]
    columns += [pc.if_else(pc.is_valid(rows.column(name)), True, None) for name in present]
    if not columns:
        columns = [pa.nulls(rows.num_rows, pa.bool_())]  # to count the rows
    return pa.table(columns, names=[f"c{place}" for place in range(len(columns))])


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_timestamp(kind) or pa.types.is_time(kind) else column


def _inside(column: pa.ChunkedArray, touched: TouchedSlice) -> pa.ChunkedArray:
    days = column.cast(pa.date32())
    return pc.and_(pc.greater_equal(days, touched.first), pc.less_equal(days, touched.last))
