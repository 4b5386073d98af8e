"""The summary tables of a run: tables down, destinations across; or a line for each load on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ownlens_flows.report import RunReport, totals
from ownlens_plugins.engine.maintaining import Maintained
from ownlens_plugins.engine.outcomes import LoadOutcome, Status

Cell = Text | str
_MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "owed": ("?", "yellow"), "not run": ("·", "dim")}
_PER_DESTINATION, _TABLE_WIDTH = 34, 38


def loads_table(report: RunReport, width: int) -> Table:
    """Return the loads that did something: rows, rows inserted (+), updated (~) and so on, speed, validation."""
    destinations = sorted({destination for _, destination in report.outcomes})
    if width < _TABLE_WIDTH + _PER_DESTINATION * len(destinations):
        return _lines(report)
    table = _table([("table", "left")])
    for name in destinations:
        for header in (f"{name}\nrows", "\n+ins ~upd", "\nrows/s", "\n"):
            table.add_column(Text(header), justify="right", no_wrap=True)
    for name in dict.fromkeys(table_name for (table_name, _), _ in report.in_order()):
        cells = [report.outcomes.get((name, destination)) for destination in destinations]
        if any(cell is not None and _tells(report, cell) for cell in cells):
            table.add_row(Text(name), *(part for cell in cells for part in _cell(report, cell)))
    return table


def _table(columns: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    for name, justify in columns:
        # A name that is cut could be that of another table.
        how: Any = {"overflow": "fold", "min_width": 12} if justify == "left" else {"no_wrap": True}
        table.add_column(name, justify=justify, **how)  # type: ignore[arg-type]  # left or right
    return table


def _lines(report: RunReport) -> Table:
    right = ("rows", "+ins ~upd", "rows/s", "")
    table = _table([("table", "left"), ("in", "left"), *((name, "right") for name in right)])
    for (name, destination), outcome in report.in_order():
        if _tells(report, outcome):
            table.add_row(Text(name), Text(destination), *_cell(report, outcome))
    return table


def _tells(report: RunReport, outcome: LoadOutcome) -> bool:
    """Say whether a load is worth a line: it did something, or what an earlier run left was validated."""
    return outcome.status is not Status.NOTHING_NEW or report.validation(_key(outcome)) != "not run"


def _cell(report: RunReport, outcome: LoadOutcome | None) -> Iterator[Cell]:
    if outcome is None or outcome.status is Status.NOTHING_NEW:
        mark = "" if outcome is None or not _tells(report, outcome) else _mark(report.validation(_key(outcome)))
        yield from (Text("-", style="dim"), "", "", mark)
        return
    if outcome.status is not Status.LOADED:
        yield from (Text(outcome.status.value, style="red"), "", "", Text("✗", style="red"))
        return
    yield f"{outcome.rows:,}"
    yield _changes(outcome)
    yield f"{outcome.rows_per_second:,.0f}"
    yield _mark(report.validation(_key(outcome)))


def _key(outcome: LoadOutcome) -> tuple[str, str]:
    return outcome.table, outcome.destination


def _changes(outcome: LoadOutcome) -> Text:
    text = Text(f"+{outcome.inserted:,}")
    if outcome.updated:
        text.append(f" ~{outcome.updated:,}", style="cyan")
    if outcome.deleted:
        text.append(f" -{outcome.deleted:,}", style="magenta")
    if outcome.spared:
        text.append(f" ={outcome.spared:,}", style="yellow")
    if outcome.rejected:
        text.append(f" !{outcome.rejected:,}", style="yellow")
    if outcome.released:
        text.append(f" ↩{outcome.released:,}", style="green")
    return text


def _mark(validation: str) -> Text:
    mark, style = _MARKS.get(validation, ("!", "yellow"))
    return Text(mark, style=style)


def destinations_table(report: RunReport) -> Table:
    """Return one line of totals for each destination."""
    right = ("loads", "failed", "rows", "inserted", "updated", "unchanged", "deleted", "rejected", "validated")
    table = _table([("destination", "left"), *((name, "right") for name in right)])
    for name in sorted({destination for _, destination in report.outcomes}):
        outcomes = [outcome for outcome in report.outcomes.values() if outcome.destination == name]
        table.add_row(Text(name), *_totals(report, name, outcomes))
    return table


def _totals(report: RunReport, name: str, outcomes: list[LoadOutcome]) -> Iterator[str]:
    yield f"{sum(outcome.status in (Status.LOADED, Status.NOTHING_NEW) for outcome in outcomes)}"
    yield f"{sum(outcome.status in (Status.FAILED, Status.SKIPPED, Status.STOPPED) for outcome in outcomes)}"
    yield from (f"{value:,}" for value in totals(outcomes).values())
    passed = sum(1 for _, destination in report.validations if destination == name)
    failed = sum(1 for _, destination in report.invalid if destination == name)
    yield f"{passed} passed" + (f", {failed} failed" if failed else "")


def chores_table(found: Sequence[Maintained]) -> Table:
    """Return one line for each thing that maintenance did, failures first; places without work have none."""
    table = _table([("table", "left"), ("in", "left"), ("what", "left")])
    for name in ("rows", "files", "bytes"):
        table.add_column(name, justify="right")
    for one in sorted(found, key=lambda one: (not one.error, one.table)):
        if one.error:
            table.add_row(one.table, one.place, Text(one.error, style="red"))
        for chore in one.chores:
            numbers = (f"{number:,}" for number in (chore.rows, chore.files, chore.bytes))
            table.add_row(one.table, one.place, chore.name, *numbers)
    return table


def stdout_console() -> Console:
    """Return a console for stdout; what is piped into a file or program is not folded to 80 columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=170)
