"""The canonical text of JSON is what the real PostgreSQL prints for jsonb."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.json_text import canonical_json
from ownlens_plugins.engine.refusals import Unfit
from ownlens_plugins.engine.sources.source import Selection

from ..conftest import Database
from .conforming_rows import contract_of
from .files_reading import read

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=5),
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def spelled(value: object) -> str:
    """Write a document as some program may write it: numbers with exponents, and no order of keys."""
    if isinstance(value, dict):
        return "{" + " ,".join(f"{json.dumps(key)}:  {spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",\n".join(map(spelled, value)) + "]"
    if isinstance(value, bool | str) or value is None:
        return json.dumps(value)
    return str(value)


@pytest.fixture(scope="module")
def server(postgresql_folder: object) -> Iterator[psycopg.Connection]:
    with psycopg.connect(host=str(postgresql_folder), user="postgres", dbname="postgres") as connection:
        yield connection


def printed(server: psycopg.Connection, text: str) -> str:
    (answer,) = server.execute("SELECT %s::text::jsonb::text", (text,)).fetchone() or ("",)
    return str(answer)


@given(documents)
@example({"b": 1, "a": 2, "aa": 3, "": 4, "é": 5, "zz": 6})
@example([1e300, 1e-300, -0.0, 5e-324])
@example('\x01\x1f\x7f\u2028\\/"\b\f\n\r\t')
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_canonical_text_is_what_postgresql_prints(server: psycopg.Connection, document: object) -> None:
    text = spelled(document)
    canonical = canonical_json(text)
    assert canonical == printed(server, text)
    assert canonical_json(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.10", "1.10"),
        ("1e2", "100"),
        ("0E+2", "0"),
        ("1.50e1", "15.0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("12345678901234567890123.4567890123456789", "12345678901234567890123.4567890123456789"),
        ('{"b":1,"a":{"d":[],"c":{}}}', '{"a": {"c": {}, "d": []}, "b": 1}'),
        ('{"bb":1,"a":2,"é":3}', '{"a": 2, "bb": 1, "é": 3}'),
        (' "\\u00e9\\ud83d\\ude80\\/" ', '"é🚀/"'),
        ("null", "null"),
        ("1" + "0" * 1000, "1" + "0" * 1000),
        ("1e-1000", "0." + "0" * 999 + "1"),
        ("1e131071", "1" + "0" * 131_071),
        ("7" * 131_072, "7" * 131_072),
    ],
)
def test_spellings_that_mean_the_same(server: psycopg.Connection, text: str, canonical: str) -> None:
    assert canonical_json(text) == canonical == printed(server, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        ("[1,]", "is not JSON"),
        ('"a\nb"', "is not JSON"),
        ("[01]", "is not JSON"),
        ("NaN", "holds NaN, which is not JSON"),
        ("[Infinity]", "holds Infinity, which is not JSON"),
        ('"\\u0000"', "holds a NUL character, which jsonb cannot keep"),
        ('{"\\u0000": 1}', "holds a NUL character, which jsonb cannot keep"),
        ('"\\ud800"', "holds half of a character, which is no text"),
        ("1e131072", "holds a number that jsonb cannot keep"),
        ("1e99999999999999999999", "holds a number that jsonb cannot keep"),
        ("1." + "3" * 16_384, "holds a number that jsonb cannot keep"),
        ("[" + "1e131071," * 200 + "1]", "holds exponents that ask for more than 16 MiB of zeros"),
        ("[" * 1001 + "]" * 1001, "is nested more than 1,000 levels deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "is nested more than 1,000 levels deep"),
        ("[" * 900 + "]" * 899, "is not JSON"),
        ("[" * 900 + "]" * 901, "is not JSON"),
        ("[" * 900 + "1 2" + "]" * 900, "is not JSON"),
        ("[" * 900 + "[1,]" + "]" * 900, "is not JSON"),
        ("[" * 900 + '{"a" 1}' + "]" * 900, "is not JSON"),
        ("[" * 900 + "01" + "]" * 900, "is not JSON"),
        ("[" * 900 + "nul" + "]" * 900, "is not JSON"),
        ("[" * 900 + '{"a": 1, "a": 2}' + "]" * 900, "repeats a key in an object, which jsonb would drop"),
        ("[" * 900 + "NaN" + "]" * 900, "holds NaN, which is not JSON"),
    ],
)
def test_what_jsonb_cannot_hold_is_refused_without_the_value(text: str, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        canonical_json(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "\\u0061": 1}}]'])
def test_repeated_keys_are_refused_where_jsonb_would_drop_one(server: psycopg.Connection, text: str) -> None:
    assert printed(server, text).count('"a"') == 1
    with pytest.raises(Unfit, match="repeats a key in an object"):
        canonical_json(text)


def test_the_longest_fraction_that_is_kept_is_the_longest_that_postgresql_keeps(database: Database) -> None:
    kept = "1." + "3" * 16_383
    assert canonical_json(kept) == database.execute("SELECT %s::text::jsonb::text", (kept,)).fetchone()[0]  # type: ignore[index]
    longer = kept + "3"
    with pytest.raises(psycopg.Error):
        database.execute("SELECT %s::text::jsonb::text", (longer,))


DEEP = 'null, "[{\\"[", {"a": [20, -1.50, true], "b": {}}'


@pytest.mark.parametrize("left", [60, 150, 500, 20_000])
def test_depth_does_not_depend_on_the_stack(server: psycopg.Connection, left: int) -> None:
    depth = sum(1 for _ in inspect.stack(0))
    before = sys.getrecursionlimit()
    text = "[" * 998 + DEEP.replace("20", "2e1").replace(", ", " ,\n") + "]" * 998
    sys.setrecursionlimit(depth + left)
    try:
        canonical = canonical_json(text)
        with pytest.raises(Unfit, match="more than 1,000 levels deep"):
            canonical_json(f"[{text}]")
    finally:
        sys.setrecursionlimit(before)
    assert canonical == "[" * 998 + DEEP + "]" * 998 == printed(server, text)


@pytest.mark.parametrize("kind", ["json", "jsonb", "text"])
def test_depth_is_judged_alike_from_every_type(database: Database, kind: str) -> None:
    database.execute(f"CREATE TABLE things (id bigint, value {kind})")
    for depth in (1000, 500, 1001, 1, 3000):
        database.execute("INSERT INTO things VALUES (%s, %s)", (depth, "[" * depth + "]" * depth))
    contract = contract_of(value="json")
    selection = Selection(Extraction.WHOLE, Window(None, None))
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        kept = [row["id"] for batch in conformed.batches() for row in batch.to_pylist()]
    assert kept == [1, 500, 1000]
    assert [row.reasons for row in conformed.refused] == [("value: is nested more than 1,000 levels deep",)] * 2


def test_depth_is_judged_alike_in_files(tmp_path: Path) -> None:
    lines = [f'{{"id": {depth}, "value": {"[" * depth}{"]" * depth}}}' for depth in (1, 500, 1000, 1001, 3000)]
    (tmp_path / "things.jsonl").write_text("\n".join(lines))
    (tmp_path / "others.json").write_text(f"[{', '.join(lines)}]")
    contract = contract_of(value="json")
    for table in ("things", "others"):
        kept, reasons = read(tmp_path, replace(contract, table=table))
        assert [row["id"] for row in kept] == [1, 500, 1000]
        assert reasons == ["value: is nested more than 1,000 levels deep"] * 2
