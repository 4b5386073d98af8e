"""What is gone from the source leaves with the set that shows it: whole tables, whole days, or swept keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_s3.destination import S3Destination

from .moving import FIRST, LAYOUTS, Mover, row

TOMORROW = FIRST.fromordinal(FIRST.toordinal() + 1)
SWEEP = Covers(keys_only=True)


@pytest.fixture(params=LAYOUTS)
def table(request: pytest.FixtureRequest, destination: S3Destination, tmp_path: Path) -> Mover:
    made = Mover.of(destination, tmp_path, request.param)
    made.load(1, [row(n, day=n % 3, version=5) for n in range(12)])
    return made


def test_a_set_of_the_whole_table_deletes_and_wins_over_any_version(table: Mover) -> None:
    result = table.load(2, [row(n, day=n % 3, version=4) for n in range(5)] + [row(50)], Covers())
    assert (result.inserted, result.updated, result.unchanged, result.deleted) == (1, 5, 0, 7)
    again = load(table.loader.destination, table.loader.plans[2])
    assert again.replayed
    assert again.deleted == 7


def test_an_empty_set_of_the_whole_table_empties_it(table: Mover) -> None:
    assert table.load(2, [], Covers()).deleted == 12
    assert load(table.loader.destination, table.loader.plans[2]).replayed
    table.load(3, [row(1)])


def test_days_lose_what_the_set_has_not_and_other_days_stay(table: Mover) -> None:
    result = table.load(2, [row(0, day=0, version=1), row(1, day=0, version=1)], Covers("day", (FIRST, TOMORROW)))
    # 0 stays and is older, 1 came from the next day; 3, 6, 9 and 4, 7, 10 are gone.
    assert (result.updated, result.deleted) == (2, 6)


def test_a_day_with_no_rows_left_leaves(table: Mover) -> None:
    assert table.load(2, [], Covers("day", (FIRST,))).deleted == 4


def test_a_day_that_never_had_rows(table: Mover) -> None:
    nothing = table.load(2, [], Covers("day", (FIRST.replace(year=2025),)))
    assert nothing.deleted == 0
    assert load(table.loader.destination, table.loader.plans[2]).replayed


def test_a_sweep_deletes_and_changes_nothing_else(table: Mover) -> None:
    assert table.load(2, [row(n, day=9, version=9, note="never") for n in (0, 5, 77)], SWEEP).deleted == 10
    assert table.load(3, [row(0), row(5)], SWEEP).deleted == 0
    assert load(table.loader.destination, table.loader.plans[3]).replayed
    assert table.load(4, [], SWEEP).deleted == 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sweep_of_a_table_that_no_load_has_made(local: S3Destination, tmp_path: Path, layout: str) -> None:
    table = Mover.of(local, tmp_path, layout)
    table.load(1, [row(1), row(2)], SWEEP)
    assert table.landed.num_rows == 0
    table.load(2, [row(1)])


@pytest.mark.parametrize("strategy", [Strategy.OVERWRITE, Strategy.APPEND])
def test_keys_alone_are_never_loaded_as_rows(local: S3Destination, tmp_path: Path, strategy: Strategy) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(1), row(2)])
    sweep = replace(table.plan(2, [row(1)], SWEEP), strategy=strategy)
    with pytest.raises(Rejected, match=r"samples: s3 cannot \w+ a set that holds keys alone; use strategy: upsert"):
        load(local, sweep)
    table.require()


def test_an_older_set_that_comes_after_one_of_the_whole_table_is_overtaken(
    local: S3Destination, tmp_path: Path
) -> None:
    table = Mover.of(local, tmp_path)
    table.load(1, [row(1), row(2)])
    table.load(3, [row(1)], Covers())
    late = load(local, table.plan(2, [row(2, version=9)]))
    assert (late.rows, late.replayed) == (0, True)
    table.require()


def test_deletes_are_claimed() -> None:
    assert S3Destination.follows_deletes
