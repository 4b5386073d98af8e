"""One row per key in every staged set: the newest version wins, and an append refuses a second row."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.contracts import contract_from
from ownlens_plugins.engine import drafts
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea

from .staging_rows import WHOLE, WINDOW, ids, reads, row, stage, staged_rows


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "ROWS_PER_GROUP", 10)
    monkeypatch.setattr(drafts, "ROWS_PER_PART", 20)


def test_the_newest_version_of_a_key_wins(area: StagingArea) -> None:
    values = [row(1, "old"), row(2, "only"), row(1, "newest", version=9), row(1, "newer", version=5)]
    manifest = stage(area, reads("entity"), values)
    assert {value["read_id"]: value["title"] for value in staged_rows(area, manifest)} == {1: "newest", 2: "only"}
    assert (manifest.rows, manifest.rejected, manifest.quarantine) == (2, 0, None)


def test_of_equal_versions_the_first_row_stays(area: StagingArea) -> None:
    manifest = stage(area, reads("entity"), [row(1, "first"), row(1, "second")])
    assert [value["title"] for value in staged_rows(area, manifest)] == ["first"]


def test_an_append_keeps_the_first_row_and_sets_the_others_aside(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(1, "first"), row(2), row(1, "second"), row(1, "third"), row(None)])
    assert ids(area, manifest) == [1, 2]
    assert (manifest.rejected, manifest.key_violations) == (3, 3)
    quarantined = area.quarantined(manifest)
    assert quarantined is not None
    reasons = quarantined["reason"].to_pylist()
    assert reasons[1:] == ["key: another row of this set has the same key, and an append takes each key once"] * 2
    assert [json.loads(text)["title"] for text in quarantined["row"].to_pylist()[1:]] == ["second", "third"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("seed", range(3))
def test_doubles_are_found_across_parts_and_row_groups(area: StagingArea, seed: int) -> None:
    values = [row(n % 30, f"v{version}", version=version) for version in range(3) for n in range(30)]
    random.Random(seed).shuffle(values)
    manifest = stage(area, reads("entity"), values, WHOLE)
    kept = staged_rows(area, manifest)
    assert sorted(value["read_id"] for value in kept) == list(range(30))
    assert {value["title"] for value in kept} == {"v2"}
    assert manifest.rows == sum(part.rows for part in manifest.parts) == 30


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_lost_all_its_rows_is_left_out(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(n % 20) for n in range(60)])
    assert ids(area, manifest) == list(range(20))
    assert [part.rows for part in manifest.parts] == [20]
    assert manifest.rejected == 40


@pytest.mark.parametrize("key", ["id", "ID"])
@pytest.mark.parametrize("preset", ["events", "entity"])
def test_columns_that_differ_in_case_only_are_told_apart(area: StagingArea, key: str, preset: str) -> None:
    names = ["id", "ID", "filename", "file_row_number", "created_at", "updated_at"]
    stamp = pa.array([0] * 3, pa.int64()).cast(pa.timestamp("us", "UTC"))
    numbers = [pa.array([1, 1, 2], pa.int64()), pa.array([5, 6, 6], pa.int64())]
    texts = [pa.array(["f"] * 3), pa.array([7] * 3, pa.int64())]
    columns = dict(zip(names, ["int64", "int64", "text", "int64", "timestamptz", "timestamptz"], strict=True))
    contract = reads(preset, key=[key], columns=columns)
    table = pa.Table.from_arrays([*numbers, *texts, stamp, stamp], names=names)
    manifest = area.stage(contract, Extracted(table.to_reader()), WINDOW)
    assert manifest is not None
    kept = [(value["id"], value["ID"]) for value in staged_rows(area, manifest)]
    assert kept == ([(1, 5), (2, 6)] if key == "id" else [(1, 5), (1, 6)])
    assert manifest.rejected == (1 if preset == "events" else 0)


def test_a_key_and_a_version_may_have_names_of_the_engine(area: StagingArea) -> None:
    names = ["c0", "C0", "file_number", "created_at", "updated_at"]
    columns = dict(zip(names, ["int64", "int64", "int64", "timestamptz", "timestamptz"], strict=True))
    contract = reads("entity", key=["C0"], version_by="file_number", cursor="updated_at", columns=columns)
    stamp = pa.array([0] * 2, pa.int64()).cast(pa.timestamp("us", "UTC"))
    numbers = [pa.array(values, pa.int64()) for values in ([1, 2], [3, 3], [8, 9])]
    manifest = area.stage(
        contract, Extracted(pa.Table.from_arrays([*numbers, stamp, stamp], names=names).to_reader()), WINDOW
    )
    assert manifest is not None
    assert [value["c0"] for value in staged_rows(area, manifest)] == [2]


def test_a_version_of_null_is_the_oldest(area: StagingArea) -> None:
    columns = {"read_id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz?"}
    contract = reads("entity", columns=columns, cursor=["updated_at", "created_at"])
    unversioned = {**row(1, "never updated"), "updated_at": None}
    for values in ([unversioned, row(1, "updated")], [row(1, "updated"), unversioned]):
        manifest = stage(area, contract, values)
        assert [value["title"] for value in staged_rows(area, manifest)] == ["updated"]


KEYS: dict[str, list[Any]] = {
    "bool": [True, False],
    "int16": [1, -1],
    "decimal(38,2)": [Decimal("1.00"), Decimal("-1.00"), Decimal(10) ** 35],
    "text": ["a", "A", "a ", "", "é", "e\u0301", "🚀"],
    "uuid": [uuid.UUID(int=n).bytes for n in (0, 1, 2**127, 2**128 - 1)],
    "date": [date(1, 1, 1), date(9999, 12, 31)],
    "time": [time(0), time(23, 59, 59, 999_999)],
    "timestamp": [datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999)],
    "timestamptz": [datetime(2026, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)],
    "enum(a, b)": ["a", "b"],
}


@pytest.mark.parametrize("key_type", KEYS)
def test_keys_of_every_type_are_told_apart_exactly(area: StagingArea, key_type: str) -> None:
    contract = contract_from(
        {
            "table": 'odd "table"',
            "domain": "tests",
            "preset": "events",
            "extraction": "whole",
            "key": ['the "key"', "part"],
            "max_rejected": 1.0,
            "path": "tests/odd",
            "columns": {'the "key"': key_type, "part": "int32"},
        }
    )
    values = KEYS[key_type]
    column = contract.arrow_schema.field(0).type
    storage = column.storage_type if isinstance(column, pa.BaseExtensionType) else column
    table = pa.table(
        {'the "key"': pa.array(values * 3, storage), "part": pa.array([1, 2, 1] * len(values))[: len(values) * 3]}
    )
    distinct = {(value, part) for value, part in zip(values * 3, table["part"].to_pylist(), strict=True)}
    manifest = area.stage(contract, Extracted(table.to_reader()), WINDOW)
    assert manifest is not None
    assert manifest.rows == len(distinct)
    assert manifest.rejected == len(values) * 3 - len(distinct)
