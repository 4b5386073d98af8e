"""Rows of a destination that speaks no SQL, as the smallest pandas frame that a suite can be run on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..api import ROWS_PER_BATCH, TouchedSlice


def touched_frame(
    reader: pa.RecordBatchReader, touched: TouchedSlice | None, *, values: Iterable[str], presence: Iterable[str]
) -> pd.DataFrame:
    """Keep the rows that lie in a slice (None: all) while they stream by.

    Columns named in `values` come as pandas compares them fast: integers and floats as 64 bit, decimals as float64,
    dates and times as datetime64, uuids as bytes. Those only in `presence` come as booleans that are null where the
    value is null.
    """
    wanted = list(dict.fromkeys(values))
    present = [name for name in dict.fromkeys(presence) if name not in wanted]
    names = needed_columns(touched, wanted, present)
    table = pa.concat_tables(_piece(rows, touched, wanted, present) for rows in _gathered(reader, names))
    return pd.DataFrame({name: _series(table.column(name)) for name in table.column_names}, copy=False)


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
    columns = {name: _storage(rows.column(name)) for name in wanted}
    columns |= {name: pc.if_else(pc.is_valid(rows.column(name)), True, None) for name in present}
    piece = pa.table(columns)
    return piece if touched is None else piece.filter(_inside(rows.column(touched.column), touched))


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _inside(column: pa.ChunkedArray, touched: TouchedSlice) -> pa.ChunkedArray:
    days = column.cast(pa.date32())
    return pc.and_(pc.greater_equal(days, touched.first), pc.less_equal(days, touched.last))


def _series(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_integer(kind):
        return _integers(column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _floats(column.cast(pa.float64()))
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return _moments(column.cast(pa.timestamp("us")))
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_boolean(kind):
        return _arrow(column)
    return column.to_pandas()


def _integers(column: pa.ChunkedArray) -> Any:
    if column.null_count == 0:
        return column.cast(pa.int64()).to_pandas()
    try:
        return column.cast(pa.float64()).to_pandas()
    except pa.ArrowInvalid:  # beyond 2**53, where float64 would make neighbours equal
        return _arrow(column)


def _floats(column: pa.ChunkedArray) -> Any:
    # numpy has one word for "not a number" and "no value"; a NaN is a value, so such a column keeps Arrow's two.
    return _arrow(column) if pc.any(pc.is_nan(column)).as_py() else column.to_pandas()


def _moments(column: pa.ChunkedArray) -> Any:
    try:
        return column.cast(pa.timestamp("ns")).to_pandas()  # the unit that Great Expectations compares as a whole
    except pa.ArrowInvalid:  # outside of 1677 to 2262
        return column.to_pandas()


def _arrow(column: pa.ChunkedArray) -> Any:
    return pd.Series(pd.arrays.ArrowExtensionArray(column))
