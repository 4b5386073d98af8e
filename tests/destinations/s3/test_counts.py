"""Counts of one act are those that the other stores tell: an overwrite deletes what was there before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ownlens_plugins.engine.loading import load
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of

FORMATS = ["delta", "parquet", "json"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_overwrite_deletes_what_was_there(destination: S3Destination, tmp_path: Path, form: str) -> None:
    loader = Loader(destination, contract_of("overwrite", form), tmp_path)
    told = [loader.load(number, loader.rows(count)) for number, count in enumerate((10, 4, 0, 6), start=1)]
    assert [(result.inserted, result.deleted) for result in told] == [(10, 0), (4, 10), (0, 4), (6, 0)]
    again = load(destination, loader.plans[4])
    assert (again.replayed, again.deleted) == (True, 0)
    ledger = [destination.folder(loader.contract).read(f"_ownlens/ledger/{n:08d}.json") for n in range(1, 5)]
    assert [json.loads(entry or b"")["deleted"] for entry in ledger] == [0, 10, 4, 0]


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("old", FORMATS)
def test_a_change_of_format_deletes_the_old_rows(local: S3Destination, tmp_path: Path, old: str, new: str) -> None:
    before = Loader(local, contract_of("overwrite", old), tmp_path)
    before.load(1, before.rows(20))
    after = Loader(local, contract_of("overwrite", new), tmp_path)
    assert after.load(2, after.rows(5)).deleted == 20


def test_rows_of_files_without_statistics_are_counted(local: S3Destination, tmp_path: Path) -> None:
    from deltalake import DeltaTable, write_deltalake

    loader = Loader(local, contract_of("overwrite", partition="none"), tmp_path)
    loader.load(1, loader.rows(10))
    root = local.folder(loader.contract).uri
    table = DeltaTable(root)
    table.alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    write_deltalake(root, DeltaTable(root).to_pyarrow_table(), mode="append")
    assert loader.load(2, loader.rows(3)).deleted == 20
