"""Arrow rows in DuckDB: no value changes on the way, and those that are not needed do not come at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import TouchedSlice
from ownlens_plugins.errors import Retryable
from ownlens_plugins.testing.samples import sample_contract, sample_rows, sample_table
from ownlens_plugins.validation.arrow import arrow_rows


def asked(array: pa.Array, *questions: str) -> list[Any]:
    with arrow_rows(pa.table({"c": array}).to_reader(), None, values=["c"], presence=[]) as rows:
        return rows.ask(questions)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([2**53 + 1, None]), str(2**53 + 1)),
        (pa.array([Decimal("99.99"), None], pa.decimal128(4, 2)), "99.99"),
        (pa.array([Decimal("9" * 38), None], pa.decimal128(38, 0)), "9" * 38),
        (pa.array([float("nan"), None]), "nan"),
        (pa.array([date(1, 1, 1), None]), "-719162"),
        (pa.array([time(0, 0, 0, 1), None], pa.time64("us")), "1"),
        (pa.array([datetime(9999, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us")), "253402300799999999"),
        (pa.array([datetime(1, 1, 1, 0, 0, 0, 1, UTC), None], pa.timestamp("us", "UTC")), "-62135596799999999"),
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\0" * 15 + b"\1", None], pa.binary(16))), "\\x01"),
    ],
)
def test_values_stay_what_they_are(array: pa.Array, value: str) -> None:
    count, shown = asked(array, "count(c0)", "CAST(max(c0) AS VARCHAR)")
    assert count == 1
    assert shown.endswith(value)


def test_a_slice_of_many_small_batches() -> None:
    contract = sample_contract()
    table = sample_table(contract, sample_rows(90))
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=4))
    slice_ = TouchedSlice("day", date(2026, 1, 2), date(2026, 1, 3))
    inside = [row for row in sample_rows(90) if row["day"].day > 1]
    names = ["id", "payload", "tags"]
    with arrow_rows(reader, slice_, values=["id", "token"], presence=names) as rows:
        assert set(rows.dialect.places) == {"id", "token", "payload", "tags"}
        sums = rows.ask([f"sum({rows.dialect.identifier('id')})", "count(*)"])
        present = rows.ask([f"count({rows.dialect.identifier(name)})" for name in ("token", "payload", "tags")])
    assert sums == [sum(row["id"] for row in inside), len(inside)]
    assert present == [sum(row[name] is not None for row in inside) for name in ("token", "payload", "tags")]


def test_no_rows() -> None:
    contract = sample_contract()
    reader = pa.RecordBatchReader.from_batches(contract.arrow_schema, iter(()))
    touched = TouchedSlice("created_at", date(2026, 1, 2), date(2026, 1, 3))
    with arrow_rows(reader, touched, values=["id", "token", "amount"], presence=["payload"]) as rows:
        assert rows.ask(["count(*)"]) == [0]


def test_an_error_of_the_store_stays_what_it_is() -> None:
    def batches() -> Any:
        yield pa.record_batch({"c": [1]})
        raise Retryable("the lake does not answer")

    reader = pa.RecordBatchReader.from_batches(pa.schema({"c": pa.int64()}), batches())
    with pytest.raises(Retryable), arrow_rows(reader, None, values=["c"], presence=[]):
        raise AssertionError("read in part")
