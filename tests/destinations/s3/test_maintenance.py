"""Retention deletes what is old, cleaning spares what may still be needed, and metadata says what is there."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ownlens_plugins.errors import Rejected
from ownlens_s3.config import S3Options
from ownlens_s3.destination import S3Destination
from ownlens_s3.maintenance import Retired, apply_retention, clean
from ownlens_s3.metadata import table_metadata
from tests.destinations.s3.loads import Loader, contract_of

TODAY = date(2026, 1, 10)  # sample rows lie on 1 January and the days after it


@pytest.mark.parametrize("source", ["day", "created_at"])
def test_old_days_leave(destination: S3Destination, tmp_path: Path, source: str) -> None:
    loader = Loader(destination, contract_of("append", partition_by=source, options={"retention_days": 7}), tmp_path)
    rows = loader.rows(100, days=5)
    loader.load(1, rows)
    assert apply_retention(destination, loader.contract, today=TODAY) == Retired(2, 40, 4, 0)
    loader.require(rows.filter(pc.greater_equal(rows["day"], pa.scalar(date(2026, 1, 3)))))
    assert apply_retention(destination, loader.contract, today=TODAY) == Retired(0, 0, 0, 0)
    assert loader.load(1, rows).replayed
    more = loader.rows(10, first=100)
    assert loader.load(2, more).inserted == 10


def test_a_month_stays_while_one_of_its_days_does(local: S3Destination, tmp_path: Path) -> None:
    options = {"retention_days": 9}
    loader = Loader(local, contract_of("append", partition="month", options=options), tmp_path)
    loader.load(1, loader.rows(70, days=70))  # January, February and 11 days of March
    assert apply_retention(local, loader.contract, today=date(2026, 2, 9)).rows == 0
    assert apply_retention(local, loader.contract, today=date(2026, 2, 10)) == Retired(1, 31, 1, 0)
    assert loader.landed().num_rows == 39


def test_retention_needs_to_be_asked_for(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    with pytest.raises(Rejected, match="samples: s3 has no retention_days for this table; set it"):
        apply_retention(local, loader.contract)
    wanted = Loader(local, contract_of("append", options={"retention_days": 7}), tmp_path)
    assert apply_retention(local, wanted.contract) == Retired(0, 0, 0, 0)  # no table yet


def test_cleaning_deletes_only_what_is_a_week_old_and_unknown(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("upsert"), tmp_path)
    loader.load(1, loader.rows(30))
    loader.load(2, loader.rows(30, version=1))
    folder = Path(local.folder(loader.contract).uri)
    orphan = folder / "_ownlens_day=2026-01-01" / "part-00000-6e037a8a-1e34-4530-8cfa-e1e491963460-c000.zstd.parquet"
    below = folder / "items" / "part-00000001-0123456789abcdef-00000-aa-0000.zstd.parquet"
    draft = orphan.with_name(f"{orphan.name}#1")
    for file in (orphan, below, draft):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"left by a crash")
    lake = local.delta(loader.contract, S3Options.model_validate(loader.contract.options_for("s3")))
    assert clean(lake) == 0
    old = time.time() - 8 * 86_400
    for file in folder.rglob("*"):
        os.utime(file, (old, old))
    assert clean(lake) == 2
    assert not orphan.exists()
    assert not draft.exists()
    assert below.exists()  # it belongs to a table whose folder lies in this one
    loader.require(loader.rows(30, version=1))


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet")])
def test_drafts_of_yesterday_leave_with_the_next_load(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    """What a kill leaves between writing a file and putting it in place; delta-rs has a name of its own for it."""
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(10))
    folder = Path(local.folder(loader.contract).uri)
    log = "_delta_log" if form == "delta" else "_ownlens/manifests"
    names = ["_ownlens/ledger/.00000002.json.0123456789abcdef", f"{log}/.x.json.0123456789abcdef", f"{log}/2.json#1"]
    kept = [f"{log}/.hidden", f"{log}/2.json#", "_ownlens/ledger/.00000003.json.0123456789abcdez"]
    (folder / "_ownlens/attempts").mkdir(exist_ok=True)
    for name in {*names, *kept}:
        (folder / name).write_bytes(b"half of")
    loader.load(2, loader.rows(10, first=10))
    assert all((folder / name).exists() for name in names)  # they may belong to a load that still runs
    old = time.time() - 25 * 3600
    for name in {*names, *kept}:
        os.utime(folder / name, (old, old))
    os.utime(folder / names[0])
    loader.load(3, loader.rows(10, first=20))
    assert [name for name in names if (folder / name).exists()] == names[:1]
    assert all((folder / name).exists() for name in kept)


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet"), ("overwrite", "json")])
def test_metadata_says_what_the_table_is(destination: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    assert table_metadata(destination, loader.contract) is None
    begin = datetime.now(UTC) - timedelta(seconds=1)
    loader.load(1, loader.rows(30))
    loader.load(2, loader.rows(20, first=30))
    found = table_metadata(destination, loader.contract)
    assert found is not None
    assert (found.table, found.format) == ("samples", form)
    assert found.rows == (50 if strategy == "append" else 20)
    assert found.columns["amount"] == "decimal(18,4)"
    assert "_ownlens_day" not in found.columns
    assert list(found.columns) == list(loader.contract.column_names)
    assert found.files == (12 if strategy == "append" else 6)
    assert found.bytes > 0
    assert found.last_load is not None
    assert (found.last_load.sequence, found.last_load.rows) == (2, 20)
    assert found.loaded_at is not None
    assert begin < found.loaded_at <= datetime.now(UTC)
