"""Where a table stands: what waits, how old it is, what it takes, and why somebody is needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.last_loads import LastLoads
from ownlens_plugins.engine.maintaining import Maintenance
from ownlens_plugins.engine.planning import pending
from ownlens_plugins.engine.retiring import KeepFor
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.standing import Asking, Standing
from ownlens_plugins.engine.surveying import survey
from ownlens_plugins.engine.verdicts import Verdicts
from ownlens_plugins.errors import Rejected
from ownlens_plugins.powers import TableState
from ownlens_plugins.registry import Registry

from .sqlite_destination import SqliteDestination
from .staging_rows import REFRESH, START, WHOLE, reads, row, rows, stage

DAY = timedelta(days=1)
KEEP = KeepFor(14 * DAY, 90 * DAY)


class TellingDestination(SqliteDestination):
    """Tells all at once, and counts how often it is asked for a load."""

    asked = 0
    trouble = ""

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        moment = datetime(2026, 1, 9, tzinfo=UTC)
        position = self.position(contracts[0])
        sure = TableState(position, "", moment, 3, 0.5, 4_096, is_sure=not self.trouble, trouble=self.trouble)
        return {contract.table: sure for contract in contracts}

    def find_commit(self, plan: Any) -> Any:
        self.asked += 1
        return super().find_commit(plan)


@pytest.fixture
def telling(sqlite: SqliteDestination) -> TellingDestination:
    return TellingDestination(sqlite.config)


@pytest.fixture(params=["asked for each load", "telling all at once"])
def store(request: pytest.FixtureRequest, sqlite: SqliteDestination, telling: TellingDestination) -> SqliteDestination:
    return telling if "telling" in request.param else sqlite


@pytest.fixture
def look(area: StagingArea, registry: Registry) -> Callable[..., Standing]:
    def look(store: SqliteDestination, contract: TableContract | None = None, *, validates: bool = False) -> Standing:
        (found,) = survey(
            Asking(area, registry, Scrubber([]), validates), {"sqlite": store}, [contract or reads()]
        )  # fmt: skip
        return found

    return look


def test_nothing_staged_and_nothing_loaded_is_well(look: Any, store: SqliteDestination) -> None:
    found = look(store)
    assert (found.newest, found.position, found.well, found.as_of) == (0, 0, True, None)
    assert "never loaded" in found.no_older(DAY, START).reason


def test_sets_and_rows_that_wait_are_counted(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1, 2))
    load_table(store, reads(), area, registry)
    stage(area, reads(), rows(3, 4, 5))
    stage(area, reads(), rows(6))
    found = look(store)
    assert (found.newest, found.position, found.behind, found.rows_behind, found.more) == (3, 1, 2, 4, False)
    assert not found.well
    load_table(store, reads(), area, registry)
    found = look(store)
    assert (found.position, found.behind, found.rows_behind, found.well) == (3, 0, 0, True)


def test_of_whole_tables_only_the_newest_waits(area: StagingArea, look: Any, store: SqliteDestination) -> None:
    for count in (1, 2, 3):
        stage(area, reads("reference"), rows(*range(count)), WHOLE)
    found = look(store, reads("reference"))
    assert (found.newest, found.behind, found.rows_behind) == (3, 1, 3)


def test_of_a_long_queue_the_newest_are_looked_at(
    area: StagingArea, look: Any, store: SqliteDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ownlens_plugins.engine.standing._MOST_SETS", 10)
    for number in range(12):
        stage(area, reads(), rows(number))
    found = look(store)
    assert (found.behind, found.rows_behind, found.more) == (12, 10, True)


def test_a_store_that_tells_all_at_once_is_asked_no_more(
    area: StagingArea, registry: Registry, look: Any, telling: TellingDestination
) -> None:
    for number in range(3):
        stage(area, reads(), rows(number))
        load_table(telling, reads(), area, registry)
    telling.asked = 0
    assert (look(telling).position, telling.asked) == (3, 0)
    telling.trouble = "it is another table"
    assert (look(telling).position, telling.asked) == (3, 1), "then its loads are looked for"
    stage(area, reads(), rows(9))
    assert look(telling).reason == "it is another table"


def test_the_last_load_is_told_with_its_seconds(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1, 2, 3))
    load_table(store, reads(), area, registry)
    last = look(store).last_load
    assert last.rows == 3
    assert last.seconds >= 0
    assert last.at.tzinfo is not None


def test_it_is_as_old_as_what_the_source_last_showed(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1))
    load_table(store, reads(), area, registry)
    assert look(store).as_of == START
    later = replace(WHOLE, window=replace(WHOLE.window, end=START + DAY), after=1)
    area.note("reads", later)  # a run that finds nothing new
    found = look(store)
    assert found.as_of == START + DAY
    assert found.no_older(DAY, START + 2 * DAY).well
    old = found.no_older(timedelta(hours=26), START + 3 * DAY)
    assert (old.well, old.reason) == (
        False,
        "reads: sqlite: not up to date since 2026-01-02 00:00 UTC; allowed are 26h",
    )
    stage(area, reads(), rows(2), replace(REFRESH, window=later.window))
    assert look(store).as_of == START, "the newest set is not there yet"


def test_a_failed_run_is_told_until_one_goes_well(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1))
    load_table(store, reads(), area, registry)
    LastLoads(area).failed("reads", "sqlite", "reads: the source is gone")
    found = look(store)
    assert (found.well, found.reason) == (False, "reads: the source is gone")
    assert found.last_load.rows
    load_table(store, reads(), area, registry)  # nothing new, but it went well
    assert look(store).well


def test_a_run_whose_word_cannot_be_kept_goes_well_all_the_same(
    area: StagingArea, registry: Registry, store: SqliteDestination, caplog: pytest.LogCaptureFixture
) -> None:
    stage(area, reads(), rows(1))
    (Path(area.uri) / "reads" / "loads").write_text("in the way")
    assert load_table(store, reads(), area, registry).rows == 1
    assert "not noted how the load ended" in caplog.text


def test_what_no_validation_has_passed_is_owed(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1))
    load_table(store, reads(), area, registry)
    assert (look(store).validation, look(store, validates=True).validation) == ("none", "owed")
    Verdicts(area).failed("reads", "sqlite", 1, "too short")
    found = look(store, validates=True)
    assert (found.validation, found.reason, found.well) == ("failed", "too short", False)
    Verdicts(area).passed("reads", "sqlite", 1)
    assert look(store, validates=True).well


def test_lost_staging_is_told_in_the_words_of_the_load(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    stage(area, reads(), rows(1))
    load_table(store, reads(), area, registry)
    shutil.rmtree(area.uri)
    found = look(store)
    assert not found.well
    assert "has no staged sets of this table, and these destinations hold loads of it: sqlite (load 1)" in found.reason
    assert "--full-refresh" in found.reason


def test_a_log_that_is_behind_its_destination_is_refused(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    for number in (1, 2, 3):
        stage(area, reads(), rows(number))
    load_table(store, reads(), area, registry)
    (Path(area.uri) / "reads" / "manifests" / "00000003.json").unlink()
    found = look(store)
    assert (found.well, found.newest) == (False, 2)
    assert "sqlite holds load 3, and the newest staged set in" in found.reason


def test_sets_that_are_gone_from_staging_are_told_in_the_words_of_the_load(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination, tmp_path: Path
) -> None:
    for number in (1, 2):
        stage(area, reads(), rows(number))
    (Path(area.uri) / "reads" / "manifests" / "00000001.json").unlink()
    with pytest.raises(Rejected) as refused:
        pending(store, reads(), area, registry)
    found = look(store)
    assert (found.reason, found.behind) == (str(refused.value), 1)


def test_staged_bytes_are_those_of_the_sets_that_are_there(
    area: StagingArea, registry: Registry, look: Any, store: SqliteDestination
) -> None:
    sets = [stage(area, reads("reference"), rows(*range(count)), WHOLE) for count in (1, 2, 3)]
    assert look(store, reads("reference")).staged_bytes == sum(one.bytes for one in sets)
    load_table(store, reads("reference"), area, registry)
    work = Maintenance(
        {"sqlite": store}, area, registry, KEEP, Scrubber([]), now=datetime.now(UTC) + 30 * DAY
    )  # fmt: skip
    work.maintain(reads("reference"))
    assert [one.sequence for one in area.manifests("reads")] == [3]
    assert look(store, reads("reference")).staged_bytes == sets[-1].bytes
    more = stage(area, reads("reference"), [*rows(7), row(8)], WHOLE)
    assert look(store, reads("reference")).staged_bytes == sets[-1].bytes + more.bytes


def test_sets_of_older_versions_are_counted_one_by_one(area: StagingArea, look: Any, store: SqliteDestination) -> None:
    old = [stage(area, reads(), rows(number)) for number in (1, 2)]
    for one in old:
        file = Path(area.uri) / "reads" / "manifests" / f"{one.sequence:08d}.json"
        file.write_bytes(replace(one, log_bytes=None).to_json())
    assert look(store).staged_bytes == sum(one.bytes for one in old)
    new = stage(area, reads(), rows(3))
    assert new.log_bytes == sum(one.bytes for one in [*old, new])


def test_a_store_that_is_away_is_told_for_its_tables(
    area: StagingArea, look: Any, telling: TellingDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(area, reads(), rows(1))

    def away(*_: Any) -> None:
        raise Rejected("sqlite: no such server")

    monkeypatch.setattr(TellingDestination, "overview", away)
    found = look(telling)
    assert (found.newest, found.reason, found.well) == (1, "sqlite: no such server", False)
