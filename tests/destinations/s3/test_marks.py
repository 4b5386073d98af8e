"""The log marks a run of loads: a bounded number of marks, which tell each set that is in from one that never came."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, StagedSetChanged
from ownlens_plugins.faults import reach
from ownlens_s3.destination import S3Destination
from ownlens_s3.ledger import read_entry
from ownlens_s3.marks import Marks, mark_of

from .loads import Loader, contract_of, ledger_files

APP = "ownlens/samples"
RETENTION = "delta.setTransactionRetentionDuration"


@pytest.fixture(params=["append", "upsert"])
def loader(request: pytest.FixtureRequest, local: S3Destination, tmp_path: Path) -> Loader:
    return Loader(local, contract_of(request.param, partition="none"), tmp_path)


def root(loader: Loader) -> Path:
    return Path(loader.destination.folder(loader.contract).uri)


def rows(loader: Loader, number: int) -> Any:
    return loader.rows(3, first=3 * number)


def bring(loader: Loader, *numbers: int) -> list[bool]:
    """Load sets; return of each whether it was there already."""
    return [loader.load(number, rows(loader, number), parts=1).replayed for number in numbers]


def marked(loader: Loader) -> dict[str, int]:
    """Return all application transactions of the table, by name."""
    found = {}
    for file in sorted(root(loader).glob("_delta_log/*.json")):
        for line in file.read_text().splitlines():
            if txn := json.loads(line).get("txn"):
                found[txn["appId"].removeprefix(APP)] = txn["version"]
    return found


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """Return a load by the version of before, whose marks were one for each load."""

    def is_done(marks: Marks, sequence: int) -> bool:
        replaced = marks.table.transaction_version(f"{APP}/replaced") or 0
        return replaced >= sequence or marks.table.transaction_version(f"{APP}/{sequence:08d}") is not None

    def properties(marks: Marks, plan: LoadPlan, note: dict[str, Any], *, replaces: bool) -> CommitProperties:
        names = {"": max(marks.position, plan.sequence), f"/{plan.sequence:08d}": mark_of(plan.digest)}
        names |= {"/replaced": plan.sequence} if replaces else {}
        transactions = [Transaction(f"{APP}{name}", version) for name, version in names.items()]
        return CommitProperties(app_transactions=transactions, custom_metadata={"ownlens": note})

    def holds(marks: Marks, sequence: int) -> bool:
        return marks.table.transaction_version(f"{APP}/{sequence:08d}") is not None

    def older_load(loader: Loader, *numbers: int, **options: Any) -> list[bool]:
        with monkeypatch.context() as patch:
            patch.setattr(Marks, "is_done", is_done)
            patch.setattr(Marks, "holds", holds)
            patch.setattr(Marks, "last", 0)
            patch.setattr(Marks, "properties", properties)
            patch.setattr("ownlens_s3.recording.Records._require_unknown", lambda *_: None)
            return [loader.load(number, rows(loader, number), parts=1, **options).replayed for number in numbers]

    return older_load


def test_the_number_of_marks_does_not_grow(loader: Loader) -> None:
    bring(loader, *range(1, 6))
    few = marked(loader)
    bring(loader, *range(6, 13))
    assert marked(loader).keys() == few.keys() == {"", "/newest", "/run", "/replaced"}
    assert bring(loader, *range(1, 13)) == [True] * 12
    loader.require(*(rows(loader, number) for number in range(1, 13)))


def test_a_set_that_never_came_is_told_from_a_replay(loader: Loader) -> None:
    """Numbers are left out at the beginning, in between and next to the newest, and their sets come late."""
    bring(loader, 3, 4, 7, 8, 9, 11)
    loader.destination.close()
    assert bring(loader, 9, 3, 5, 8, 2, 6, 10, 2, 1, 4, 5) == [1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1]
    bring(loader, 12)
    assert bring(loader, *range(1, 13)) == [True] * 12
    loader.require(*(rows(loader, number) for number in range(1, 13)))


@pytest.mark.parametrize("seed", range(6))
def test_any_order(loader: Loader, older: Callable[..., list[bool]], seed: int) -> None:
    """Sets in a random order, some twice, by this version and the one of before: each is in once."""
    chance = random.Random(seed)
    there: set[int] = set()
    for number in chance.choices(range(1, 13), k=16):
        mine = chance.random() < 0.6
        replayed = (bring if mine else older)(loader, number)[0]
        if mine:
            assert replayed == (number in there)
        elif not replayed:  # the older version takes what it cannot know for overtaken, and never loads it twice
            assert number not in there
        if not replayed:
            there.add(number)
        if chance.random() < 0.3:
            DeltaTable(root(loader)).create_checkpoint()
            loader.destination.close()
    missing = [number for number in range(1, 13) if number not in there]
    assert bring(loader, *missing) == [False] * len(missing)
    loader.require(*(rows(loader, number) for number in range(1, 13)))


def test_a_table_of_an_older_version_goes_on(loader: Loader, older: Callable[..., list[bool]]) -> None:
    older(loader, 1, 2, 4)
    assert bring(loader, 4, 2, 5, 6, 1, 3) == [1, 1, 0, 0, 1, 0]
    with pytest.raises(StagedSetChanged):
        load(loader.destination, replace(loader.plans[2], digest="0" * 64))
    assert bring(loader, *range(1, 7)) == [True] * 6
    loader.require(*(rows(loader, number) for number in range(1, 7)))


def test_versions_that_load_in_turns(loader: Loader, older: Callable[..., list[bool]]) -> None:
    """The older one loads none of the newer one's sets again, and the newer one knows each of the older one's."""
    older(loader, 1)
    bring(loader, 2, 3)
    assert older(loader, 2, 3, 4, 1) == [True, True, False, True]
    assert bring(loader, 4, 5, 3, 1) == [True, False, True, True]
    assert older(loader, 5, 4, 6) == [True, True, False]
    loader.load(8, rows(loader, 8), parts=1, strategy=Strategy.OVERWRITE)
    assert older(loader, 7, 8) == [True, True]
    older(loader, 10, strategy=Strategy.OVERWRITE)
    assert bring(loader, 9, 11, 7, 8, 9, 10) == [True, False, True, True, True, True]
    loader.require(rows(loader, 10), rows(loader, 11))


@pytest.mark.parametrize("clean", [False, True])
def test_digests_of_older_sets(loader: Loader, clean: bool) -> None:
    """The ledger keeps them, also of a set whose entry a kill prevented: the next load enters it first."""
    bring(loader, 1)
    folder = loader.destination.folder(loader.contract)
    bring(loader, 2)
    folder.delete(["_ownlens/ledger/00000002.json"])
    if clean:
        loader.destination.close()
    bring(loader, 3)
    assert ledger_files(loader.destination, loader.contract) == [f"{number:08d}.json" for number in (1, 2, 3)]
    for number in (1, 2, 3):
        with pytest.raises(StagedSetChanged):
            load(loader.destination, replace(loader.plans[number], digest="0" * 64))


def test_an_entry_of_a_set_whose_commit_was_removed_does_not_speak_for_its_successor(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(loader, 1, 2)
    max(root(loader).glob("_delta_log/*.json")).unlink()

    def crash(point: str) -> None:
        if point == "before_ledger":
            raise KeyboardInterrupt
        reach(point)

    changed = loader.rows(5, first=50)
    plan = loader.plan(2, changed, tag="again")
    monkeypatch.setattr("ownlens_s3.session.reach", crash)
    with pytest.raises(KeyboardInterrupt):
        load(loader.destination, plan)
    monkeypatch.undo()
    assert load(loader.destination, loader.plans[2]).replayed
    bring(loader, 3)
    assert load(loader.destination, loader.plan(2, changed, tag="again")).replayed
    loader.require(rows(loader, 1), changed, rows(loader, 3))


def test_gaps_above_sets_of_the_whole_table_leave_no_marks(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("overwrite", partition="none"), tmp_path)
    bring(loader, 1, 3, 6, 9)
    assert not [name for name in marked(loader) if name.startswith("/before")]
    assert bring(loader, 1, 2, 3, 4, 8, 9) == [True] * 6
    assert loader.destination.find_commit(loader.plans[3]).rows == 3  # type: ignore[union-attr]
    assert loader.destination.find_commit(loader.plans[4]).rows == 0  # type: ignore[union-attr]
    with pytest.raises(StagedSetChanged):
        load(local, replace(loader.plans[3], digest="0" * 64))
    loader.require(rows(loader, 9))


def test_marks_never_expire(loader: Loader) -> None:
    bring(loader, 1, 3, 2)
    DeltaTable(root(loader)).alter.set_table_properties({RETENTION: "interval 1 second"})
    DeltaTable(root(loader)).create_checkpoint()
    loader.destination.close()
    assert bring(loader, 1, 2, 3, 4) == [True, True, True, False]


def drop_marks(loader: Loader, *names: str) -> None:
    """Take marks out of the log, as a checkpoint of Spark does with those that have no date."""
    for file in root(loader).glob("_delta_log/*.json"):
        lines = [line for line in file.read_text().splitlines() if not _is_of(json.loads(line).get("txn"), names)]
        file.write_text("".join(f"{line}\n" for line in lines))
    loader.destination.close()


def _is_of(txn: dict[str, Any] | None, names: tuple[str, ...]) -> bool:
    return txn is not None and "lastUpdated" not in txn and (not names or txn["appId"].removeprefix(APP) in names)


def test_a_table_of_before_that_lost_all_marks_is_refused(loader: Loader, older: Callable[..., list[bool]]) -> None:
    older(loader, 1, 2)
    drop_marks(loader)
    for number in (1, 2, 3):
        with pytest.raises(Rejected, match=rf"samples: the table in s3 has lost the marks .*{RETENTION}.*--full-refre"):
            bring(loader, number)
    whole = loader.rows(4)
    loader.load(4, whole, strategy=Strategy.OVERWRITE)
    assert bring(loader, 1, 2, 5) == [True, True, False]
    loader.require(whole, rows(loader, 5))


def test_a_mark_that_is_gone_is_not_trusted_where_the_ledger_has_an_entry(
    loader: Loader, older: Callable[..., list[bool]]
) -> None:
    older(loader, 1, 2)
    bring(loader, 4, 5)
    drop_marks(loader)
    assert bring(loader, 3, 6, 4) == [False, False, True]
    for number in (1, 2):
        with pytest.raises(Rejected, match=rf"load {number} in its ledger, and no mark of it .* with --full-refresh"):
            bring(loader, number)
    whole = loader.rows(4)
    loader.load(7, whole, strategy=Strategy.OVERWRITE)
    assert bring(loader, 1, 2, 8) == [True, True, False]
    loader.require(whole, rows(loader, 8))


def test_a_restore_takes_no_marks_with_it(loader: Loader) -> None:
    bring(loader, 1, 2, 3)
    table = DeltaTable(root(loader))
    table.restore(table.version() - 1)
    loader.destination.close()
    with pytest.raises(Rejected, match="another program took the table in s3 back"):
        bring(loader, 4)
    whole = loader.rows(4)
    loader.load(5, whole, strategy=Strategy.OVERWRITE)
    assert bring(loader, 3, 1, 4, 6) == [True, True, True, False]
    loader.require(whole, rows(loader, 6))


def test_a_table_that_began_anew_begins_a_run(loader: Loader) -> None:
    bring(loader, 1, 2, 3)
    shutil.rmtree(root(loader) / "_delta_log")
    loader.destination.close()
    assert bring(loader, 1, 2) == [False, False]
    entry = read_entry(loader.destination.folder(loader.contract), 2)
    assert entry is not None
    assert entry.table_id == str(DeltaTable(root(loader)).metadata().id)
    assert bring(loader, 3, 1) == [False, True]
    loader.require(*(rows(loader, number) for number in (1, 2, 3)))
