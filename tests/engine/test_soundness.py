"""What Arrow and Parquet do not promise: text may be no UTF-8, decimals too long, offsets wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources.files import FileSource
from ownlens_plugins.engine.sources.source import Extracted, Selection
from ownlens_plugins.errors import SourceInvalid
from ownlens_plugins.settings import FileSourceConfig

from .conforming_rows import conform, contract_of

NO_TEXT = "value: is not valid UTF-8"


def text(*values: bytes | None) -> pa.Array:
    """Return a text array of bytes, which Arrow takes as they are."""
    ends = [0]
    for value in values:
        ends.append(ends[-1] + len(value or b""))
    bits = sum((value is not None) << index for index, value in enumerate(values))
    buffers = [bytes([bits]), struct.pack(f"{len(ends)}i", *ends), b"".join(value or b"" for value in values)]
    return pa.StringArray.from_buffers(len(values), *map(pa.py_buffer, [buffers[1], buffers[2], buffers[0]]))


BAD = text(b"ok", b"\xff", None, "ü".encode(), b"\xc3", b"\xed\xa0\x80")


@pytest.mark.parametrize(
    "values",
    [
        BAD,
        BAD.cast(pa.large_string()),
        BAD.cast(pa.string_view()),
        pa.DictionaryArray.from_arrays(pa.array(range(6), pa.int8()), BAD),
        pa.DictionaryArray.from_arrays(pa.array(range(6), pa.int8()), BAD.cast(pa.string_view())),
    ],
)
@pytest.mark.parametrize("checked", [False, True])
def test_rows_whose_text_is_no_text_are_refused_alone(values: pa.Array, checked: bool) -> None:
    rows = pa.table({"id": range(6), "value": values, "other": [b"\xff"] * 6})
    kept, refused = conform(contract_of(value="text?"), rows, checked=checked)
    kept.validate(full=True)
    assert kept["value"].to_pylist() == ["ok", None, "ü"]
    assert [row.reason for row in refused] == [NO_TEXT] * 3
    assert [json.loads(row.row)["value"] for row in refused] == ["\\xff", "\\xc3", "\\xeda080"]


@pytest.mark.parametrize(
    "wanted", ["text", "enum(ok)", "json", "uuid", "int32", "date", "bytes", "bool", "time", "array<text>"]
)
def test_text_that_is_no_text_is_no_other_value_either(wanted: str) -> None:
    rows = pa.table({"id": [1], "value": text(b'"\xff"')})
    kept, (row,) = conform(contract_of(value=wanted), rows)
    assert (kept.num_rows, row.reasons) == (0, (NO_TEXT,))


LISTS = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4, 6], pa.int32()), BAD)


@pytest.mark.parametrize(
    "values",
    [
        LISTS,
        LISTS.cast(pa.large_list(pa.string())),
        pa.concat_arrays([LISTS.slice(4), LISTS]).slice(1),
        pa.ListArray.from_arrays(LISTS.offsets, pa.DictionaryArray.from_arrays(pa.array(range(6)), BAD)),
    ],
)
def test_lists_with_text_that_is_no_text_are_refused(values: pa.Array) -> None:
    kept, refused = conform(contract_of(value="array<text>?"), pa.table({"id": range(5), "value": values}))
    kept.validate(full=True)
    assert kept["value"].to_pylist() == [["ok"], [None], ["ü"]]
    assert [row.reason for row in refused] == [NO_TEXT] * 2
    assert [json.loads(row.row)["value"] for row in refused] == ['["\\\\xff"]', '["\\\\xc3", "\\\\xeda080"]']


def test_nested_text_that_is_no_text_is_refused() -> None:
    values = pa.StructArray.from_arrays([LISTS, pa.array(range(5))], ["a", "b"])
    kept, refused = conform(contract_of(value="json?"), pa.table({"id": range(5), "value": values}))
    assert kept["id"].to_pylist() == [0, 2, 3]
    assert [row.reason for row in refused] == [NO_TEXT] * 2


def test_a_row_has_its_other_reasons_too() -> None:
    rows = pa.table({"id": pa.array([None], pa.int64()), "value": text(b"\xff"), "more": [2**20]})
    _, (row,) = conform(contract_of(value="text", more="int16"), rows)
    assert row.reasons == (
        "id: is null, but the contract does not allow it",
        NO_TEXT,
        "more: does not fit int16 exactly",
    )


def test_entries_that_no_row_names_harm_nobody() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, None, 0], pa.int8()), BAD)
    kept, refused = conform(contract_of(value="text?"), pa.table({"id": range(3), "value": values}))
    assert (kept["value"].to_pylist(), refused) == (["ok", None, "ok"], [])


def test_decimals_and_times_beyond_their_type_are_refused() -> None:
    decimals = pa.Array.from_buffers(
        pa.decimal128(5, 2), 2, [None, pa.py_buffer((10**9).to_bytes(16, "little") + (125).to_bytes(16, "little"))]
    )
    clocks = pa.array([1, -5], pa.int64()).view(pa.time64("us"))
    rows = pa.table({"id": [1, 2], "value": decimals, "clock": clocks})
    kept, refused = conform(contract_of(value="decimal(5,2)", clock="time"), rows)
    assert kept.num_rows == 0
    assert [row.reason for row in refused] == [
        "value: has more digits than decimal128(5, 2)",
        "clock: is negative, which is no time of a day",
    ]


def _backwards() -> pa.Array:
    return pa.StringArray.from_buffers(2, pa.py_buffer(struct.pack("3i", 0, 5, 2)), pa.py_buffer(b"abcdef"))


@pytest.mark.parametrize(
    "values",
    [
        _backwards(),
        pa.ListArray.from_buffers(
            pa.list_(pa.int32()),
            2,
            [None, pa.py_buffer(struct.pack("3i", 0, 5, 2))],
            children=[pa.array(range(6), pa.int32())],
        ),
        pa.DictionaryArray.from_arrays(pa.array([0, 9]), pa.array(["a"]), safe=False),
        pa.DictionaryArray.from_arrays(pa.array([0, -1]), pa.array(["a"]), safe=False),
        pa.StructArray.from_arrays([_backwards()], ["a"]),
    ],
)
def test_data_that_contradicts_itself_stops_the_table(values: pa.Array) -> None:
    wanted = {"list": "array<int32>", "struct": "json"}.get(str(values.type).split("<")[0], "text")
    # Not through a table: Arrow looks at some of it there.
    schema = pa.schema([("id", pa.int64()), ("value", values.type)])
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2]), values], schema=schema)
    conformed = Conformed(contract_of(value=wanted), Extracted(pa.RecordBatchReader.from_batches(schema, [batch])))
    with pytest.raises(SourceInvalid) as caught:
        list(conformed.batches())
    assert str(caught.value) == (
        "things: the data of column 'value' contradicts itself (offsets, indices or lengths); write the file or frame "
        "anew with a sound library"
    )


def test_a_parquet_file_with_such_text_gives_its_other_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(6), "value": BAD}), tmp_path / "things.parquet")
    contract = contract_of(value="text?")
    selection: Any = Selection(Extraction.WHOLE, Window(None, None))
    source = FileSource(FileSourceConfig(kind="files", folder=str(tmp_path)))
    with source.snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        assert sum(batch.num_rows for batch in conformed.batches()) == 3
    assert len(conformed.refused) == 3
