"""What a run reads of a table's log does not grow with the number of sets that are behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.newest_first import Log
from ownlens_plugins.engine.quarantining import open_rows
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest, met_again
from ownlens_plugins.registry import Registry

from .sqlite_destination import SqliteDestination
from .staging_rows import START, reads, row, stage

HOUR = timedelta(hours=1)


def hourly(area: StagingArea, number: int) -> Manifest:
    """Stage the set of an hour as a run does; one row in twenty hours is refused."""
    contract, log = reads(), area.log("reads")
    start = START + (number - 24) * HOUR
    request = StageRequest(
        Extraction.WINDOW,
        Window(start, START + number * HOUR),
        after=log[-1].sequence if log else 0,
        known=met_again(log, start),
    )
    value = {**row(number), "created_at": START + number * HOUR}
    return stage(area, contract, [value, row(None)] if number % 20 == 7 else [value], request)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count manifests by the act of reading them."""
    counter: Counter[str] = Counter()
    read = Manifest.from_json

    def counting(content: bytes) -> Manifest:
        counter["manifests"] += 1
        return read(content)

    monkeypatch.setattr(Manifest, "from_json", staticmethod(counting))
    return counter


@pytest.mark.parametrize("sets", [10, 80])
def test_staging_and_loading_read_the_look_back_and_no_more(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, counted: Counter[str], sets: int
) -> None:
    for number in range(sets):
        hourly(area, number)
    load_table(sqlite, reads(), area, registry)
    counted.clear()
    manifest = hourly(area, sets)
    # The sets of a day and two hours, which the look-back may meet; once for each part of a run that walks the log.
    assert counted["manifests"] <= 2 * 30
    assert len(manifest.recent or ()) <= 52
    counted.clear()
    assert load_table(sqlite, reads(), area, registry).rows == 1
    assert counted["manifests"] <= 3
    counted.clear()
    load_table(sqlite, reads(), area, registry)
    assert counted["manifests"] <= 1


def test_what_a_manifest_carries_is_what_reading_all_of_them_gives(area: StagingArea) -> None:
    for number in range(40):
        hourly(area, number)
    manifests = area.manifests("reads")
    for end in (1, 8, 25, 40):
        seen, start = manifests[:end], START + (end - 24) * HOUR
        plain = [_without(manifest) for manifest in seen]
        assert open_rows(seen) == open_rows(plain)
        assert _numbers(met_again(seen, start)) == _numbers(met_again(plain, start))


def _numbers(found: Sequence[Manifest]) -> list[int]:
    return [manifest.sequence for manifest in found]


def _without(manifest: Manifest) -> Manifest:
    return replace(manifest, unsettled=None, recent=None, recent_from=None)


def test_a_longer_look_back_reads_further(area: StagingArea) -> None:
    for number in range(30):
        hourly(area, number)
    far = met_again(area.log("reads"), START - timedelta(days=9))
    assert [one.sequence for one in far] == [*range(1, 31)]


def test_a_log_ends_where_a_set_is_gone(area: StagingArea) -> None:
    for number in range(5):
        hourly(area, number)
    Path(area.uri, "reads", "manifests", "00000002.json").unlink()
    assert [one.sequence for one in area.log("reads")] == [3, 4, 5]
    assert not Log(None, {}.get)


def test_sets_of_older_versions_are_read_as_before(area: StagingArea) -> None:
    old = [_without(hourly(area, number)) for number in range(3)]
    assert _numbers(met_again(old, START - timedelta(days=3))) == [1, 2, 3]
