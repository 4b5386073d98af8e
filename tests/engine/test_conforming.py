"""A batch conforms row by row: good rows go on, bad ones are set aside with all reasons and what they held."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources.source import REFUSED_PREFIX, Extracted
from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import conform, contract_of, storage


def test_columns_are_taken_by_name_and_others_are_left_out() -> None:
    contract = contract_of(a="int32", b="text?")
    rows = pa.table({"extra": [True], "b": ["x"], "id": [1], "a": [2]})
    kept, refused = conform(contract, rows)
    assert kept.schema == contract.arrow_schema
    assert kept.to_pylist() == [{"id": 1, "a": 2, "b": "x"}]
    assert refused == []


@pytest.mark.parametrize("names", [["id"], ["id", "A"], ["id", "a", "a"]])
def test_a_column_that_does_not_arrive_once_stops_the_table(names: list[str]) -> None:
    rows = pa.Table.from_arrays([pa.array([1])] * len(names), names=names)
    with pytest.raises(SourceInvalid, match="things: column 'a' must arrive exactly once"):
        conform(contract_of(a="int64"), rows)


def test_a_row_has_a_reason_for_every_bad_column() -> None:
    contract = contract_of(a="int16", b="int16")
    rows = pa.table({"id": [1, 2, None, 4], "a": [1, 2**20, 1, None], "b": [2**20, 2**20, None, 1]})
    kept, refused = conform(contract, rows)
    assert kept.num_rows == 0
    assert [row.reason for row in refused] == [
        "b: does not fit int16 exactly",
        "a: does not fit int16 exactly; b: does not fit int16 exactly",
        "id: is null, but the contract does not allow it; b: is null, but the contract does not allow it",
        "a: is null, but the contract does not allow it",
    ]


def test_refused_rows_show_every_value_as_it_came() -> None:
    stamps = pa.array([-(2**62), None], pa.int64())
    rows = pa.table(
        {
            "id": pa.array([2**40, 2**40], pa.int64()),
            "day": pa.array([-2147472692, 0], pa.int32()).cast(pa.date32()),
            "at": stamps.cast(pa.timestamp("us", "UTC")),
            "clock": pa.array([86_400_000_000, 1], pa.int64()).cast(pa.time64("us")),
            "blob": [b"\0\xff", None],
            "nan": [math.nan, math.inf],
            "token": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=1).bytes, None], pa.binary(16))),
            "nested": [{"a": [math.nan], "b": b"\1"}, None],
            "text": ["a\0", 'q"'],
            "grid": pa.array([None, [1, None]], pa.list_(pa.int32())),
            REFUSED_PREFIX + "grid": ["{{1,2},{3,4}}", None],
        }
    )
    _, refused = conform(contract_of(id="int16", text="text?"), rows)
    first, second = (json.loads(row.row) for row in refused)
    assert first == {
        "id": str(2**40),
        "day": "infinity",
        "at": "144170-06-28 09:59:32.612096+00 BC",
        "clock": "24:00:00",
        "blob": "\\x00ff",
        "nan": "NaN",
        "token": "00000000-0000-0000-0000-000000000001",
        "nested": '{"a": ["NaN"], "b": "\\\\x01"}',
        "text": "a\0",
        "grid": "{{1,2},{3,4}}",
    }
    assert (second["day"], second["at"], second["nan"], second["nested"]) == ("1970-01-01", None, "Infinity", None)
    assert second["grid"] == '["1", null]'


def test_a_huge_row_is_kept_whole() -> None:
    _, refused = conform(contract_of(a="int16", b="text"), pa.table({"id": [1], "a": [2**20], "b": ["x" * 50_000]}))
    assert json.loads(refused[0].row)["b"] == "x" * 50_000


def test_a_source_can_refuse_a_value_itself() -> None:
    rows = pa.table({"id": [1, 2], "a": [[1], None], REFUSED_PREFIX + "a": [None, "{{1}}"]})
    kept, refused = conform(contract_of(a="array<int64>?"), rows)
    assert kept.to_pylist() == [{"id": 1, "a": [1]}]
    assert (
        refused[0].reason
        == "a: array of several dimensions or with a shifted lower bound; json or text in the contract keeps it"
    )
    assert json.loads(refused[0].row) == {"id": "2", "a": "{{1}}"}


def test_reasons_never_show_values() -> None:
    secret = "s3cr3t"
    contract = contract_of(
        a="int16?",
        b="uuid?",
        c="date?",
        d="time?",
        e="json?",
        f="enum(x)?",
        g="bytes?",
        h="array<int32>?",
        i="decimal(3,1)?",
    )
    for name in "abcdefghi":
        values = {column: [secret if column == name else None] for column in "abcdefghi"}
        rows = pa.table({"id": [1], **{column: pa.array(cells, pa.string()) for column, cells in values.items()}})
        _, (row,) = conform(contract, rows)
        assert row.reason.startswith(f"{name}: ")
        assert secret not in row.reason
        assert json.loads(row.row)[name] == secret


def test_empty_batches_are_left_out_and_every_batch_counts() -> None:
    contract = contract_of(a="enum(x, y)?", b="date?")
    schema = pa.schema([("id", pa.int64()), ("a", pa.string()), ("b", pa.timestamp("us"))])
    filled = pa.record_batch([[1, 2], ["x", "z"], [None, None]], schema=schema)
    empty = filled.slice(0, 0)
    conformed = Conformed(
        contract, Extracted(pa.RecordBatchReader.from_batches(schema, [empty, filled, empty, filled]))
    )
    assert [batch.num_rows for batch in conformed.batches()] == [1, 1]
    assert len(conformed.refused) == 2


FRAME: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "name": ["a", "", None],
    "day": [date(2026, 1, 1), None, date(1, 1, 1)],
    "at": [datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC), None],
    "ratio": [0.5, None, -1.0],
    "flag": [True, None, False],
    "tags": [["x", None], [], None],
    "group": ["p", "q", "p"],
}


def _polars() -> Any:
    return pl.DataFrame(FRAME).with_columns(pl.col("group").cast(pl.Categorical))


def _pandas() -> Any:
    frame = pd.DataFrame({**FRAME, "group": pd.Categorical(FRAME["group"])})
    return frame.astype({"at": "datetime64[us, UTC]", "flag": "boolean"})


def _duckdb() -> Any:
    return duckdb.connect().execute("SET TimeZone = 'America/New_York'").from_arrow(pa.table(FRAME)).order("id")


@pytest.mark.parametrize("make", [_polars, _pandas, _duckdb, lambda: pa.table(FRAME)])
def test_frames_of_every_library_conform_alike(make: Any) -> None:
    contract = contract_of(
        name="text?",
        day="date?",
        at="timestamptz?",
        ratio="float64?",
        flag="bool?",
        tags="array<text>?",
        group="enum(p, q)",
    )
    reader = pa.RecordBatchReader.from_stream(make())
    conformed = Conformed(contract, Extracted(reader))
    kept = pa.Table.from_batches(conformed.batches(), schema=contract.arrow_schema)
    assert [row.reason for row in conformed.refused] == []
    assert {name: storage(kept[name]) for name in contract.column_names} == FRAME


def test_all_columns_that_cannot_be_cast_are_named() -> None:
    contract = contract_of(a="int32", b="date", c="text", d="text")
    with pytest.raises(SourceInvalid) as caught:
        conform(contract, pa.table({"id": [1], "a": [True], "b": [b"x"], "c": ["fits"]}))
    text = str(caught.value)
    assert text.startswith("things: column 'a' arrives as bool, which int32 cannot take without changing values;")
    assert "column 'b' arrives as binary, which date cannot take" in text
    assert text.endswith("column 'd' must arrive exactly once; add or rename it")
    assert "'c'" not in text
