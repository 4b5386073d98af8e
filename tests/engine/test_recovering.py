"""Sets for some destinations alone: killed anywhere, twice at once, retired, and what later sets are decided from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.engine import recovering, running
from ownlens_plugins.engine.forgotten import Span, lacking, noted, with_notes
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.quarantining import open_rows
from ownlens_plugins.engine.recovering import Recovery
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.registry import GROUP, Registry
from ownlens_plugins.storage import LocalFolder

from .files_reading import source
from .second_destination import SecondDestination
from .sqlite_destination import SqliteConfig, SqliteDestination
from .staging_rows import START, reads, row, rows, stage
from .test_positions import ROOT, landed, numbers, write
from .test_quarantining import BAD

EVENTS, ENTITY, REFERENCE = reads("events"), reads("entity"), reads("reference")
FILL = Recovery(("second",), backfill=True)
CODE = (
    "import sys; from pathlib import Path; from tests.engine.test_recovering import *\n"
    "die_at(sys.argv[4])\n"
    "store = SecondDestination(SqliteConfig(path=sys.argv[3]))\n"
    "for left in range(9):\n"
    "    try:\n"
    "        area = StagingArea(sys.argv[2], Registry())\n"
    "        run(Path(sys.argv[1]), area, reads(sys.argv[5]), {'second': store}, FILL)\n"
    "        break\n"
    "    except Retryable:\n"
    "        pass\n"
)


def registry() -> Registry:
    names = {"sqlite": "tests.engine.sqlite_destination", "second": "tests.engine.second_destination"}
    return Registry([EntryPoint(name, module, GROUP) for name, module in names.items()])


def run(
    folder: Path,
    area: StagingArea,
    contract: Any,
    stores: Mapping[str, SqliteDestination],
    recovery: Recovery | None = None,
) -> None:
    """Stage and load, as a run of the flow does."""
    with source(folder).snapshot() as snapshot:
        stage_table(contract, snapshot, area, positions=Positions(stores), recovery=recovery)
    for store in stores.values():
        load_table(store, contract, area, registry())


def die_at(point: str) -> None:
    """Let this process die at a point of staging."""
    if point == "staged for all":
        running.stage_for_some = lambda *_, **__: os.kill(os.getpid(), 9)  # type: ignore[assignment]
    if point == "staged for some":
        stage_for_some = recovering.stage_for_some
        running.stage_for_some = lambda *a, **k: (stage_for_some(*a, **k), os.kill(os.getpid(), 9))[0]
    if point == "publishing":
        create = LocalFolder.create
        LocalFolder.create = lambda folder, name, content: (  # type: ignore[method-assign]
            os.kill(os.getpid(), 9) if name.endswith("2.json") else create(folder, name, content)  # type: ignore[return-value]
        )


def process(folder: Path, area: StagingArea, store: SqliteDestination, point: str, preset: str) -> Any:
    command = [sys.executable, "-c", CODE, str(folder), area.uri, store.config.path, point, preset]
    fault = {"OWNLENS_FAULT": f"{point}:kill"} if "_" in point else {}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **fault})


@pytest.fixture
def second(tmp_path: Path) -> SecondDestination:
    return SecondDestination(SqliteConfig(path=str(tmp_path / "second.sqlite")))


@pytest.mark.parametrize(
    "point", ["staged for all", "publishing", "staged for some", "stage_open", "before_commit", "commit_sent"]
)
def test_a_backfill_that_is_killed_is_made_up_for_by_the_next(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SecondDestination, point: str
) -> None:
    write(folder, 1, 2)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    assert process(folder, area, second, point, "events").wait(60) == -9
    for _ in range(2):
        run(folder, area, EVENTS, {"second": second}, FILL)
        assert landed(second) == [1, 2]
    write(folder, 1, 2, 3)
    run(folder, area, EVENTS, {"sqlite": sqlite, "second": second})
    assert landed(sqlite) == landed(second) == [1, 2, 3]
    assert sqlite.ledger("reads") == [1, numbers(area)[-1]]


def test_two_backfills_at_once_end_as_one_after_the_other(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SecondDestination
) -> None:
    write(folder, 1, 2)
    run(folder, area, EVENTS, {"sqlite": sqlite})
    assert [one.wait(60) for one in [process(folder, area, second, "", "events") for _ in range(2)]] == [0, 0]
    write(folder, 1, 2, 3)
    run(folder, area, EVENTS, {"sqlite": sqlite, "second": second})
    assert landed(sqlite) == landed(second) == [1, 2, 3]


def test_a_snapshot_that_is_older_than_what_all_have_fills_nobody(
    folder: Path, area: StagingArea, sqlite: SqliteDestination
) -> None:
    write(folder, 1)
    with source(folder).snapshot() as old:
        write(folder, 1, 2)
        run(folder, area, EVENTS, {"sqlite": sqlite})
        with pytest.raises(Retryable, match="another run has staged a newer state of the source; run it again"):
            recovering.stage_for_some(EVENTS, old, area, FILL, after=1)


def test_a_later_run_takes_what_came_before_a_backfill_for_the_others(
    folder: Path, area: StagingArea, sqlite: SqliteDestination, second: SecondDestination
) -> None:
    """The rows that a backfill finds are staged for all first: none is left out for the others."""
    write(folder, 1)
    run(folder, area, REFERENCE, {"sqlite": sqlite})
    write(folder, 1, 2)
    run(folder, area, REFERENCE, {"second": second}, FILL)
    assert [manifest.only for manifest in area.manifests("reads")] == [None, None, ("second",)]
    run(folder, area, REFERENCE, {"sqlite": sqlite, "second": second})
    assert landed(sqlite) == landed(second) == [1, 2]
    assert numbers(area) == [1, 2, 3], "an equal whole table is not staged once more, because one for some came between"


def test_refused_rows_of_a_set_for_some_are_no_business_of_the_others(area: StagingArea) -> None:
    contract = reads("entity")
    first = stage(area, contract, [row(1), row(2, BAD)])
    before = open_rows([first])
    request = running.StageRequest(
        running.Extraction.WHOLE, recovering.Window(None, START), full_refresh=True, only=("second",)
    )
    some = stage(area, contract, [row(1), row(2), row(3, BAD)], request)
    assert some.rejected == 1
    assert open_rows(area.manifests("reads")) == before, "what came in for one destination, the others still lack"


def test_a_manifest_for_some_is_not_read_by_versions_that_would_load_it_into_all(area: StagingArea) -> None:
    request = running.StageRequest(
        running.Extraction.WHOLE, recovering.Window(None, START), full_refresh=True, only=("second",)
    )
    some = stage(area, EVENTS, rows(1), request)
    assert Manifest.from_json(some.to_json()) == some
    assert b'"format": 3' in some.to_json()


def test_what_is_remembered_of_retired_sets_stays_small_and_never_says_too_little(area: StagingArea) -> None:
    content = b""
    for number in range(1, 900):
        one = stage(area, EVENTS, rows(number)) if number == 1 else one  # noqa: F821
        window = recovering.Window(START.replace(year=2000 + number % 20), START)
        object.__setattr__(one, "sequence", number)
        object.__setattr__(one, "window", window)
        content = with_notes(noted(content), [one])
    spans = noted(content)
    assert len(spans) <= 256
    assert (spans[0].first, spans[-1].last) == (1, 899)
    gap = lacking(spans, "sqlite", 890, 899)
    assert gap is not None
    assert gap.start == START.replace(year=2000 + 891 % 20)


def test_sets_for_others_and_sets_without_a_note() -> None:
    spans = [Span(1, 1, START), Span(2, 2, None, ("second",)), Span(4, 4, START)]
    assert lacking(spans, "sqlite", 1, 2) is None
    assert lacking(spans, "second", 1, 2).start is None  # type: ignore[union-attr]
    assert lacking(spans, "sqlite", 2, 4).start is None, "nothing is known of set 3"  # type: ignore[union-attr]
    assert lacking(spans, "sqlite", 3, 4).start == START  # type: ignore[union-attr]
