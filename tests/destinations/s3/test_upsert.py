"""What a merge does to rows that are new, newer, older, equal, or the same version with other values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ownlens_plugins.testing.samples import canonical_rows
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of, counts

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = {
    "id": "int64",
    "region": "text",
    "title": "text?",
    "score": "float64?",
    "tags": "array<text>?",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}


@pytest.fixture(params=["none", "day", "month"])
def loader(request: pytest.FixtureRequest, destination: S3Destination, tmp_path: Path) -> Loader:
    return Loader(
        destination, contract_of("upsert", "delta", request.param, columns=COLUMNS, key=["id", "region"]), tmp_path
    )


def rows(loader: Loader, *changes: dict[str, Any]) -> pa.Table:
    base = {"region": "eu", "title": "a", "score": 1.5, "tags": ["x", None], "created_at": START, "updated_at": START}
    return pa.Table.from_pylist([{**base, **change} for change in changes], schema=loader.contract.arrow_schema)


def by_id(loader: Loader) -> dict[tuple[int, str], dict[str, Any]]:
    return {(row["id"], row["region"]): row for row in loader.landed().to_pylist()}


def test_each_kind_of_row_is_counted_for_what_it_does(loader: Loader) -> None:
    later, earlier = START + timedelta(microseconds=1), START - timedelta(days=1)
    loader.load(1, rows(loader, *({"id": number} for number in range(6))))
    second = rows(
        loader,
        {"id": 0},  # equal in everything
        {"id": 1, "title": "newer", "updated_at": later},
        {"id": 2, "title": "older", "updated_at": earlier},
        {"id": 3, "title": "same version, other value"},
        {"id": 4, "title": None, "score": float("nan"), "tags": None, "updated_at": later},
        {"id": 5, "region": "us"},  # another key
        {"id": 9, "created_at": START + timedelta(days=40)},
    )
    assert counts(loader.load(2, second)) == (7, 2, 3, 2)
    landed = by_id(loader)
    assert len(landed) == 8
    assert landed[1, "eu"]["title"] == "newer"
    assert landed[2, "eu"]["title"] == "a"
    assert landed[3, "eu"]["title"] == "same version, other value"
    assert (landed[4, "eu"]["title"], landed[4, "eu"]["tags"]) == (None, None)
    assert landed[5, "us"]["title"] == "a"


def test_a_set_that_changes_nothing_rewrites_nothing_and_is_still_marked(loader: Loader) -> None:
    first = rows(loader, *({"id": number} for number in range(4)))
    loader.load(1, first)
    files = [name for name in _data_files(loader)]
    assert counts(loader.load(2, first)) == (4, 0, 0, 4)
    assert _data_files(loader) == files
    assert loader.load(2, first).replayed


def test_versions_that_arrive_in_the_wrong_order_end_with_the_newest(loader: Loader) -> None:
    sets = {
        number: rows(loader, {"id": 1, "title": f"v{number}", "updated_at": START + timedelta(hours=number)})
        for number in range(1, 5)
    }
    for number in (3, 1, 4, 2):
        loader.load(number, sets[number])
    assert [row["title"] for row in loader.landed().to_pylist()] == ["v4"]


def test_nan_null_and_minus_zero_are_no_endless_changes(loader: Loader) -> None:
    odd = rows(loader, {"id": 1, "score": float("nan")}, {"id": 2, "score": None}, {"id": 3, "score": -0.0})
    loader.load(1, odd)
    assert counts(loader.load(2, odd)) == (3, 0, 0, 3)
    assert counts(loader.load(3, rows(loader, {"id": 2, "score": 0.0}))) == (1, 0, 1, 0)
    assert canonical_rows(loader.landed().filter(pc.equal(loader.landed()["id"], 3))) == canonical_rows(odd.slice(2))


def test_the_merge_leaves_other_partitions_alone(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("upsert", columns=COLUMNS, key=["id", "region"]), tmp_path)
    loader.load(1, rows(loader, *({"id": day, "created_at": START + timedelta(days=day)} for day in range(5))))
    before = set(_live(loader))
    changed = {"id": 3, "title": "b", "created_at": START + timedelta(days=3), "updated_at": START + timedelta(days=9)}
    loader.load(2, rows(loader, changed))
    gone = before - set(_live(loader))
    assert len(gone) == 1
    assert all("_ownlens_day=2026-03-04" in path for path in gone)
    log = local.folder(loader.contract).read("_delta_log/00000000000000000002.json")
    assert log is not None
    assert log.count(b'{"remove":') == 1


def _live(loader: Loader) -> list[str]:
    table = loader.destination.delta(loader.contract, loader.plans[1].options).open()  # type: ignore[arg-type]
    assert table is not None
    return table.file_uris()


def _data_files(loader: Loader) -> list[str]:
    entries = loader.destination.folder(loader.contract).entries()
    return [entry.name for entry in entries if entry.name.endswith(".parquet")]
