"""Rows that a look-back reads again are not staged again: by key for an append, by content for an upsert."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest, since_refresh
from ownlens_plugins.errors import Rejected

from .staging_rows import REFRESH, START, extracted, ids, reads, row, rows, stage

NOW = START + timedelta(days=9)


def following(area: StagingArea, start: datetime | None = None) -> StageRequest:
    known = since_refresh(area.manifests("reads"))
    return StageRequest(Extraction.WINDOW, Window(start, NOW), after=known[-1].sequence, known=known)


def again(area: StagingArea, contract: TableContract, values: Any, start: datetime | None = None) -> Manifest | None:
    return area.stage(contract, extracted(values), following(area, start))


def test_an_append_takes_each_key_once_and_says_how_many_had_changed(area: StagingArea) -> None:
    stage(area, reads(), rows(1, 2, 3))
    manifest = again(area, reads(), [row(1), row(2, "changed"), row(4)])
    assert manifest is not None
    assert ids(area, manifest) == [4]
    assert (manifest.rows, manifest.left_out, manifest.left_out_changed) == (1, 2, 1)
    assert again(area, reads(), rows(1, 2, 3, 4)) is None


def test_an_upsert_takes_every_row_that_is_not_as_it_was_staged_last(area: StagingArea) -> None:
    contract = reads("entity")
    stage(area, contract, [row(1, "a"), row(2, "a")])
    stage(area, contract, [row(1, "b")])
    manifest = again(area, contract, [row(1, "a"), row(2, "a"), row(3, "a")])
    assert manifest is not None
    assert ids(area, manifest) == [1, 3]  # 1 has changed back
    assert (manifest.left_out, manifest.left_out_changed) == (1, 0)


def test_an_append_with_versions_keeps_each_version(area: StagingArea) -> None:
    contract = reads("entity", destinations={"s3": {"strategy": "append"}})
    stage(area, contract, [row(1, "a")])
    manifest = again(area, contract, [row(1, "a", version=1), row(1, "b")])
    assert manifest is not None
    assert (ids(area, manifest), manifest.rows) == ([1], 1)
    assert again(area, contract, [row(1, "other", version=1)]) is None


def test_rows_that_a_refresh_took_away_are_new(area: StagingArea) -> None:
    stage(area, reads(), rows(1, 2))
    stage(area, reads(), rows(2), REFRESH)
    manifest = again(area, reads(), rows(1, 2))
    assert manifest is not None
    assert ids(area, manifest) == [1]


def test_staged_rows_before_the_start_are_not_looked_at(area: StagingArea) -> None:
    stage(area, reads(), [row(1, day=0), row(2, day=5)])
    manifest = again(area, reads(), [row(1, day=5), row(2, day=5)], START + timedelta(days=5))
    assert manifest is not None
    assert ids(area, manifest) == [1]


def test_a_draft_of_many_parts_loses_the_right_rows(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ownlens_plugins.engine.drafts.ROWS_PER_GROUP", 10)
    monkeypatch.setattr("ownlens_plugins.engine.drafts.ROWS_PER_PART", 40)
    stage(area, reads(), rows(*range(0, 300, 3)))
    manifest = again(area, reads(), rows(*range(300)))
    assert manifest is not None
    assert ids(area, manifest) == [number for number in range(300) if number % 3]


def test_a_set_of_another_contract_does_not_hide_a_row(area: StagingArea) -> None:
    columns = {"read_id": "int64", "created_at": "timestamptz", "updated_at": "timestamptz"}
    narrow = reads("entity", columns=columns)
    table = pa.Table.from_pylist([{k: v for k, v in row(1).items() if k != "title"}])
    assert area.stage(narrow, Extracted(table.to_reader()), StageRequest(Extraction.WINDOW, Window(None, START)))
    manifest = again(area, reads("entity"), [row(1, None)])
    assert manifest is not None  # the column is new, and its null is not known to be in the stores


def test_a_key_of_a_wider_type_is_still_the_key(area: StagingArea) -> None:
    columns = {"read_id": "int32", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}
    stage(area, reads(columns=columns), rows(1))
    manifest = again(area, reads(), rows(1, 2))
    assert manifest is not None
    assert ids(area, manifest) == [2]


def test_a_part_that_is_gone_stops_the_table(area: StagingArea) -> None:
    (part,) = area.parts(stage(area, reads(), rows(1)))
    Path(part.uri).unlink()
    with pytest.raises(Rejected, match="reads: a part of staged set 1 is gone"):
        again(area, reads(), rows(1, 2))


def test_columns_that_differ_by_case_are_told_apart(area: StagingArea) -> None:
    columns = {"read_id": "int64", "READ_ID": "int64", "created_at": "timestamptz", "updated_at": "timestamptz"}
    contract = reads("entity", columns=columns)
    schema = pa.schema([(name, contract.arrow_schema.field(name).type) for name in columns])

    def given(*pairs: tuple[int, int]) -> Extracted:
        values = [{"read_id": one, "READ_ID": other, "created_at": START, "updated_at": START} for one, other in pairs]
        return Extracted(pa.Table.from_pylist(values, schema).to_reader())

    assert area.stage(contract, given((1, 7), (2, 7)), StageRequest(Extraction.WINDOW, Window(None, START)))
    manifest = area.stage(contract, given((1, 7), (2, 8)), following(area))
    assert manifest is not None
    assert manifest.rows == 1


VALUES: dict[str, tuple[Any, Any]] = {
    "bool": (True, False),
    "int16": (-1, 0),
    "int64": (2**63 - 1, 2**63 - 2),
    "float32": (0.0, -0.0),
    "float64": (0.0, -0.0),
    "decimal(38,10)": (Decimal("1.1"), Decimal("1.1000000001")),
    "text": ("a", "A"),
    "uuid": (UUID(int=1).bytes, UUID(int=2).bytes),
    "json": ('{"a": 1}', '{"a": 2}'),
    "bytes": (b"\0", b"\0\0"),
    "date": (date(1, 1, 1), date(9999, 12, 31)),
    "time": (time(0, 0, 0, 1), time(0, 0, 0, 2)),
    "timestamp": (datetime(1, 1, 1), datetime(1, 1, 1, 0, 0, 0, 1)),
    "timestamptz": (datetime(9999, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    "enum(a, A)": ("a", "A"),
    "array<int32>": ([1, None], [1]),
    "array<float64>": ([0.0], [-0.0]),
    "array<text>": ([""], []),
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_type_is_compared_exactly(area: StagingArea, kind: str) -> None:
    columns = {"read_id": "int64", "value": f"{kind}?", "created_at": "timestamptz", "updated_at": "timestamptz"}
    contract = reads("entity", columns=columns)
    one, other = VALUES[kind]

    def given(*values: Any) -> Extracted:
        size = len(values)
        storage = contract.arrow_schema.field("value").type
        array = pa.array([*values], getattr(storage, "storage_type", storage))
        column = pa.ExtensionArray.from_storage(storage, array) if isinstance(storage, pa.BaseExtensionType) else array
        moments = pa.array([START] * size, pa.timestamp("us", "UTC"))
        table = pa.table([pa.array(range(size)), column, moments, moments], names=list(columns))
        return Extracted(table.to_reader())

    before = given(one, one, None, None, other)
    assert area.stage(contract, before, StageRequest(Extraction.WINDOW, Window(None, START)))
    manifest = area.stage(contract, given(one, other, None, one, None), following(area))
    assert manifest is not None
    assert ids(area, manifest) == [1, 3, 4]


def test_two_nans_are_the_same_row(area: StagingArea) -> None:
    columns = {"read_id": "int64", "value": "float64", "created_at": "timestamptz", "updated_at": "timestamptz"}
    contract = reads("entity", columns=columns)
    (odd,) = struct.unpack("d", struct.pack("Q", 0x7FF8000000000001))
    for value, sequence in ((float("nan"), 1), (float("nan"), None), (odd, 2)):
        moments = pa.array([START], pa.timestamp("us", "UTC"))
        table = pa.table([[1], pa.array([value], pa.float64()), moments, moments], names=list(columns))
        request = StageRequest(Extraction.WINDOW, Window(None, START)) if sequence == 1 else following(area)
        manifest = area.stage(contract, Extracted(table.to_reader()), request)
        assert (manifest and manifest.sequence) == sequence


def test_local_cursors_and_nulls_are_found_again(area: StagingArea) -> None:
    contract = contract_from(
        {
            "table": "reads",
            "domain": "news",
            "preset": "events",
            "key": ["read_id"],
            "cursor": ["late", "at"],
            "path": "news/reads",
            "columns": {"read_id": "int64", "late": "date?", "at": "timestamp"},
        }
    )
    schema = pa.schema([("read_id", pa.int64()), ("late", pa.date32()), ("at", pa.timestamp("us"))])
    naive = START.replace(tzinfo=None)
    values = [
        {"read_id": 1, "late": None, "at": naive},
        {"read_id": 2, "late": naive.date(), "at": naive - timedelta(days=90)},
        {"read_id": 3, "late": None, "at": naive - timedelta(days=90)},
    ]

    def given() -> Extracted:
        return Extracted(pa.Table.from_pylist(values, schema).to_reader())

    assert area.stage(contract, given(), StageRequest(Extraction.WINDOW, Window(None, START)))
    manifest = area.stage(contract, given(), following(area, START))
    assert manifest is not None
    assert ids(area, manifest) == [3]  # no look-back reads it again: its staged row lies before the start


def test_days_stay_whole(area: StagingArea) -> None:
    contract = reads(
        "daily",
        columns={"read_id": "int64", "title": "text?", "created_at": "date", "updated_at": "timestamptz"},
    )
    schema = pa.schema(
        [
            ("read_id", pa.int64()),
            ("title", pa.string()),
            ("created_at", pa.date32()),
            ("updated_at", pa.timestamp("us", "UTC")),
        ]
    )
    values = [{**row(number), "created_at": START.date()} for number in (1, 2)]
    request = StageRequest(Extraction.DAYS, Window(None, START))
    assert area.stage(contract, Extracted(pa.Table.from_pylist(values, schema).to_reader()), request)
    values.append({**row(3), "created_at": START.date()})
    later = replace(following(area), extraction=Extraction.DAYS)
    manifest = area.stage(contract, Extracted(pa.Table.from_pylist(values, schema).to_reader()), later)
    assert manifest is not None
    assert manifest.rows == 3
