"""Of tests with many combinations, each costing a load or more, a run tries a share that the commit chooses.

`pytest --share=6` keeps every sixth combination of strategy, point, fault and type of a test in `GRIDS`, at least one.
Which ones depends on the test and on the commit, so that CI comes by all of them in a few commits and a failure can be
repeated.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath
from zlib import crc32

import pytest

# Files whose tests differ by combination only.
GRIDS = {
    "test_adopting",
    "test_conformance",
    "test_counting",
    "test_counts",
    "test_deletes",
    "test_drift",
    "test_dropped",
    "test_exactly_once",
    "test_faults",
    "test_files_formats",
    "test_foreign",
    "test_grid",
    "test_growth",
    "test_histories",
    "test_identity",
    "test_kill",
    "test_kills",
    "test_liars",
    "test_lives",
    "test_lost_answers",
    "test_marks",
    "test_moved",
    "test_names",
    "test_network",
    "test_other_peoples_tables",
    "test_owners",
    "test_processes",
    "test_races",
    "test_racing",
    "test_recovery",
    "test_recovery_kills",
    "test_reference",
    "test_refreshing",
    "test_refusals",
    "test_round_trip",
    "test_sparing",
    "test_staging_network",
    "test_unfit_tables",
    "test_versions",
    "test_widening",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=int, default=1, help="of tests with many combinations, try each so many")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests to run; the others count as deselected."""
    share = int(config.getoption("--share"))
    if share < 2:
        return
    dropped = {item.nodeid for grid in _grids(items) for item in _others(grid, share, commit())}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in dropped])
    items[:] = [item for item in items if item.nodeid not in dropped]


def _grids(items: Iterable[pytest.Item]) -> Iterable[list[pytest.Item]]:
    by_test: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if PurePath(item.path).stem in GRIDS:
            by_test[_test_of(item)].append(item)
    return by_test.values()


def _test_of(item: pytest.Item) -> str:
    """Return a test's file and name: the classes of a file run the same test on different servers."""
    return f"{item.path} {item.name.partition('[')[0]}"


def _others(grid: list[pytest.Item], share: int, commit: str) -> Iterable[pytest.Item]:
    test = grid[0].nodeid.partition("[")[0]
    # Tests of one commit differ in what they leave out, so each strategy meets some test.
    first = crc32(f"{commit} {test}".encode()) % min(share, len(grid))
    return (item for number, item in enumerate(grid) if number % share != first)


def commit() -> str:
    """Return the commit that is checked out; empty outside of a clone."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=PurePath(__file__).parent)
    return done.stdout.strip()
