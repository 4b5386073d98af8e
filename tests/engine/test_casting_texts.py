"""Text, enum, UUID, JSON and bytes: what arrives is kept, or the row is refused with a reason that shows no value."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import conform_column

TOKEN = uuid.UUID("12345678-1234-5678-1234-567812345678")
NUL = "value: holds a NUL character, which PostgreSQL cannot store"
NO_HEX = "value: is not bytes in hexadecimal, which starts with \\x"


def test_odd_text_is_kept() -> None:
    texts = ["", " ", "NULL", "\\N", "null", "naïve 🚀", "a\tb\nc\r", "'\"`;--", "char(5)  ", "\x01\x7f", None]
    assert conform_column("text?", pa.array(texts)) == (texts, [])


def test_nul_in_text_is_refused_unless_the_source_vouches_for_it() -> None:
    texts = pa.array(["ok", "a\0b", "\0", None])
    assert conform_column("text?", texts) == (["ok", None], [NUL, NUL])
    assert conform_column("text?", pa.array(["ok"]), checked=True) == (["ok"], [])


def test_null_and_empty_text_stay_apart() -> None:
    assert conform_column("text?", pa.array(["", None])) == (["", None], [])
    reason = "value: is null, but the contract does not allow it"
    assert conform_column("text", pa.array(["", None])) == ([""], [reason])


def test_enum_takes_its_labels_only() -> None:
    reason = "value: is not one of the enum's labels"
    texts = pa.array(["draft", "Draft", "gone", "", None, "draft "])
    assert conform_column("enum(draft, live)?", texts) == (["draft", None], [reason] * 4)
    assert conform_column("enum(draft, live)", pa.array([], pa.string())) == ([], [])
    assert conform_column("enum(a)?", pa.array([None, None], pa.string())) == ([None, None], [])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([TOKEN.bytes], pa.binary(16)),
        pa.array([TOKEN.bytes], pa.binary()),
        pa.array([TOKEN.bytes], pa.large_binary()),
        pa.array([TOKEN.bytes], pa.binary_view()),
        pa.array([str(TOKEN)]),
        pa.array([str(TOKEN).upper()]),
        pa.array([TOKEN.hex]),
        pa.array([f"{{{TOKEN}}}"], pa.large_string()),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([TOKEN.bytes], pa.binary(16))),
        pa.array([str(TOKEN)]).dictionary_encode(),
    ],
)
def test_uuid_from_every_spelling(values: pa.Array) -> None:
    assert conform_column("uuid", values) == ([TOKEN.bytes], [])


@pytest.mark.parametrize("text", ["", "123", "g" * 32, str(TOKEN) + "0", "null"])
def test_text_that_is_no_uuid(text: str) -> None:
    assert conform_column("uuid?", pa.array([text, None, str(TOKEN)])) == (
        [None, TOKEN.bytes],
        ["value: is not a UUID"],
    )


def test_bytes_of_another_length_are_no_uuid() -> None:
    assert conform_column("uuid?", pa.array([b"x" * 15, b"x" * 17, None, TOKEN.bytes])) == (
        [None, TOKEN.bytes],
        ["value: does not fit uuid exactly"] * 2,
    )


@pytest.mark.parametrize(
    ("texts", "kept", "reasons"),
    [
        (['{"b": 1, "a": 1.10}', "null", None], ['{"a": 1.10, "b": 1}', "null", None], []),
        (["{}", "{"], ["{}"], ["value: is not JSON"]),
        (['{"a": 1, "a": 2}'], [], ["value: repeats a key in an object, which jsonb would drop"]),
        (
            ["NaN", "[-Infinity]"],
            [],
            ["value: holds NaN, which is not JSON", "value: holds -Infinity, which is not JSON"],
        ),
        (["1e200000"], [], ["value: holds a number that jsonb cannot keep"]),
        (['"\\u0000"'], [], ["value: holds a NUL character, which jsonb cannot keep"]),
        (["9007199254740993"], ["9007199254740993"], []),
    ],
)
def test_json_text_becomes_canonical_or_is_refused(texts: list[Any], kept: list[Any], reasons: list[str]) -> None:
    assert conform_column("json?", pa.array(texts, pa.string())) == (kept, reasons)
    wrapped = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(texts, pa.string()))
    assert conform_column("json?", wrapped) == (kept, reasons)


def test_only_json_of_a_jsonb_column_is_trusted() -> None:
    texts = pa.array(['{"b":1,"a":2}'])
    wrapped = pa.ExtensionArray.from_storage(pa.json_(pa.string()), texts)
    assert conform_column("json", wrapped, checked=True) == (['{"b":1,"a":2}'], [])
    assert conform_column("json", texts, checked=True) == (['{"a": 2, "b": 1}'], [])


def test_json_null_is_not_null() -> None:
    assert conform_column("json", pa.array(["null"])) == (["null"], [])
    assert conform_column("json?", pa.array([None, "null"])) == ([None, "null"], [])


def test_structs_and_lists_become_json() -> None:
    structs = pa.array([{"b": 1, "a": ["x", None]}, {"b": None, "a": []}, None])
    assert conform_column("json?", structs) == (['{"a": ["x", null], "b": 1}', '{"a": [], "b": null}', None], [])
    floats = pa.array([[1.5], [float("nan")]])
    assert conform_column("json", floats) == (["[1.5]"], ["value: holds NaN or infinity, which is not JSON"])


@pytest.mark.parametrize(
    "given_type",
    [
        pa.map_(pa.string(), pa.int32()),
        pa.struct([("at", pa.timestamp("us"))]),
        pa.struct([("amount", pa.decimal128(10, 2))]),
        pa.list_(pa.struct([("blob", pa.binary())])),
        pa.int64(),
    ],
)
def test_types_without_one_json_spelling_stop_the_table(given_type: pa.DataType) -> None:
    with pytest.raises(SourceInvalid, match="convert it to JSON text"):
        conform_column("json", pa.array([], given_type))


def test_bytes_from_every_binary_type_and_from_hexadecimal() -> None:
    for given_type in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)):
        assert conform_column("bytes?", pa.array([b"\0\xff", None], given_type)) == ([b"\0\xff", None], [])
    texts = pa.array(["\\x00ff", "\\x", "00ff", "\\xzz", "\\x0", None])
    assert conform_column("bytes?", texts) == ([b"\0\xff", b"", None], [NO_HEX] * 3)


@pytest.mark.parametrize(
    ("wanted", "given_type"),
    [
        ("text", pa.int64()),
        ("text", pa.binary()),
        ("text", pa.bool_()),
        ("enum(a)", pa.int8()),
        ("uuid", pa.int64()),
        ("uuid", pa.binary(15)),
        ("bytes", pa.int32()),
    ],
)
def test_types_that_are_no_text_stop_the_table(wanted: str, given_type: pa.DataType) -> None:
    with pytest.raises(SourceInvalid, match=r"things: column 'value' arrives as .*; convert it to"):
        conform_column(wanted, pa.array([], given_type))
