"""A log of staged sets that is new, lost or another one, before destinations that hold loads already."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.standing import Asking
from ownlens_plugins.engine.surveying import survey
from ownlens_plugins.errors import Rejected, Retryable, StagedSetChanged
from ownlens_plugins.registry import GROUP, Registry

from .files_reading import source
from .sqlite_destination import SqliteConfig, SqliteDestination
from .staging_rows import reads

ROOT = Path(__file__).parents[2]
HEAD = "read_id,title,created_at,updated_at\n"
STAMP = "2026-01-01 00:00:00Z"
EVENTS, ENTITY, REFERENCE = reads("events"), reads("entity"), reads("reference", allow_empty=True)


class Away(SqliteDestination):
    """Does not say how far it has come."""

    asked = 0

    def position(self, contract: Any) -> int:
        self.asked += 1
        raise Retryable("sqlite: away")


def write(folder: Path, *ids: int) -> None:
    (folder / "reads.csv").write_text(HEAD + "".join(f"{number},t,{STAMP},{STAMP}\n" for number in ids))


def run(
    folder: Path, area: StagingArea, contract: Any, stores: Mapping[str, SqliteDestination], **how: Any
) -> list[LoadOutcome]:
    """Stage and load, as a run of the flow does."""
    positions = how.pop("positions", None) or Positions(stores)
    with source(folder).snapshot() as snapshot:
        stage_table(contract, snapshot, area, positions=positions, **how)
    return [load_table(store, contract, area, Registry(_entries())) for store in stores.values()]


def _entries() -> list[EntryPoint]:
    return [EntryPoint("sqlite", "tests.engine.sqlite_destination", GROUP)]


def landed(store: SqliteDestination) -> list[int]:
    return sorted(value["read_id"] for value in store.landed("reads"))


def numbers(area: StagingArea) -> list[int]:
    return [manifest.sequence for manifest in area.manifests("reads")]


@pytest.fixture
def second(tmp_path: Path) -> SqliteDestination:
    return SqliteDestination(SqliteConfig(path=str(tmp_path / "second.sqlite")))


@pytest.mark.parametrize("contract", [EVENTS, ENTITY, REFERENCE], ids=["events", "entity", "reference"])
def test_lost_staging_is_refused_and_its_fix_gets_through_at_once(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SqliteDestination, contract: Any
) -> None:
    stores = {"sqlite": sqlite, "second": second}
    for last in (1, 2, 3):
        write(folder, *range(last))
        run(folder, area, contract, {"sqlite": sqlite})
    run(folder, area, contract, {"second": second})
    write(folder, 0, 1, 7)
    shutil.rmtree(area.uri)
    with pytest.raises(Rejected) as caught:
        run(folder, area, contract, stores)
    assert str(caught.value) == (
        f"reads: {area.uri} has no staged sets of this table, and these destinations hold loads of it: sqlite (load "
        "3), second (load 3); the sets are lost, or belong to another profile: stage it anew with --full-refresh "
        "--tables reads"
    )
    assert numbers(area) == []
    outcomes = run(folder, area, contract, stores, full_refresh=True)
    assert [outcome.status for outcome in outcomes] == [Status.LOADED, Status.LOADED]
    assert (numbers(area), landed(sqlite), landed(second)) == ([4], [0, 1, 7], [0, 1, 7])
    write(folder, 0, 1, 7, 9)
    run(folder, area, contract, stores)
    assert (numbers(area), landed(sqlite), landed(second)) == ([4, 5], [0, 1, 7, 9], [0, 1, 7, 9])


def test_a_destination_that_comes_later_starts_at_the_full_refresh(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SqliteDestination
) -> None:
    write(folder, 1)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    shutil.rmtree(area.uri)
    run(folder, area, EVENTS, {"sqlite": sqlite}, full_refresh=True)
    write(folder, 1, 2)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    assert numbers(area) == [2, 3]
    run(folder, area, EVENTS, {"second": second})
    assert landed(second) == [1, 2]


def test_a_full_refresh_is_above_all_destinations_of_the_profile(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SqliteDestination, tmp_path: Path
) -> None:
    other = StagingArea(str(tmp_path / "other"), Registry())
    for last in (1, 2, 3):
        write(folder, *range(last))
        run(folder, other, EVENTS, {"second": second})
    positions = Positions({"sqlite": sqlite}, lambda: {"second": second})
    run(folder, area, EVENTS, {"sqlite": sqlite}, full_refresh=True, positions=positions)
    assert numbers(area) == [4]
    run(folder, area, EVENTS, {"second": second})
    assert landed(second) == [0, 1, 2]


def test_a_destination_that_is_away_leaves_the_others(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(SqliteConfig(path=str(tmp_path / "away.sqlite")))
    positions = Positions({"sqlite": sqlite, "away": away})
    write(folder, 1, 2)
    with caplog.at_level(logging.WARNING):
        run(folder, area, EVENTS, {"sqlite": sqlite}, positions=positions)
    assert landed(sqlite) == [1, 2]
    assert caplog.messages == ["reads: away does not say how far it has come: Retryable"]
    run(folder, area, EVENTS, {"sqlite": sqlite}, full_refresh=True, positions=positions)
    assert away.asked == 1, "a store that is away is waited for once a run, not once a table"


@pytest.mark.parametrize("sets", [1, 2, 3])
def test_one_that_was_away_and_is_ahead_is_refused_until_a_full_refresh(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SqliteDestination, tmp_path: Path, sets: int
) -> None:
    other = StagingArea(str(tmp_path / "other"), Registry())
    for ids in ((1,), (1, 5), (1, 5, 6)):
        write(folder, *ids)
        run(folder, other, EVENTS, {"second": second})
    for last in range(sets):
        write(folder, *range(1, last + 2))
        run(folder, area, EVENTS, {"sqlite": sqlite})
    with pytest.raises((Rejected, StagedSetChanged)) as caught:
        run(folder, area, EVENTS, {"second": second})
    assert "loaded from other staged sets" in str(caught.value)
    assert "--full-refresh --tables reads" in str(caught.value)
    assert landed(second) == [1, 5, 6]
    run(folder, area, EVENTS, {"sqlite": sqlite, "second": second}, full_refresh=True)
    assert landed(sqlite) == landed(second) == list(range(1, sets + 1))


def test_the_same_content_under_a_lower_number_is_not_taken_for_loaded(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, tmp_path: Path
) -> None:
    """A, B, then A again from a lost log: its set 1 has the digest of the old set 1, and the store holds B."""
    other = StagingArea(str(tmp_path / "other"), Registry())
    for ids in ((1,), (2,)):
        write(folder, *ids)
        run(folder, other, REFERENCE, {"sqlite": sqlite})
    write(folder, 1)
    run(folder, area, REFERENCE, {})
    with pytest.raises(Rejected) as caught:
        run(folder, area, REFERENCE, {"sqlite": sqlite})
    assert str(caught.value) == (
        f"reads: sqlite holds load 2, and the newest staged set in {area.uri} is 1: it was loaded from other staged "
        "sets; fill all destinations anew with --full-refresh --tables reads"
    )


def test_a_rival_that_begins_the_log_meanwhile_is_no_lost_log(
    folder: Path, area: StagingArea, sqlite: SqliteDestination
) -> None:
    write(folder, 1)

    class Rival(SqliteDestination):
        def position(self, contract: Any) -> int:
            run(folder, area, EVENTS, {"sqlite": sqlite})
            return sqlite.position(contract)

    with pytest.raises(Retryable, match="another run staged its first set at the same time"):
        run(folder, area, EVENTS, {}, positions=Positions({"sqlite": Rival(sqlite.config)}))
    run(folder, area, EVENTS, {"sqlite": sqlite})
    assert (numbers(area), landed(sqlite)) == ([1], [1])


def test_a_rival_that_loads_while_a_destination_is_looked_at_is_no_other_log(
    folder: Path, area: StagingArea, sqlite: SqliteDestination
) -> None:
    class Slow(SqliteDestination):
        def position(self, contract: Any) -> int:
            write(folder, 1, 2)
            run(folder, area, EVENTS, {"sqlite": sqlite})
            return sqlite.position(contract)

    write(folder, 1)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    outcome = load_table(Slow(sqlite.config), EVENTS, area, Registry(_entries()))
    assert (outcome.status, landed(sqlite), numbers(area)) == (Status.NOTHING_NEW, [1, 2], [1, 2])


def test_the_status_says_that_a_destination_was_loaded_from_other_sets(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, tmp_path: Path
) -> None:
    write(folder, 1)
    run(folder, area, EVENTS, {})
    asking = Asking(area, Registry(_entries()), Scrubber([]), validates=False)
    assert survey(asking, {"sqlite": sqlite}, [EVENTS])[0].behind == 1
    other = StagingArea(str(tmp_path / "other"), Registry())
    run(folder, other, EVENTS, {"sqlite": sqlite})
    run(folder, other, EVENTS, {"sqlite": sqlite}, full_refresh=True)
    assert "sqlite holds load 2, and the newest staged set" in survey(asking, {"sqlite": sqlite}, [EVENTS])[0].reason


def test_two_full_refreshes_of_a_lost_log_end_as_one_after_the_other(
    folder: Path, area: StagingArea, sqlite: SqliteDestination
) -> None:
    write(folder, 1, 2)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    shutil.rmtree(area.uri)
    code = (
        "import sys; from pathlib import Path; from tests.engine.test_positions import *\n"
        "store = SqliteDestination(SqliteConfig(path=sys.argv[3]))\n"
        "for _ in range(9):\n"
        "    try:\n"
        "        run(Path(sys.argv[1]), StagingArea(sys.argv[2], Registry()), EVENTS, {'sqlite': store}, "
        "full_refresh=True); break\n"
        "    except Retryable: pass\n"
    )
    command = [sys.executable, "-c", code, str(folder), area.uri, sqlite.config.path]
    runs = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in runs] == [0, 0]
    assert numbers(area) == [2, 3]
    assert landed(sqlite) == [1, 2]


@pytest.mark.parametrize("point", ["stage_open", "before_commit", "commit_sent"])
def test_a_refresh_of_a_lost_log_that_is_killed_is_brought_to_its_end(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, point: str
) -> None:
    write(folder, 1, 2)
    for _ in range(2):
        run(folder, area, REFERENCE, {"sqlite": sqlite})
    shutil.rmtree(area.uri)
    write(folder, 1, 3)
    code = (
        "import sys; from pathlib import Path; from tests.engine.test_positions import *\n"
        "store = SqliteDestination(SqliteConfig(path=sys.argv[3]))\n"
        "run(Path(sys.argv[1]), StagingArea(sys.argv[2], Registry()), REFERENCE, {'sqlite': store}, full_refresh=True)"
    )
    command = [sys.executable, "-c", code, str(folder), area.uri, sqlite.config.path]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OWNLENS_FAULT": f"{point}:kill"}, check=False)
    assert done.returncode == -9
    run(folder, area, REFERENCE, {"sqlite": sqlite})
    assert (numbers(area)[0], landed(sqlite)) == (2, [1, 3])
