"""Arrays, and the many shapes in which Arrow carries one column: slices, dictionaries, large and view types."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import conform, conform_column, contract_of, storage

TOKEN = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("element", "given_type", "values"),
    [
        ("int32", pa.list_(pa.int64()), [[1, None, -1], [], None, [2]]),
        ("int32", pa.large_list(pa.int32()), [[1, None], [], None]),
        ("int32", pa.list_(pa.int32(), 2), [[1, 2], None, [3, None]]),
        ("text", pa.list_(pa.large_string()), [["", None, "x"], None]),
        ("text", pa.large_list(pa.string_view()), [["a"], [], [None]]),
        ("bool", pa.list_(pa.bool_()), [[True, None, False]]),
        ("float64", pa.list_(pa.float32()), [[0.5, None]]),
        ("decimal(10,2)", pa.list_(pa.string()), [["1.10", None]]),
        ("date", pa.list_(pa.date32()), [[date(2026, 1, 1), None]]),
        ("timestamptz", pa.list_(pa.timestamp("ms", "UTC")), [[datetime(2026, 1, 1, tzinfo=UTC)]]),
    ],
)
def test_arrays_keep_nulls_inside_and_outside(element: str, given_type: pa.DataType, values: list[Any]) -> None:
    kept, reasons = conform_column(f"array<{element}>?", pa.array(values, given_type))
    wanted = [[Decimal(item) if item else item for item in row] for row in values] if "decimal" in element else values
    assert (kept, reasons) == (wanted, [])


def test_arrays_of_uuids() -> None:
    values = pa.array([[str(TOKEN), None], [], None], pa.list_(pa.string()))
    kept, refused = conform(contract_of(value="array<uuid>?"), pa.table({"id": [1, 2, 3], "value": values}))
    assert kept["value"].type == pa.list_(pa.uuid())
    assert [None if row is None else [*row] for row in kept["value"].to_pylist()] == [[TOKEN, None], [], None]
    assert refused == []


def test_one_bad_element_refuses_its_row_only() -> None:
    values = pa.array([[1, 2], [1, 2**40], [], [3]], pa.list_(pa.int64()))
    assert conform_column("array<int32>", values) == ([[1, 2], [], [3]], ["value: does not fit array<int32> exactly"])
    texts = pa.array([["a"], ["a\0"], [None]])
    assert conform_column("array<text>", texts) == (
        [["a"], [None]],
        ["value: holds a NUL character, which PostgreSQL cannot store"],
    )


def test_arrays_as_json_text() -> None:
    texts = {
        '["a", "", null]': ["a", "", None],
        "[]": [],
        '["1.10"]': ["1.10"],
        "[1.10, true]": ["1.10", "true"],
    }
    refused = ["{1,2}", "1", '{"a": 1}', "", "[[1]]", '[{"a": 1}]', "[" * 5000]
    kept, reasons = conform_column("array<text>?", pa.array([*texts, *refused, None]))
    assert kept == [*texts.values(), None]
    assert set(reasons) == {"value: is not a JSON array", "value: is not a JSON array of plain values"}
    exact = pa.array(["[12345678901234567890.10, null]", "[1e2]", "[0.001]"])
    assert conform_column("array<decimal(38,2)>", exact) == (
        [[Decimal("12345678901234567890.10"), None], [Decimal("100.00")]],
        ["value: does not fit array<decimal(38,2)> exactly"],
    )


@pytest.mark.parametrize("given_type", [pa.list_(pa.list_(pa.int32())), pa.int32(), pa.map_(pa.string(), pa.int32())])
def test_what_is_no_list_of_one_dimension_stops_the_table(given_type: pa.DataType) -> None:
    with pytest.raises(SourceInvalid, match="things: column 'value' arrives as"):
        conform_column("array<int32>", pa.array([], given_type))


TEXTS = ["b", None, "a", "b", "", "c\0", "d"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 2, 0, 3, 4, 5], pa.uint8()), pa.array(["b", None, "a", "", "c\0", "d"], pa.string_view())
        ),
        pa.chunked_array([TEXTS[:3], [], TEXTS[3:]], pa.string()),
    ],
)
def test_text_in_every_encoding(values: pa.Array) -> None:
    kept, reasons = conform_column("text?", values)
    assert kept == ["b", None, "a", "b", "", "d"]
    assert len(reasons) == 1


def test_a_null_inside_a_dictionary_is_a_null() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    assert values.null_count == 0
    assert conform_column("text", values) == (["a"], ["value: is null, but the contract does not allow it"])


def test_dictionaries_of_numbers_and_moments() -> None:
    assert conform_column("int16", pa.array([5, 7, 5], pa.int64()).dictionary_encode()) == ([5, 7, 5], [])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    encoded = pa.array([moment], pa.timestamp("us", "UTC")).dictionary_encode()
    assert conform_column("timestamptz", encoded) == ([moment], [])


def test_a_column_without_a_type_is_all_null() -> None:
    for wanted in ("int32?", "uuid?", "json?", "array<text>?", "timestamptz?", "enum(a)?"):
        assert conform_column(wanted, pa.nulls(2)) == ([None, None], [])
    assert conform_column("int32", pa.nulls(2))[1] == ["value: is null, but the contract does not allow it"] * 2


COLUMNS: dict[str, tuple[str, pa.Array]] = {
    "number": ("int16?", pa.array([1, 2**20, None, 3, 4, 2**20, 5, 6], pa.int64())),
    "amount": ("decimal(6,2)?", pa.array(["1.00", "x", None, "2.00", "3", "4", "0.001", "5"])),
    "token": ("uuid?", pa.array([str(uuid.UUID(int=n)) if n % 3 else None for n in range(8)])),
    "tags": ("array<int32>?", pa.array([[1], None, [], [2, None], [2**40], [3, 4], [5], [6]], pa.list_(pa.int64()))),
    "pair": (
        "array<int32>?",
        pa.array([[1, 2], None, [3, None], [4, 5], [6, 7]] + [None] * 3, pa.list_(pa.int32(), 2)),
    ),
    "note": ("json?", pa.array(['{"b":1}', "[]", None, "x", "1", '"a"', "{}", "null"])),
    "state": ("enum(a, b)?", pa.array(["a", "b", None, "c", "a", "b", "a", "b"]).dictionary_encode()),
    "flag": ("bool?", pa.array([True, False, None, True, False, None, True, False])),
    "clock": ("time?", pa.array([0, 1, 86_400_000_000, 3, None, 5, 6, 7], pa.int64()).cast(pa.time64("us"))),
}


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(0, 8))
def test_a_slice_of_a_batch_conforms_like_its_rows_alone(offset: int, length: int) -> None:
    contract = contract_of(**{name: text for name, (text, _) in COLUMNS.items()})
    whole = pa.table({"id": pa.array(range(8), pa.int64()), **{name: values for name, (_, values) in COLUMNS.items()}})
    piece = whole.slice(offset, length)
    kept, refused = conform(contract, piece)
    rows = [conform(contract, _copied(piece.slice(index, 1))) for index in range(piece.num_rows)]
    alone = pa.concat_tables([table for table, _ in rows]) if rows else kept
    assert [(row.reasons, row.row) for _, lists in rows for row in lists] == [(row.reasons, row.row) for row in refused]
    for name in contract.column_names:
        assert storage(kept[name]) == storage(alone[name]), name


def _copied(table: pa.Table) -> pa.Table:
    return table.take([*range(table.num_rows)])


def test_rows_beside_a_bad_one_are_unaffected() -> None:
    numbers = list(range(1000))
    values = [str(number) if number not in {0, 500, 999} else "?" for number in numbers]
    kept, reasons = conform_column("int32", pa.array(values))
    assert kept == [number for number in numbers if number not in {0, 500, 999}]
    assert reasons == ["value: does not fit int32 exactly"] * 3
