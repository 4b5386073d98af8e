"""Delta's per-file statistics: written from a Parquet file's own footer, and read to count rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

# Longer text would have to be cut, and a maximum must be cut upwards; without bounds a reader just opens the file.
_LONGEST_TEXT = 64


def delta_statistics(footer: pq.FileMetaData, schema: pa.Schema) -> str:
    """Return the `stats` text of an add action: rows, null counts, and bounds where they are exact.

    Floats get no bounds (NaN has no place in them), nor do decimals and naive timestamps, whose text readers disagree
    about. Nested columns get nothing, because the footer counts their elements.
    """
    bounds = {f.name: (i, f.type) for i, f in enumerate(schema) if not pa.types.is_nested(f.type)}
    nulls, lows, highs = {}, {}, {}
    for name, (index, kind) in bounds.items():
        chunks = [footer.row_group(group).column(index) for group in range(footer.num_row_groups)]
        if all(chunk.is_stats_set and chunk.statistics.has_null_count for chunk in chunks):
            nulls[name] = sum(chunk.statistics.null_count for chunk in chunks)
        if (text := _text_of(kind)) and (found := _bounds(chunks, text)):
            lows[name], highs[name] = found
    document = {"numRecords": footer.num_rows, "minValues": lows, "maxValues": highs, "nullCount": nulls}
    return json.dumps(document, ensure_ascii=False)


def _bounds(chunks: list[Any], text: Callable[[Any], Any]) -> tuple[Any, Any] | None:
    try:
        ends = list(_ends(chunks))
        if not ends:
            return None
        return text(min(low for low, _ in ends)), text(max(high for _, high in ends))
    except (ValueError, OverflowError, _Unbounded):  # such as dates that Python cannot hold
        return None


class _Unbounded(Exception):
    """A row group has values and no usable bounds."""


def _ends(chunks: list[Any]) -> Iterator[tuple[Any, Any]]:
    for chunk in chunks:
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is not None and statistics.has_min_max:
            yield statistics.min, statistics.max
        elif statistics is None or statistics.null_count != chunk.num_values:
            raise _Unbounded


def _text_of(kind: pa.DataType) -> Callable[[Any], Any] | None:
    if pa.types.is_integer(kind):
        return int
    if pa.types.is_date32(kind):
        return date.isoformat
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return _utc_text
    return _short_text if pa.types.is_string(kind) else None


def _utc_text(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _short_text(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise _Unbounded
    return text


def count_rows(table: DeltaTable) -> int:
    """Return the number of visible rows of this version, from the files' statistics where all files have them."""
    files = pa.table(table.get_add_actions(flatten=True))
    # The statistics of a file count the rows that a deletion vector takes out of it.
    if files["num_records"].null_count or "deletionVectors" in (table.protocol().reader_features or ()):
        found = QueryBuilder().register("lake", table).execute("SELECT count(*) AS number FROM lake").read_all()
        return int(pa.table(found)["number"][0].as_py())
    return int(pc.sum(files["num_records"]).as_py() or 0)
