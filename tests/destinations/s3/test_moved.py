"""A row whose partition changes is there once, in its new place, unless what the table holds is newer."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import CommitFailedError

from ownlens_plugins.api import Covers
from ownlens_plugins.engine.loading import load
from ownlens_s3.destination import S3Destination
from ownlens_s3.session import DeltaSession

from .loads import Loader
from .moving import FIRST, KEYS, LAYOUTS, Mover, Row, row

PARTITIONED = [layout for layout in LAYOUTS if layout != "none"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("key", KEYS)
def test_a_row_that_moves_is_there_once(destination: S3Destination, tmp_path: Path, layout: str, key: str) -> None:
    table = Mover.of(destination, tmp_path, layout, key=key)
    table.load(1, [row(n, day=n % 5) for n in range(20)])
    table.load(2, [row(3, day=40, version=1), row(4, day=0, version=1), row(30, day=2)])
    table.load(3, [row(3, day=3, version=2)])  # and back


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_moved_row_that_is_older_changes_nothing(local: S3Destination, tmp_path: Path, layout: str) -> None:
    table = Mover.of(local, tmp_path, layout)
    table.load(1, [row(n, day=0, version=5) for n in range(4)])
    result = table.load(2, [row(1, day=50, version=4), row(2, day=50, version=5), row(9, day=50)])
    assert (result.inserted, result.updated, result.unchanged) == (1, 1, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_version_is_the_oldest_version(local: S3Destination, tmp_path: Path, layout: str) -> None:
    table = Mover.of(local, tmp_path, layout)
    table.load(1, [row(1, version=None), row(2, version=None), row(3, version=3), row(4, version=None)])
    changed = [row(1, day=1, version=None, note="b"), row(2, day=1, version=1), row(3, day=1, version=None)]
    result = table.load(2, [*changed, row(4, version=None)])
    assert (result.updated, result.unchanged) == (2, 2)


def test_rows_from_hundreds_of_days(local: S3Destination, tmp_path: Path) -> None:
    """More partitions than a list of literals may hold: the merge is then over a range of them."""
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n, day=n % 450) for n in range(900)])
    table.load(2, [row(n, day=(n + 225) % 450, version=1) for n in range(0, 900, 2)])


@pytest.mark.parametrize("layout", PARTITIONED)
def test_a_move_out_of_a_partition_that_no_file_range_excludes(
    local: S3Destination, tmp_path: Path, layout: str
) -> None:
    """Old keys beside new ones in one set: the new ones are above all that is there, the moved one is not."""
    table = Mover.of(local, tmp_path, layout)
    for number in range(4):
        table.load(number + 1, [row(100 * number + n, day=35 * number) for n in range(10)])
    table.load(5, [row(1000), row(205, day=105, version=1), row(5, day=0, version=1), row(108, day=0, version=1)])


@pytest.mark.parametrize("way", ["patching.locate", "merging.find_rows"])
def test_a_rival_that_commits_between_the_look_up_and_the_merge(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "merging.find_rows":
        monkeypatch.setattr("ownlens_s3.delta.can_patch", lambda *_: False)
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n, day=n) for n in range(5)])
    rival = table.plan(2, [row(1, day=30, version=1)])
    mine = table.plan(3, [row(1, day=60, version=2)])
    turns, found = [rival], _find(way)

    def between(*arguments: Any, **options: Any) -> Any:
        there = found(*arguments, **options)
        if turns:
            load(S3Destination(local.config), turns.pop())
        return there

    monkeypatch.setattr(f"ownlens_s3.{way}", between)
    failures = _count_conflicts(monkeypatch)
    load(local, mine)
    table.model.apply([row(1, day=60, version=2)])
    table.require()
    assert len(failures) == 1


def _find(way: str) -> Any:
    module, name = way.split(".")
    return getattr(importlib.import_module(f"ownlens_s3.{module}"), name)


def _count_conflicts(monkeypatch: pytest.MonkeyPatch) -> list[CommitFailedError]:
    failures: list[CommitFailedError] = []
    commit = DeltaSession._commit_on

    def counted(session: DeltaSession, *arguments: Any) -> Any:
        try:
            return commit(session, *arguments)
        except CommitFailedError as error:
            failures.append(error)
            raise

    monkeypatch.setattr(DeltaSession, "_commit_on", counted)
    return failures


def test_partitions_that_cannot_hold_a_key_are_not_merged(local: S3Destination, tmp_path: Path) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(n, day=n) for n in range(6)])
    before = set(_live(table.loader))
    table.load(2, [row(3, day=5, version=1)])
    gone = before - set(_live(table.loader))
    assert sorted(path.split("day=")[1][:10] for path in gone) == ["2026-02-02"]


def _live(loader: Loader) -> list[str]:
    table = loader.destination.delta(loader.contract, loader.plans[1].options).open()  # type: ignore[arg-type]
    assert table is not None
    return table.file_uris()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_any_sets_end_as_the_model_says(local: S3Destination, tmp_path: Path, layout: str, seed: int) -> None:
    """Random sets, some of which cover the table, some days, or only sweep keys."""
    chance = random.Random(seed)
    table = Mover.of(local, tmp_path, layout, key=chance.choice(list(KEYS)))
    for number, (rows, covers) in enumerate(_sets(chance, table), start=1):
        table.load(number, rows, covers)


def _sets(chance: random.Random, table: Mover) -> Iterator[tuple[list[Row], Covers | None]]:
    for _ in range(8):
        numbers = chance.sample(range(40), chance.randint(0, 25))
        rows = [
            row(n, chance.randint(0, 60), chance.choice([None, *range(4)]), note=chance.choice(["a", None]))
            for n in numbers
        ]
        days = tuple(sorted({FIRST.fromordinal(FIRST.toordinal() + n) for n in chance.sample(range(60), 20)}))
        yield chance.choice(
            [
                (rows, None),
                (rows, Covers()),
                ([values for values in rows if values["day"] in days], Covers("day", days)),
                (rows, Covers(keys_only=True)),
            ]
        )


def test_the_days_of_a_timestamp_are_those_of_utc(local: S3Destination, tmp_path: Path) -> None:
    table = Mover.of(local, tmp_path, "derived day")
    table.load(1, [row(n, day=n % 3) for n in range(9)])
    table.load(2, [row(0, day=0)], Covers("at", (date(2026, 1, 30),)))
