"""Which staged sets leave the staging area, and that nothing that is still needed does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract
from ownlens_plugins.engine.maintaining import Maintained, Maintenance
from ownlens_plugins.engine.quarantining import open_rows
from ownlens_plugins.engine.retiring import KeepFor, first_needed
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.errors import Rejected
from ownlens_plugins.registry import Registry

from .sqlite_destination import SqliteDestination
from .staging_rows import REFRESH, START, WHOLE, reads, row, rows, stage

DAY = timedelta(days=1)
KEEP = KeepFor(14 * DAY, 90 * DAY)


@pytest.fixture
def maintain(area: StagingArea, registry: Registry, sqlite: SqliteDestination) -> Any:
    """Maintain a table so many days from now; return what happened to the staged sets."""

    def maintain(contract: TableContract, *, days: int = 30, **changes: Any) -> Maintained:
        work = Maintenance(
            {"sqlite": sqlite}, area, registry, KEEP, Scrubber([]), now=datetime.now(UTC) + days * DAY
        )  # fmt: skip
        return replace(work, **changes).maintain(contract)[0]

    return maintain


def window(day: int) -> StageRequest:
    """Return a request of a run on a day: what it reads again lies in the day before."""
    return StageRequest(Extraction.WINDOW, Window(START + (day - 1) * DAY, START + day * DAY))


def staged(area: StagingArea, contract: TableContract, days: int = 5) -> None:
    for day in range(days):
        stage(area, contract, [row(day, day=day - 1)], window(day))


def sequences(area: StagingArea) -> list[int]:
    return [manifest.sequence for manifest in area.manifests("reads")]


def test_applied_sets_go_but_for_those_that_the_look_back_may_read_again(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any
) -> None:
    contract = reads()
    staged(area, contract)
    load_table(sqlite, contract, area, registry)
    done = maintain(contract)
    # The newest run ended on day 4, so the next one looks back to day 3; a cursor without a zone may lie 26 hours off.
    assert sequences(area) == [4, 5]
    assert done.chores[0].rows == 3
    assert not load_table(sqlite, contract, area, registry).rows


@pytest.mark.parametrize("changes", [{"days": 13}, {"complete": False}, {"dry_run": True}])
def test_nothing_goes_too_early_or_without_asking_all(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any, changes: dict[str, Any]
) -> None:
    contract = reads()
    staged(area, contract)
    load_table(sqlite, contract, area, registry)
    maintain(contract, **changes)
    assert sequences(area) == [1, 2, 3, 4, 5]


def test_a_set_that_a_destination_lacks_stays(area: StagingArea, maintain: Any) -> None:
    contract = reads()
    staged(area, contract)
    assert not maintain(contract).chores
    assert sequences(area) == [1, 2, 3, 4, 5]


def test_refused_rows_outlive_their_set(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any
) -> None:
    contract = reads("entity", version_by="updated_at")
    stage(area, contract, [row(1), row(None)], window(0))
    for day in range(1, 6):
        stage(area, contract, [row(day, day=day)], window(day))
    load_table(sqlite, contract, area, registry)
    maintain(contract)
    first, *others = area.manifests("reads")
    assert first.retired
    assert not first.parts
    assert open_rows([first, *others]) == {1: {0}}
    assert area.quarantined(first).num_rows == 1  # type: ignore[union-attr]
    assert not load_table(sqlite, contract, area, registry).rows
    maintain(contract, days=200)
    assert 1 not in sequences(area)


def test_a_destination_that_was_taken_back_is_told(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any
) -> None:
    contract = reads("entity", version_by="updated_at")
    stage(area, contract, [row(1), row(None)], window(0))
    load_table(sqlite, contract, area, registry)
    backup = Path(sqlite.config.path).read_bytes()
    for day in range(1, 6):
        stage(area, contract, [row(day, day=day)], window(day))
    load_table(sqlite, contract, area, registry)
    maintain(contract)
    sqlite.close()
    Path(sqlite.config.path).write_bytes(backup)
    with pytest.raises(Rejected) as caught:
        load_table(sqlite, contract, area, registry)
    # Set 2 looked back to the day before the moment that set 1 ended at, by this test's requests.
    assert str(caught.value) == (
        "reads: sqlite lacks staged sets 2 to 3, which are gone from the staging area: rows from "
        "2026-01-02T00:00:00+00:00 on lack; bring them with `ownlens load --since 2026-01-02T00:00:00+00:00 "
        "--destinations sqlite --tables reads`"
    )
    stage(area, contract, rows(1, 2, 3), REFRESH)
    assert load_table(sqlite, contract, area, registry).rows == 3


def test_a_crash_between_manifest_and_parts_is_cleared_by_the_next_maintenance(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any
) -> None:
    contract = reads()
    staged(area, contract)
    load_table(sqlite, contract, area, registry)
    Path(area.uri, "reads", "manifests", "00000001.json").unlink()
    before = len(list(Path(area.uri, "reads").glob("0*")))
    maintain(contract, days=0)
    assert len(list(Path(area.uri, "reads").glob("0*"))) == before - 1


def test_whole_tables_need_their_newest_set_only(area: StagingArea) -> None:
    contract = reads("reference")
    for number in range(1, 4):
        stage(area, contract, rows(*range(number)), WHOLE)
    assert first_needed(contract, area.manifests("reads"), None) == 3


def test_sets_that_wait_are_loaded_after_all_before_them_have_left(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, maintain: Any
) -> None:
    """Maintenance comes between staging and loading, of a table that had nothing new for weeks."""
    staged(area, reads(), 3)
    load_table(sqlite, reads(), area, registry)
    for day in (20, 30):
        stage(area, reads(), [row(day, day=day - 1)], window(day))
    maintain(reads())
    assert sequences(area) == [3, 4, 5]
    assert load_table(sqlite, reads(), area, registry).rows == 2
    maintain(reads())
    assert sequences(area) == [5]
