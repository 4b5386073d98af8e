"""Rows of a destination that speaks no SQL, as the smallest pandas frame that a suite can be run on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..api import TouchedSlice


def touched_frame(
    reader: pa.RecordBatchReader, touched: TouchedSlice | None, *, values: Iterable[str], presence: Iterable[str]
) -> pd.DataFrame:
    """Read the rows that lie in a slice (None: all) while they stream by.

    Columns named in `values` come as pandas compares them fast: integers and floats as 64 bit, decimals as float64,
    dates and times as datetime64, uuids as bytes. Those only in `presence` come as booleans that are null where the
    value is.
    """
    wanted = list(dict.fromkeys(values))
    present = [name for name in dict.fromkeys(presence) if name not in wanted]
    batches = [_selected(batch, wanted, present) for batch in _inside(reader, touched)]
    schema = batches[0].schema if batches else _selected(reader.schema.empty_table(), wanted, present).schema
    table = pa.Table.from_batches(batches, schema)
    return pd.DataFrame({name: _series(table.column(name)) for name in table.column_names}, copy=False)


def _inside(reader: pa.RecordBatchReader, touched: TouchedSlice | None) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        if touched is None:
            yield batch
            continue
        days = batch.column(touched.column).cast(pa.date32())
        yield batch.filter(pc.and_(pc.greater_equal(days, touched.first), pc.less_equal(days, touched.last)))
