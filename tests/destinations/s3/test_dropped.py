"""A table that somebody dropped, replaced or took back is noticed: what is there decides, and never an old ledger."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.faults import reach
from ownlens_s3.destination import S3Destination
from ownlens_s3.ledger import read_entry

from .loads import Loader, all_files, contract_of, counts, left_over

ANOTHER = "samples: the table in s3 is not the one that was loaded before; put that one back, or replace it with"


@pytest.fixture(params=["append", "upsert", "overwrite"])
def loader(request: pytest.FixtureRequest, local: S3Destination, tmp_path: Path) -> Loader:
    made = Loader(local, contract_of(request.param), tmp_path)
    for number in (1, 2):
        made.load(number, made.rows(10, first=10 * number))
    return made


def root(loader: Loader) -> Path:
    return Path(loader.destination.folder(loader.contract).uri)


def lake(loader: Loader) -> DeltaTable:
    return DeltaTable(root(loader))


def expected(loader: Loader, *numbers: int) -> list[pa.Table]:
    whole = loader.contract.options_for("s3")["strategy"] == "overwrite"
    return [loader.rows(10, first=10 * number) for number in (numbers[-1:] if whole else numbers)]


@pytest.mark.parametrize("gone", ["the log", "all but the ledger"])
def test_a_dropped_table_is_filled_from_all_sets(loader: Loader, gone: str) -> None:
    for path in root(loader).iterdir():
        if path.name == "_delta_log" or (gone != "the log" and path.name != "_ownlens"):
            shutil.rmtree(path)
    assert all(loader.destination.find_commit(loader.plans[number]) is None for number in (1, 2))
    for number in (1, 2):
        assert not load(loader.destination, loader.plans[number]).replayed
    loader.require(*expected(loader, 1, 2))
    entry = read_entry(loader.destination.folder(loader.contract), 2)
    assert entry is not None
    assert entry.table_id == str(lake(loader).metadata().id)


def test_a_crash_before_the_ledger_of_a_new_table_does_not_revive_the_old_entry(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(local, contract_of("upsert"), tmp_path)
    loader.load(1, loader.rows(10))
    loader.load(2, loader.rows(10))  # changes nothing in this table
    shutil.rmtree(root(loader) / "_delta_log")

    def crash(point: str) -> None:
        if point == "before_ledger":
            raise KeyboardInterrupt
        reach(point)

    monkeypatch.setattr("ownlens_s3.session.reach", crash)
    with pytest.raises(KeyboardInterrupt):
        load(local, loader.plans[2])
    monkeypatch.undo()
    found = local.find_commit(loader.plans[2])
    assert found is not None
    assert counts(found) == (10, 10, 0, 0)
    assert local.find_commit(loader.plans[1]) is None


def test_an_empty_table_in_its_place_is_filled(loader: Loader) -> None:
    schema = lake(loader).schema()
    parts = list(lake(loader).metadata().partition_columns)
    _drop(loader)
    DeltaTable.create(root(loader), schema=schema, partition_by=parts)
    for number in (1, 2):
        assert not load(loader.destination, loader.plans[number]).replayed
    loader.require(*expected(loader, 1, 2))


def test_another_table_with_rows_is_only_replaced(loader: Loader) -> None:
    theirs = pa.table(lake(loader).to_pyarrow_table())
    _drop(loader)
    write_deltalake(root(loader), theirs, partition_by=["_ownlens_day"])
    there = all_files(loader.destination, loader.contract)
    assert loader.destination.find_commit(loader.plans[2]) is None
    if loader.contract.options_for("s3")["strategy"] != "overwrite":
        with pytest.raises(Rejected, match=re.escape(ANOTHER)) as caught:
            loader.load(3, loader.rows(5))
        assert "\n" not in str(caught.value)
        assert all_files(loader.destination, loader.contract) == there
    whole = loader.rows(7)
    result = loader.load(4, whole, strategy=Strategy.OVERWRITE)  # what --full-refresh does
    assert (result.inserted, result.deleted) == (7, theirs.num_rows)
    loader.require(whole)
    assert load(loader.destination, loader.plans[4]).replayed
    after = loader.rows(5, first=100)
    assert not loader.load(5, after).replayed


def test_a_table_that_is_exchanged_while_a_load_runs(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    loader.load(1, loader.rows(5))
    plan = loader.plan(2, loader.rows(5, first=10))
    with local.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        theirs = pa.table(lake(loader).to_pyarrow_table())
        _drop(loader)
        write_deltalake(root(loader), theirs, partition_by=["_ownlens_day"])
        with pytest.raises(Rejected, match=re.escape(ANOTHER)):
            session.commit(receipts)


def _drop(loader: Loader) -> None:
    for path in root(loader).iterdir():
        if path.name != "_ownlens":
            shutil.rmtree(path)


def test_a_table_that_was_taken_back_is_only_replaced(loader: Loader) -> None:
    """The marks of the loads stay in the log; their rows do not."""
    lake(loader).restore(1)
    assert all(loader.destination.find_commit(loader.plans[number]) is None for number in (1, 2))
    if loader.contract.options_for("s3")["strategy"] == "overwrite":
        assert not load(loader.destination, loader.plans[2]).replayed
        loader.require(loader.rows(10, first=20))
        return
    for number in (2, 3):
        with pytest.raises(Rejected, match=r"samples: another program took the table in s3 back .* --full-refresh$"):
            load(loader.destination, loader.plan(number, loader.rows(10, first=10 * number)))
    whole = loader.rows(7)
    loader.load(4, whole, strategy=Strategy.OVERWRITE)
    loader.plans.pop(3)
    loader.require(whole)
    loader.load(5, loader.rows(5, first=100))
    assert load(loader.destination, loader.plans[4]).replayed


def test_an_overwrite_by_another_program_is_noticed(loader: Loader) -> None:
    write_deltalake(lake(loader), lake(loader).to_pyarrow_table(), mode="overwrite")
    assert loader.destination.find_commit(loader.plans[2]) is None


def test_a_restore_that_takes_no_load_back_is_none_of_our_business(loader: Loader) -> None:
    version = lake(loader).version()
    lake(loader).delete()  # somebody's mistake, and its repair
    lake(loader).restore(version)
    assert load(loader.destination, loader.plans[2]).replayed
    loader.load(3, loader.rows(10, first=30))
    loader.require(*expected(loader, 1, 2, 3))


def test_a_restore_that_takes_an_older_set_back_that_came_late(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    loader.load(5, loader.rows(5))
    version = lake(loader).version()
    loader.load(3, loader.rows(5, first=10))
    lake(loader).restore(version)
    assert local.find_commit(loader.plans[3]) is None


def test_maintenance_by_others_is_allowed(loader: Loader) -> None:
    lake(loader).optimize.compact()
    lake(loader).delete("id = 11")
    assert load(loader.destination, loader.plans[2]).replayed
    loader.load(3, loader.rows(10, first=30))


def test_a_log_that_lost_its_newest_commits_gets_them_again(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    for number in (1, 2, 3):
        loader.load(number, loader.rows(10, first=10 * number))
    for commit in sorted((root(loader) / "_delta_log").glob("*.json"))[-2:]:
        commit.unlink()
    assert [loader.load(n, loader.rows(10, first=10 * n)).replayed for n in (1, 2, 3)] == [True, False, False]
    loader.require(*(loader.rows(10, first=10 * number) for number in (1, 2, 3)))


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_a_file_table_without_manifests_is_loaded_again(local: S3Destination, tmp_path: Path, form: str) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    rows = loader.rows(10)
    for number in (1, 2):
        loader.load(number, rows)
    shutil.rmtree(root(loader) / "_ownlens/manifests")
    assert local.find_commit(loader.plans[2]) is None
    result = load(local, loader.plans[2])
    assert (result.inserted, result.deleted, result.replayed) == (10, 0, False)
    loader.require(rows)
    assert left_over(local, loader.plans[2]) == []


@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.parametrize("form", ["parquet", "json"])
def test_data_files_that_are_gone_are_noticed_and_written_again(
    local: S3Destination, tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str, harm: str
) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    rows = loader.rows(10)
    loader.load(1, loader.rows(5))
    loader.load(2, rows)
    victim = next(path for path in root(loader).rglob("part-*") if path.is_file())
    victim.unlink() if harm == "gone" else victim.write_bytes(b"")
    assert local.find_commit(loader.plans[2]) is None
    assert "samples: s3 lost 1 of 6 files of load 2; it is loaded again" in caplog.text
    assert not load(local, loader.plans[2]).replayed
    loader.require(rows)
    assert load(local, loader.plans[2]).replayed
    assert left_over(local, loader.plans[2]) == []


def test_a_delta_file_that_is_gone_is_named_with_the_way_out(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("upsert"), tmp_path)
    loader.load(1, loader.rows(10))
    for path in root(loader).rglob("part-*.parquet"):
        path.unlink()
    with pytest.raises(Rejected, match=r"samples: s3 .* a data file of the table is gone; replace it with --full-ref"):
        loader.load(2, loader.rows(10, version=1))
    whole = loader.rows(4)
    loader.load(3, whole, strategy=Strategy.OVERWRITE)
    loader.plans.pop(2)
    loader.require(whole)


def test_ledgers_of_before_are_read(loader: Loader) -> None:
    folder = loader.destination.folder(loader.contract)
    for number in (1, 2):
        entry = read_entry(folder, number)
        assert entry is not None
        document = folder.read(f"_ownlens/ledger/{number:08d}.json") or b""
        for name in ("deleted", "table_id", "table_version"):
            document = re.sub(rb',?\n *"%s": [^,\n]*' % name.encode(), b"", document)
        assert b"table_id" not in document
        folder.put(f"_ownlens/ledger/{number:08d}.json", document)
    found = loader.destination.find_commit(loader.plans[2])
    assert found is not None
    assert replace(found, replayed=False).inserted == 10
    loader.load(3, loader.rows(10, first=30))
    loader.require(*expected(loader, 1, 2, 3))


def test_files_of_a_running_attempt_are_not_taken_for_forgotten_ones(local: S3Destination, tmp_path: Path) -> None:
    outer = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    inner = Loader(local, contract_of("append", table="items", path=f"{outer.contract.path}/items"), tmp_path)
    inner.load(1, inner.rows(5))
    plan = outer.plan(1, outer.rows(10))
    with local.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        with local.open(plan) as rival:
            assert not session.commit(receipts).replayed
            rival.abort()
    outer.require(outer.rows(10))
    inner.require(inner.rows(5))
