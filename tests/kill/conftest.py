"""The option and the summary of the kill sweeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

_COLUMNS = ("destination", "load", "calls", "points", "killed", "lost", "doubled", "crumbs")
_VIEWS = ("old", "new", "part", "other")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kill-every",
        type=int,
        default=8,
        help="of links, unlinks and directories, of which ClickHouse makes a dozen for each part, kill at each so many",
    )
    parser.addoption("--kill-sample", type=int, default=1, help="of all points, try each so many")


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kill-sample"))


@pytest.fixture
def every(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kill-every"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    tallies = sorted(_tallies(terminalreporter), key=lambda tally: (tally["destination"], tally["load"]))
    if not tallies:
        return
    terminalreporter.section("kills: readers right after them, before the repair")
    terminalreporter.write_line(_line(("destination", "load", "after the phase", *_VIEWS)))
    for tally in tallies:
        for phase, views in tally["seen"].items():
            numbers = (views.get(view, 0) for view in _VIEWS)
            terminalreporter.write_line(_line((tally["destination"], tally["load"], phase, *numbers)))
    terminalreporter.section("kills: after a normal run")
    terminalreporter.write_line(_line(_COLUMNS))
    for tally in tallies:
        terminalreporter.write_line(_line(tally[name] for name in _COLUMNS))
    terminalreporter.write_line(_line(("all", "", *(sum(tally[name] for tally in tallies) for name in _COLUMNS[2:]))))


def _tallies(terminalreporter: Any) -> Iterator[dict[str, Any]]:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            yield from (json.loads(value) for name, value in report.user_properties if name == "kill")


def _line(values: Iterable[Any]) -> str:
    destination, load, *others = values
    cells = (f"{other:<16}" if isinstance(other, str) and len(other) > 8 else f"{other:>9}" for other in others)
    return f"{destination:<12}{load:<28}" + "".join(cells)
