"""What the newest version of a lake's table says by itself, and that it is only sure where each load would be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_s3.destination import S3Destination
from tests.destinations.overviews import looked_at, require_told

from .loads import Loader, contract_of

FORMS = [("append", "delta"), ("upsert", "delta"), ("overwrite", "delta"), ("overwrite", "parquet")]


def loaded(local: S3Destination, folder: Path, strategy: str, form: str) -> Loader:
    made = Loader(local, contract_of(strategy, form), folder)
    for number in (1, 2):
        made.load(number, made.rows(10, first=10 * number))
    return made


@pytest.mark.parametrize(("strategy", "form"), FORMS)
def test_the_newest_load_is_told_and_a_lost_table_is_no_sure_thing(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    empty = Loader(local, contract_of(strategy, form), tmp_path)
    assert looked_at(local, [empty.plan(1, empty.rows(1), tag="-none")]).position == 0
    loader = loaded(local, tmp_path, strategy, form)
    plans = [loader.plans[number] for number in (1, 2)]
    require_told(looked_at(local, plans), plans[-1], seconds=False)
    folder = Path(local.folder(loader.contract).uri)
    if form == "delta":
        shutil.rmtree(folder / "_delta_log")
    else:
        next(folder.rglob("*.parquet")).unlink()
    state = looked_at(local, plans)
    assert state.position == 0 or not state.is_sure


def test_what_a_load_will_be_refused_for_is_told_in_the_same_words(local: S3Destination, tmp_path: Path) -> None:
    loader = loaded(local, tmp_path, "append", "delta")
    lake = DeltaTable(local.folder(loader.contract).uri)
    lake.restore(lake.version() - 1)
    plans = [loader.plans[number] for number in (1, 2)]
    state = looked_at(local, plans)
    assert not state.is_sure
    with pytest.raises(Rejected) as refused:
        loader.load(3, loader.rows(5, first=50))
    assert state.trouble == str(refused.value)
    load(local, loader.plan(4, loader.rows(5), strategy=Strategy.OVERWRITE, tag="-refresh"))
    require_told(looked_at(local, [loader.plans[4]]), loader.plans[4], seconds=False)


def test_a_table_that_cannot_be_read_hides_no_other(local: S3Destination, tmp_path: Path) -> None:
    loader = loaded(local, tmp_path, "append", "delta")
    other = contract_of("append", table="others", path="tests/others")
    broken = Path(local.folder(other).uri) / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020d}.json").write_text("no log")
    found = local.overview([other, loader.contract])
    assert not found["others"].is_sure
    require_told(found["samples"], loader.plans[2], seconds=False)
