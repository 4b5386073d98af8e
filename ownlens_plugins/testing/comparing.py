"""Tables compared as multisets of rows, exactly: NaN equals NaN, -0.0 differs from 0.0, 24:00 from 00:00."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

_SHOWN = 3


def row_texts(table: pa.Table) -> list[str]:
    """Return one text a row, sorted. Two tables with the same schema are equal when their texts are."""
    columns = [_plain(column.combine_chunks()).to_pylist() for column in table.columns]
    return sorted(map(repr, zip(*columns, strict=True)))


def _plain(array: pa.Array) -> pa.Array:
    """Return an array in a type whose Python values tell everything apart."""
    if isinstance(array.type, pa.BaseExtensionType):
        return array.storage
    if pa.types.is_time64(array.type):  # Python's time has no 24:00
        return array.cast(pa.int64())
    if pa.types.is_list(array.type):
        values = _plain(array.values)
        return pa.ListArray.from_arrays(array.offsets, values, mask=array.is_null()) if len(array) else array
    return array


def require_rows(found: pa.Table, expected: pa.Table, promise: str) -> None:
    """Check that two tables have the same schema and the same rows, each as often.

    Raises:
        AssertionError: they differ; names the promise, and shows some of the rows that are missing or too many.
    """
    assert found.schema.equals(expected.schema), (
        f"{promise}: `read` must give the contract's schema\n{expected.schema}\nbut gave\n{found.schema}"
    )
    here, wanted = Counter(row_texts(found)), Counter(row_texts(expected))
    missing, extra = list((wanted - here).elements()), list((here - wanted).elements())
    assert not missing, f"{promise}: {len(missing)} rows are missing{_some(missing)}; {len(extra)} extra{_some(extra)}"
    assert not extra, f"{promise}: {len(extra)} rows too many{_some(extra)}"


def _some(rows: list[str]) -> str:
    return "".join(f"\n  {row[:300]}" for row in rows[:_SHOWN])
