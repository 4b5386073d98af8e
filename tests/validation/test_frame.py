"""Arrow rows as pandas: no value changes on the way, and those that are not needed do not come at all."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from ownlens_plugins.api import TouchedSlice
from ownlens_plugins.testing.samples import sample_contract, sample_rows, sample_table
from ownlens_plugins.validation.frame import touched_frame


def framed(array: pa.Array) -> pd.Series[Any]:
    reader = pa.table({"c": array}).to_reader()
    return touched_frame(reader, None, values=["c"], presence=[])["c"]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (pa.array([1, 2], pa.int16()), "int64"),
        (pa.array([1, None], pa.int32()), "float64"),
        (pa.array([Decimal("1.5"), None], pa.decimal128(6, 2)), "float64"),
        (pa.array([1.5, None], pa.float32()), "float64"),
        (pa.array([date(2026, 1, 1), None]), "datetime64[ns]"),
        (pa.array([date(1, 1, 1), None]), "datetime64[us]"),
        (pa.array([datetime(2026, 1, 1), None], pa.timestamp("us")), "datetime64[ns]"),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")), "datetime64[us, UTC]"),
        (pa.array(["a", None]), "str"),
    ],
)
def test_types_that_are_compared_as_a_whole(array: pa.Array, dtype: str) -> None:
    series = framed(array)
    assert str(series.dtype) == dtype
    assert series.isna().tolist() == array.is_null().to_pylist()


def test_large_integers_stay_apart() -> None:
    series = framed(pa.array([2**53, 2**53 + 1, None]))
    assert series.nunique() == 2
    assert series.isna().sum() == 1


def test_nan_is_a_value() -> None:
    assert framed(pa.array([float("nan"), None, 1.0])).isna().sum() == 1


def test_uuids_are_compared_by_value() -> None:
    octets = [number.to_bytes(16, "big") for number in (1, 2, 1)]
    series = framed(pa.ExtensionArray.from_storage(pa.uuid(), pa.array(octets, pa.binary(16))))
    assert series.duplicated(keep=False).tolist() == [True, False, True]


def test_a_slice_of_many_small_batches() -> None:
    contract = sample_contract()
    table = sample_table(contract, sample_rows(90))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=4))
    slice_ = TouchedSlice("day", date(2026, 1, 2), date(2026, 1, 3))
    frame = touched_frame(reader, slice_, values=["id", "token"], presence=["id", "payload", "tags"])
    assert sorted(frame["id"]) == [row["id"] for row in sample_rows(90) if row["day"].day > 1]
    assert list(frame.columns) == ["id", "token", "payload", "tags"]
    inside = [row for row in sample_rows(90) if row["day"].day > 1]
    for name in ("token", "payload", "tags"):
        assert frame[name].isna().sum() == sum(row[name] is None for row in inside)


def test_no_rows() -> None:
    contract = sample_contract()
    reader = pa.RecordBatchReader.from_batches(contract.arrow_schema, iter(()))
    touched = TouchedSlice("created_at", date(2026, 1, 2), date(2026, 1, 3))
    frame = touched_frame(reader, touched, values=["id", "token", "amount"], presence=["payload"])
    assert frame.shape == (0, 4)
