"""The merge that writes only the files anew in which rows change, beside the merge of delta-rs."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import CommitFailedError

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing.samples import sample_table
from ownlens_s3 import patching
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, all_files, contract_of, counts, left_over
from tests.destinations.s3.moving import KEYS, LAYOUTS, Mover, row

WAYS = ["patch", "merge"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "merge":
        monkeypatch.setattr("ownlens_s3.delta.can_patch", lambda *_: False)
    return str(request.param)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("key", KEYS)
def test_both_ways_end_with_the_same_rows_and_counts(
    local: S3Destination, tmp_path: Path, way: str, layout: str, key: str
) -> None:
    table = Mover.of(local, tmp_path, layout, key=key)
    chosen = random.Random(f"{layout}{key}")
    for sequence in range(1, 6):
        numbers = chosen.sample(range(40), 12)
        table.load(
            sequence,
            [
                row(number, chosen.choice([0, 1, 2, 40]), chosen.choice([None, 0, 1, 2]), note=chosen.choice("ab"))
                for number in numbers
            ],
        )
    assert load(local, table.loader.plans[5]).replayed
    assert left_over(local, table.loader.plans[5]) == [] or way == "merge"


def test_it_is_the_patch_that_is_tried(local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeltaTable, "merge", _never)
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n) for n in range(5)])
    table.load(2, [row(n, version=1, note="b") for n in range(3, 9)])


def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("this is not to be called")


def test_rows_that_change_nothing_write_no_file(local: S3Destination, tmp_path: Path) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n, day=n % 3) for n in range(9)])
    before = sorted(name for name in all_files(local, table.loader.contract) if name.endswith(".parquet"))
    table.load(2, [row(n, day=n % 3) for n in range(4)])
    assert sorted(name for name in all_files(local, table.loader.contract) if name.endswith(".parquet")) == before


def test_more_rows_than_are_held_are_merged(local: S3Destination, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(patching, "STAGED_BYTES", 100)
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n) for n in range(50)])
    table.load(2, [row(n, version=1, note="b") for n in range(25, 60)])


def test_a_file_that_is_long_before_its_first_change(local: S3Destination, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(patching, "_HELD_BYTES", 1)
    monkeypatch.setattr("ownlens_s3.locating.ROWS_PER_BATCH", 7)
    table = Mover.of(local, tmp_path, "none")
    table.load(1, [row(n) for n in range(50)])
    table.load(2, [row(n, version=1, note="b") for n in (3, 20, 49)])
    table.load(3, [row(n, version=0, note="c") for n in (3, 20, 49)])


def test_rows_of_other_programs_and_columns_that_left(local: S3Destination, tmp_path: Path, way: str) -> None:
    columns = {"id": "int64", "title": "text?", "at": "timestamptz", "left": "text?"}
    old = Loader(local, contract_of("upsert", "delta", "none", **_keyed(columns)), tmp_path)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    old.load(1, sample_table(old.contract, [{"id": n, "title": "a", "at": at, "left": f"l{n}"} for n in range(3)]))
    moment = pa.array([at], pa.timestamp("us", "UTC"))
    write_deltalake(_uri(old), pa.table({"id": [7], "at": moment}), mode="append", schema_mode="merge")
    del columns["left"]
    new = Loader(local, contract_of("upsert", "delta", "none", **_keyed(columns)), tmp_path)
    second = sample_table(new.contract, [{"id": n, "title": "b", "at": at} for n in (1, 7, 9)])
    assert counts(new.load(2, second)) == (3, 1, 2, 0)
    query = QueryBuilder().register("t", DeltaTable(_uri(old))).execute('SELECT id, title, "left" FROM t ORDER BY id')
    assert [tuple(each.values()) for each in pa.table(query.read_all()).to_pylist()] == [
        (0, "a", "l0"),
        (1, "b", "l1"),  # a column that left the contract keeps what it has
        (2, "a", "l2"),
        (7, "b", None),
        (9, "b", None),
    ]


def _keyed(columns: dict[str, str]) -> dict[str, Any]:
    return {"columns": columns, "key": ["id"], "partition_by": "at", "version_by": "at", "cursor": "at"}


def _uri(loader: Loader) -> str:
    return loader.destination.folder(loader.contract).uri


def test_two_rows_of_one_key_are_left_to_delta_rs(local: S3Destination, tmp_path: Path) -> None:
    columns = {"id": "int64", "title": "text?", "at": "timestamptz"}
    loader = Loader(local, contract_of("upsert", "delta", "none", **_keyed(columns)), tmp_path)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = sample_table(loader.contract, [{"id": 1, "title": "a", "at": at}])
    loader.load(1, rows)
    write_deltalake(_uri(loader), rows, mode="append")
    loader.load(2, sample_table(loader.contract, [{"id": 1, "title": "b", "at": at}]))
    assert loader.landed()["title"].to_pylist() == ["b", "b"]


def test_a_change_feed_is_left_to_delta_rs(local: S3Destination, tmp_path: Path) -> None:
    table = Mover.of(local, tmp_path, "none")
    table.load(1, [row(1), row(2)])
    DeltaTable(_uri(table.loader)).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    table.load(2, [row(1, version=1, note="b")])
    assert any(name.startswith("_change_data") for name in all_files(local, table.loader.contract))


def test_files_of_a_turn_that_lost_are_cleared(local: S3Destination, tmp_path: Path, monkeypatch: Any) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n) for n in range(5)])
    commit, failed = DeltaTable.create_write_transaction, []

    def once(*arguments: Any, **options: Any) -> Any:
        if not failed:
            failed.append(1)
            raise CommitFailedError("another commit came first")
        return commit(*arguments, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", once)
    table.load(2, [row(n, version=1, note="b") for n in range(3)])
    assert failed
    assert left_over(local, table.loader.plans[2]) == []


def test_a_file_that_is_gone_is_told(local: S3Destination, tmp_path: Path) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n) for n in range(5)])
    for path in Path(_uri(table.loader)).rglob("*.parquet"):
        path.unlink()
    with pytest.raises(
        Rejected, match=r"samples: s3 could not .* a data file of the table is gone; replace it with --f"
    ):
        load(local, table.plan(2, [row(1, version=1)]))


def test_a_table_of_1700_columns(local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """delta-rs's own merge and query take time with the square of the columns; neither is used."""
    kinds = ("int64?", "text?", "float64?", "decimal(10,2)?")
    columns = {"id": "int64", "at": "timestamptz", **{f"c{n}": kinds[n % 4] for n in range(1_698)}}
    loader = Loader(local, contract_of("upsert", "delta", "day", **_keyed(columns)), tmp_path)
    monkeypatch.setattr(DeltaTable, "merge", _never)
    monkeypatch.setattr("ownlens_s3.reading.QueryBuilder", _never)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    first = sample_table(loader.contract, [{"id": n, "at": at, "c0": n, "c1": "a"} for n in range(3)])
    loader.load(1, first)
    second = sample_table(loader.contract, [{"id": n, "at": at, "c0": n, "c1": "ab"[n % 2]} for n in range(2, 5)])
    assert counts(loader.load(2, second)) == (3, 2, 0, 1)
    loader.require(first.slice(0, 2), second)
