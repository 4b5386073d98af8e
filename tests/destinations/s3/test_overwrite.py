"""An overwrite replaces all rows in one step, whatever the format, and formats change only by an overwrite."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, all_files, contract_of, left_over, manifests

FORMATS = ["delta", "parquet", "json"]


@pytest.mark.parametrize("partition", ["none", "day"])
@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_the_old_rows_stays(local: S3Destination, tmp_path: Path, form: str, partition: str) -> None:
    loader = Loader(local, contract_of("overwrite", form, partition), tmp_path)
    for number in range(1, 4):
        rows = loader.rows(10 * number, first=1000 * number, days=number)
        loader.load(number, rows)
        loader.require(rows)
    assert left_over(local, loader.plans[3]) == []
    if form != "delta":
        assert manifests(local, loader.contract) == ["_ownlens/manifests/00000003.json"]


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_the_manifest_says_what_the_table_is(local: S3Destination, tmp_path: Path, form: str) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    result = loader.load(4, loader.rows(30))
    content = local.folder(loader.contract).read("_ownlens/manifests/00000004.json")
    assert content is not None
    manifest = json.loads(content)
    files = {entry.name: entry.size for entry in local.folder(loader.contract).entries()}
    assert manifest["format"] == form
    assert manifest["rows"] == 30 == sum(file["rows"] for file in manifest["files"])
    assert manifest["load"]["load_id"] == "samples/00000004"
    assert (manifest["load"]["sequence"], manifest["load"]["digest"]) == (4, result.digest)
    assert manifest["load"]["columns"]["amount"] == "decimal(18,4)?"
    assert all(files[file["path"]] == file["bytes"] for file in manifest["files"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_reader_never_sees_an_empty_or_a_mixed_table(local: S3Destination, tmp_path: Path, form: str) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    loader.load(1, loader.rows(30))
    seen, stop = set[tuple[int, ...]](), threading.Event()
    plan = loader.plans[1]

    def watch() -> None:
        while not stop.is_set():
            with suppress(Retryable):  # files of the replaced load may go while they are read
                ids = local.read(plan).read_all()["id"].to_pylist()
                seen.add((len(ids), *sorted({number // 1000 for number in ids})))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(2, 8):
        loader.load(number, loader.rows(30, first=1000 * number))
    stop.set()
    watcher.join()
    assert seen <= {(30, 0), *((30, number) for number in range(2, 8))}
    assert seen


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("old", FORMATS)
def test_a_change_of_format_by_overwrite(local: S3Destination, tmp_path: Path, old: str, new: str) -> None:
    _change_format(local, tmp_path, old, new)


@pytest.mark.minio
@pytest.mark.parametrize(("old", "new"), [("delta", "parquet"), ("json", "delta")])
@pytest.mark.parametrize("lake", ["minio"], indirect=True)
def test_a_change_of_format_on_a_server(destination: S3Destination, tmp_path: Path, old: str, new: str) -> None:
    _change_format(destination, tmp_path, old, new)


def _change_format(destination: S3Destination, tmp_path: Path, old: str, new: str) -> None:
    before = Loader(destination, contract_of("overwrite", old), tmp_path)
    before.load(1, before.rows(20))
    after = Loader(destination, contract_of("overwrite", new), tmp_path)
    rows = after.rows(10, first=50)
    after.load(2, rows)
    after.require(rows)
    if old != new:
        names = all_files(destination, after.contract)
        assert any(name.startswith("_delta_log") for name in names) == (new == "delta")
        assert not [name for name in names if "part-00000001-" in name]
        assert bool(manifests(destination, after.contract)) == (new != "delta")
    assert left_over(destination, after.plans[2]) == []


def test_a_change_of_format_without_overwrite_is_refused(local: S3Destination, tmp_path: Path) -> None:
    parquet = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    rows = parquet.rows(20)
    parquet.load(1, rows)
    delta = Loader(local, contract_of("upsert", "delta"), tmp_path)
    with pytest.raises(Rejected, match=r"samples: s3 holds this table as parquet; set format: parquet, strategy: "):
        delta.load(2, rows)
    parquet.require(rows)
    newer = delta.rows(5, version=1)
    delta.load(3, newer, strategy=Strategy.OVERWRITE)  # what --full-refresh does
    delta.plans.pop(2)
    delta.require(newer)


def test_a_crash_in_the_middle_of_a_format_change_is_finished(local: S3Destination, tmp_path: Path) -> None:
    """Both tables are there for a moment; the one with the newer load counts."""
    parquet = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    parquet.load(1, parquet.rows(20))
    folder = local.folder(parquet.contract)
    kept = {entry.name: folder.read(entry.name) for entry in folder.entries()}
    delta = Loader(local, contract_of("upsert", "delta"), tmp_path)
    rows = delta.rows(10, first=50)
    delta.load(2, rows, strategy=Strategy.OVERWRITE)
    for name, content in kept.items():
        local.folder(delta.contract).put(name, content or b"")
    more = delta.rows(5, first=100)
    delta.load(3, more)
    delta.require(rows, more)
    assert manifests(local, delta.contract) == []
    assert left_over(local, delta.plans[3]) == []


def test_a_delta_table_of_someone_else_is_not_replaced_by_files(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    folder = Path(local.folder(loader.contract).uri)
    write_deltalake(str(folder), pa.table({"theirs": [1]}))
    with pytest.raises(Rejected, match="a Delta table there that OwnLens did not write; use another path"):
        loader.load(1, loader.rows(5))
    assert len(list(folder.glob("*.parquet"))) == 1


@pytest.mark.parametrize("form", ["parquet", "json"])
@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT])
def test_files_can_only_be_overwritten(local: S3Destination, tmp_path: Path, form: str, strategy: Strategy) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    with pytest.raises(Rejected, match=f"s3 cannot {strategy} a {form} table, only overwrite it; use format: delta"):
        load(local, loader.plan(1, loader.rows(5), strategy=strategy))


def test_tables_in_folders_below_other_tables_stay_apart(destination: S3Destination, tmp_path: Path) -> None:
    """`media/collections` and `media/collections/items` are two tables of the newsroom."""
    outer = Loader(destination, contract_of("overwrite", "parquet", path="media/collections"), tmp_path)
    inner = Loader(destination, contract_of("append", table="items", path="media/collections/items"), tmp_path)
    rows = inner.rows(20)
    inner.load(1, rows)
    for number in (1, 2, 3):
        outer.load(number, outer.rows(10, first=number))
    plan = outer.plan(4, outer.rows(3))
    with destination.open(plan) as session:
        session.writer.write(plan.parts[0])
        session.abort()
    inner.require(rows)
    outer.plans.pop(4)
    outer.require(outer.rows(10, first=3))
