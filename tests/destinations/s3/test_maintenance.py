"""Retention deletes what is old, cleaning spares what may still be needed, and metadata says what is there."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake
from deltalake.table import TableOptimizer

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Retryable
from ownlens_plugins.powers import Chore, SupportsMaintenance, Upkeep
from ownlens_s3.config import S3Config, S3Options
from ownlens_s3.delta import DeltaLake
from ownlens_s3.destination import S3Destination
from ownlens_s3.maintenance import clean
from ownlens_s3.metadata import table_metadata
from ownlens_s3.session import DeltaSession
from tests.destinations.s3.loads import Loader, all_files, contract_of, ledger_files, left_over

TODAY = date(2026, 1, 10)  # sample rows lie on 1 January and the days after it


def maintain(loader: Loader, *, today: date = TODAY, settled: int = 0, dry_run: bool = False) -> dict[str, Chore]:
    """Maintain the table of a loader; return the chores by name, without those of files that a week keeps."""
    options = S3Options.model_validate(loader.contract.options_for("s3"))
    assert isinstance(loader.destination, SupportsMaintenance)
    done = loader.destination.maintain(Upkeep(loader.contract, options, settled, today, dry_run))
    return {chore.name: chore for chore in done}


def both(loader: Loader, **options: Any) -> dict[str, Chore]:
    """Say what maintenance would do, which changes nothing; then do it, and find that it was that."""
    before = all_files(loader.destination, loader.contract)
    planned = maintain(loader, dry_run=True, **options)
    assert all_files(loader.destination, loader.contract) == before
    assert maintain(loader, **options) == planned
    return planned


@pytest.mark.parametrize("partition", ["day", "none"])
@pytest.mark.parametrize("source", ["day", "created_at"])
def test_old_days_leave(destination: S3Destination, tmp_path: Path, source: str, partition: str) -> None:
    contract = contract_of("append", partition=partition, partition_by=source, options={"retention_days": 8})
    loader = Loader(destination, contract, tmp_path)
    rows = loader.rows(100, days=5)
    loader.load(1, rows)
    planned = maintain(loader, dry_run=True)["retention"]
    loader.require(rows)
    assert maintain(loader)["retention"] == planned
    assert (planned.rows, planned.files) == (40, 4 if partition == "day" else 0)
    loader.require(rows.filter(pc.greater_equal(rows["day"], pa.scalar(date(2026, 1, 3)))))
    assert both(loader) == {} or partition == "none"
    assert loader.load(1, rows).replayed
    more = loader.rows(10, first=100)
    assert loader.load(2, more).inserted == 10


def test_a_month_stays_while_one_of_its_days_does(local: S3Destination, tmp_path: Path) -> None:
    options = {"retention_days": 10}
    loader = Loader(local, contract_of("append", partition="month", options=options), tmp_path)
    loader.load(1, loader.rows(70, days=70), parts=1)  # January, February and 11 days of March
    assert both(loader, today=date(2026, 2, 9)) == {}
    assert both(loader, today=date(2026, 2, 10))["retention"].rows == 31
    assert loader.landed().num_rows == 39


def test_a_table_without_retention_or_of_another_program_is_left_alone(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    assert both(loader) == {}  # no table yet
    rows = loader.rows(100, days=5)
    loader.load(1, rows, parts=1)
    assert both(loader, today=date(2036, 1, 1)) == {}
    loader.require(rows)
    root = Path(local.folder(loader.contract).uri)
    shutil.rmtree(root / "_delta_log")
    write_deltalake(root, pa.table({"id": [1]}))
    assert both(loader) == {}
    write_deltalake(root, pa.table({"id": [2]}), mode="append")
    assert both(loader) == {}


@pytest.mark.parametrize("strategy", ["append", "upsert"])
@pytest.mark.parametrize("partition", ["day", "none"])
def test_small_files_become_one(destination: S3Destination, tmp_path: Path, strategy: str, partition: str) -> None:
    loader = Loader(destination, contract_of(strategy, partition=partition), tmp_path)
    for number in range(1, 5):
        loader.load(number, loader.rows(30, first=30 * number), parts=1)
    found = both(loader)
    assert found["compaction"].files == (12 if partition == "day" else 4)
    table = lake_of(loader).open()
    assert table is not None
    assert len(table.file_uris()) == (3 if partition == "day" else 1)
    assert both(loader) == {}
    sets = [loader.rows(30, first=30 * number) for number in range(1, 5)]
    loader.require(*sets)
    assert all(loader.load(number, sets[number - 1], parts=1).replayed for number in range(1, 5))
    newer = loader.rows(30, first=30, version=1)
    loader.load(5, newer)
    loader.require(*([newer, *sets[1:]] if strategy == "upsert" else [*sets, newer]))


@pytest.mark.parametrize("rival", ["append", "upsert", "overwrite", "exchange"])
def test_a_load_that_comes_between_loses_nothing(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rival: str
) -> None:
    """The load commits after compaction has read the files, and before it commits."""
    loader = Loader(local, contract_of("append" if rival == "append" else "upsert"), tmp_path)
    sets = [loader.rows(10, first=10 * number) for number in range(3)]
    for number, rows in enumerate(sets, 1):
        loader.load(number, rows)
    late = loader.rows(15, first=5, version=1)
    compact, coming = TableOptimizer.compact, [1]
    expected = {"append": [*sets, late], "upsert": [sets[0].slice(0, 5), late, sets[2]], "overwrite": [late]}

    def overtaken(*arguments: Any, **options: Any) -> Any:
        if coming:
            coming.pop()
            other = Loader(S3Destination(local.config), loader.contract, tmp_path)
            other.load(4, late, strategy=Strategy.OVERWRITE if rival == "overwrite" else None)
        return compact(*arguments, **options)

    monkeypatch.setattr(TableOptimizer, "compact", overtaken)
    maintain(loader)
    assert not coming
    loader.plans[4] = loader.plan(4, late)
    loader.require(*expected.get(rival, expected["upsert"]))
    assert loader.destination.find_commit(loader.plans[3]) is not None


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_compaction_between_the_look_and_the_commit_of_a_load(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    loader = Loader(local, contract_of(strategy), tmp_path)
    sets = [loader.rows(10, first=10 * number) for number in range(3)]
    for number, rows in enumerate(sets, 1):
        loader.load(number, rows)
    late, coming, commit_on = loader.rows(10, version=1), [1], DeltaSession._commit_on

    def overtaken(self: DeltaSession, *arguments: Any) -> Any:
        if coming:
            coming.pop()
            maintain(Loader(S3Destination(local.config), loader.contract, tmp_path))
        return commit_on(self, *arguments)

    monkeypatch.setattr(DeltaSession, "_commit_on", overtaken)
    loader.load(4, late)
    assert not coming
    loader.require(*([*sets, late] if strategy == "append" else [late, *sets[1:]]))


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("upsert", "delta"), ("overwrite", "parquet")])
def test_the_ledger_forgets_and_still_answers(
    destination: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    sets = [loader.rows(10, first=10 * number) for number in range(1, 5)]
    for number, rows in enumerate(sets, 1):
        loader.load(number, rows)
    found = both(loader, settled=4)
    assert found["ledger"].files == 3
    assert ledger_files(destination, loader.contract) == ["00000004.json"]  # the newest says whose table this is
    assert all(loader.load(number, sets[number - 1]).replayed for number in range(1, 5))
    assert ledger_files(destination, loader.contract) == ["00000004.json"]
    assert not loader.load(5, loader.rows(10, first=50)).replayed
    loader.require(*([] if strategy == "overwrite" else sets), loader.rows(10, first=50))
    assert "ledger" not in both(loader, settled=3)


def test_loads_beside_maintenance_that_is_killed_anywhere(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("upsert", options={"retention_days": 3}), tmp_path)
    (tmp_path / "contract.pickle").write_bytes(pickle.dumps(loader.contract))
    sets = [loader.rows(12, first=6 * number) for number in range(12)]
    work = f"from tests.destinations.s3.test_maintenance import go_on; go_on({str(tmp_path)!r}, {local.config.uri!r})"
    for number, rows in enumerate(sets, 1):
        if number % 4 == 1:
            worker = subprocess.Popen([sys.executable, "-c", work])
            until = time.time() + 10
            while time.time() < until and not (tmp_path / f"begun-{worker.pid}").exists():
                time.sleep(0.05)
        for _ in range(5):
            with suppress(Retryable):
                loader.load(number, rows)
                break
        if number % 4 == 0:
            worker.kill()
            worker.wait()
    maintain(loader, today=date(2026, 1, 3))
    loader.require(loader.rows(78))
    assert all(load(local, plan).replayed for plan in loader.plans.values())
    assert left_over(local, loader.plans[12]) == []


def go_on(folder: str, uri: str) -> None:
    """Maintain a table again and again, until this process is killed."""
    contract = pickle.loads((Path(folder) / "contract.pickle").read_bytes())
    loader = Loader(S3Destination(S3Config(uri=uri)), contract, Path(folder))
    (Path(folder) / f"begun-{os.getpid()}").touch()
    while True:
        with suppress(Retryable):
            maintain(loader, today=date(2026, 1, 3))


def lake_of(loader: Loader) -> DeltaLake:
    return loader.destination.delta(loader.contract, S3Options.model_validate(loader.contract.options_for("s3")))


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
def test_drafts_of_yesterday_leave_with_maintenance(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    """What a kill leaves between writing a file and putting it in place; delta-rs has a name of its own for it.

    A load looks only where its markers are, as the other folders fill with the years.
    """
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(10))
    folder = Path(local.folder(loader.contract).uri)
    log = "_delta_log" if form == "delta" else "_ownlens/manifests"
    marker = "_ownlens/attempts/.00000002-x.0123456789abcdef"
    names = ["_ownlens/ledger/.00000002.json.0123456789abcdef", f"{log}/.x.json.0123456789abcdef", f"{log}/2.json#1"]
    kept = [f"{log}/.hidden", f"{log}/2.json#", "_ownlens/ledger/.00000003.json.0123456789abcdez"]
    (folder / "_ownlens/attempts").mkdir(exist_ok=True)
    for name in {marker, *names, *kept}:
        (folder / name).write_bytes(b"half of")
    loader.load(2, loader.rows(10, first=10))
    maintain(loader)
    assert all((folder / name).exists() for name in {marker, *names})  # they may belong to a load that still runs
    old = time.time() - 25 * 3600
    for name in {marker, *names, *kept}:
        os.utime(folder / name, (old, old))
    os.utime(folder / names[0])
    loader.load(3, loader.rows(10, first=20))
    assert [name for name in (marker, *names) if (folder / name).exists()] == names
    maintain(loader)
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
