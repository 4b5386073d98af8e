"""What a refusal of the engine says to do is done here, as it is written, and the run gets through."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ownlens_plugins.api import Window
from ownlens_plugins.commands import split_names
from ownlens_plugins.contracts import Extraction, Strategy
from ownlens_plugins.engine.outcomes import Status
from ownlens_plugins.engine.planning import require_deletes
from ownlens_plugins.engine.progress import Progress
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest, next_request, since_refresh
from ownlens_plugins.errors import OwnLensError, Retryable
from ownlens_plugins.registry import Registry

from .sqlite_destination import SqliteConfig, SqliteDestination
from .staging_rows import REFRESH, START, WHOLE, WINDOW, extracted, ids, reads, row, rows, stage
from .test_planning import stage_rows
from .test_windows import DAY, NOON, Sight, seen, staged

COLUMNS = {"read_id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}
ODD = ("reads", "Order Details", "a,b", 'say "hi"', "O'Hara", "--tables", "*", "{table}", "a b; rm -rf x")


class AppendOnly(SqliteDestination):
    strategies = frozenset({Strategy.APPEND})


class KeepsDeleted(SqliteDestination):
    follows_deletes = False


def refused(act: Any) -> str:
    """Return what a refusal says that no second try can change."""
    with pytest.raises(OwnLensError) as caught:
        act()
    assert not isinstance(caught.value, Retryable)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def options(message: str) -> list[str]:
    """Return the options of `ownlens load` that a message ends with, as a shell would read them."""
    return shlex.split(message[message.index("--full-refresh") :])


# --- staged sets


@pytest.mark.parametrize("table", ODD)
def test_a_set_that_no_longer_fits_names_options_that_a_shell_takes(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, table: str
) -> None:
    old, new = (reads(table=table, columns={**COLUMNS, "extra": kind}) for kind in ("text?", "int32?"))
    stage_rows(area, old, rows(1))
    flag, option, names = options(refused(lambda: load_table(sqlite, new, area, registry)))
    assert (flag, option, split_names(names)) == ("--full-refresh", "--tables", [table])
    stage_rows(area, new, rows(2), REFRESH)
    assert load_table(sqlite, new, area, registry).loads == (f"{table}/00000002",)


@pytest.mark.parametrize("table", ODD)
def test_a_destination_of_other_sets_names_options_that_a_shell_takes(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, tmp_path: Path, table: str
) -> None:
    other, contract = StagingArea(str(tmp_path / "other"), registry), reads(table=table)
    stage(area, contract, rows(1))
    load_table(sqlite, contract, area, registry)
    stage(other, contract, rows(2))
    message = refused(lambda: load_table(sqlite, contract, other, registry))
    assert split_names(options(message)[-1]) == [table]
    stage(other, contract, rows(3), REFRESH)
    assert load_table(sqlite, contract, other, registry).status is Status.LOADED
    assert [value["read_id"] for value in sqlite.landed(table)] == [3]


def test_a_set_that_is_gone_is_made_up_for_by_a_full_refresh(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination
) -> None:
    for number in (1, 2):
        stage(area, reads(), rows(number))
    Path(area.uri, "reads", "manifests", "00000001.json").unlink()
    message = refused(lambda: load_table(sqlite, reads(), area, registry))
    assert message.startswith("reads: sqlite lacks staged set 1, which is gone")
    assert options(message) == ["--full-refresh", "--tables", "reads"]
    stage(area, reads(), rows(1, 2, 3), REFRESH)
    stage(area, reads(), rows(4))
    assert load_table(sqlite, reads(), area, registry).rows == 4
    assert [value["read_id"] for value in sqlite.landed("reads")] == [1, 2, 3, 4]


@pytest.mark.parametrize("preset", ["events", "entity"])
def test_a_part_that_is_gone_is_made_up_for_by_a_full_refresh(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, preset: str
) -> None:
    contract = reads(preset)
    (part,) = area.parts(stage(area, contract, rows(1)))
    load_table(sqlite, contract, area, registry)
    Path(part.uri).unlink()

    def look_back() -> Any:
        known = since_refresh(area.manifests("reads"))
        request = StageRequest(Extraction.WINDOW, Window(None, NOON), after=known[-1].sequence, known=known)
        return area.stage(contract, extracted(rows(1, 2, 3)), request)

    assert refused(look_back).endswith("run it once with --full-refresh")
    stage(area, contract, rows(1, 2), REFRESH)
    later = look_back()
    assert ids(area, later) == [3]
    load_table(sqlite, contract, area, registry)
    assert [value["read_id"] for value in sqlite.landed("reads")] == [1, 2, 3]


@pytest.mark.parametrize("way", ["without it", "another profile"])
def test_a_destination_that_takes_no_full_refresh(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, tmp_path: Path, way: str
) -> None:
    narrow = AppendOnly(SqliteConfig(path=str(tmp_path / "narrow.sqlite")))
    stage(area, reads(), rows(1), REFRESH)
    message = refused(lambda: load_table(narrow, reads(), area, registry))
    assert "empty its table by hand" not in message, "the next run would meet the same set"
    if way == "without it":
        assert message.endswith("or leave it out with --destinations")
        assert load_table(sqlite, reads(), area, registry).rows == 1
        return
    assert "load it from a profile with a staging folder of its own" in message
    own = StagingArea(str(tmp_path / "own"), registry)
    stage(own, reads(), rows(1))
    assert load_table(narrow, reads(), own, registry).rows == 1


def test_deletes_that_a_destination_cannot_follow(registry: Registry, area: StagingArea, tmp_path: Path) -> None:
    store = KeepsDeleted(SqliteConfig(path=str(tmp_path / "store.sqlite")))
    following = reads("entity", deletes="follow")
    message = refused(lambda: require_deletes(store, following, Strategy.UPSERT))
    found = re.search(r"set (deletes: keep), or destinations\.(\w+)\.(strategy: overwrite) where whole", message)
    assert found is not None
    keeping = reads("entity", **yaml.safe_load(found[1]))
    whole = reads("reference", deletes="follow", destinations={found[2]: yaml.safe_load(found[3])})
    for number, contract in enumerate((keeping, whole)):
        own = StagingArea(str(tmp_path / str(number)), registry)
        stage(own, contract, rows(1), WHOLE if contract is whole else WINDOW)
        assert load_table(store, contract, own, registry).rows == 1
        store = KeepsDeleted(SqliteConfig(path=str(tmp_path / "next.sqlite")))


@pytest.mark.parametrize("preset", ["events", "reference"])
def test_an_empty_source_is_taken_once_the_contract_allows_it(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, preset: str
) -> None:
    contract = reads(preset)
    whole = StageRequest(Extraction.WHOLE, Window(None, START), full_refresh=preset == "events")
    stage(area, contract, rows(1), whole)
    load_table(sqlite, contract, area, registry)
    message = refused(lambda: area.stage(contract, extracted([]), whole))
    found = re.search(r"or set (allow_empty: true) in the contract$", message)
    assert found is not None
    allowed = reads(preset, **yaml.safe_load(found[1]))
    stage(area, allowed, [], whole)
    load_table(sqlite, allowed, area, registry)
    assert sqlite.landed("reads") == []


@pytest.mark.parametrize("limits", [{"on_bad_value": "fail"}, {"max_rejected": 0.1}], ids=lambda one: next(iter(one)))
def test_rows_that_break_the_contract_go_into_quarantine_as_the_message_says(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, limits: dict[str, Any]
) -> None:
    given = [row(1), row(2), row(None)]
    message = refused(lambda: stage(area, reads(**limits), given))
    if "on_bad_value" in limits:
        found = re.search(r"or set (on_bad_value: quarantine)$", message)
        assert found is not None
        mended = reads(**yaml.safe_load(found[1]))
    else:
        assert message.endswith("or raise max_rejected")
        mended = reads(max_rejected=0.5)
    assert stage(area, mended, given).rejected == 1
    assert load_table(sqlite, mended, area, registry).rows == 2


# --- sources


@pytest.mark.parametrize("news", [True, False], ids=["news", "no news"])
@pytest.mark.parametrize("option", ["--source-moved", "--full-refresh"])
def test_a_source_that_was_taken_back_goes_on_after_one_such_run(option: str, news: bool) -> None:
    before = staged(1, NOON, replace(seen(12), taken=NOON))
    back = Sight(NOON + DAY, replace(seen(10), taken=NOON + DAY))
    message = refused(lambda: next_request(reads(), back, [before]))
    assert option in re.findall(r"--[a-z-]+", message)
    how = {option.removeprefix("--").replace("-", "_"): True}
    request = next_request(reads(), back, [before], **how)
    assert request is not None
    later = Sight(NOON + 2 * DAY, replace(seen(11), taken=NOON + 2 * DAY))
    if news or option == "--full-refresh":
        after = staged(2, request.window.end, request.seen, full_refresh=request.full_refresh)
        assert next_request(reads(), later, [before, after]) is not None
    else:
        noted = Progress(1, back.closes_at, request.seen, None, source={"database": "here"})
        assert next_request(reads(), later, [before], noted) is not None


def test_another_source_gets_a_staging_folder_of_its_own() -> None:
    known = [staged(1, NOON, seen(10))]
    message = refused(lambda: next_request(reads(), Sight(place="there"), known))
    assert "give this profile a staging folder of its own" in message
    assert next_request(reads(), Sight(place="there"), []) is not None
