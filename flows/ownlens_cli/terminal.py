"""What a person sees while tables load and when they are loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ownlens_flows.report import RunReport, peak_memory_mb, totals
from ownlens_flows.run import Observer
from ownlens_plugins.engine.outcomes import LoadOutcome, Status

console = Console(stderr=True, highlight=False)
_STYLES = {Status.LOADED: "green", Status.NOTHING_NEW: "dim", Status.FAILED: "red", Status.SKIPPED: "yellow"}
MOST_FAILURES = 20


@contextmanager
def live_progress(tables: int, destinations: Sequence[str]) -> Iterator[Observer]:
    """Show one bar for staging and one for each destination, on stderr; yields the observer that moves them."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=console) as progress:
        yield _Bars(progress, tables, destinations).observe


class _Bars:
    def __init__(self, progress: Progress, tables: int, destinations: Sequence[str]) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._bars = {"": progress.add_task("stage", total=tables, note="")}
        self._bars |= {name: progress.add_task(f"load {name}", total=tables, note="") for name in destinations}
        self._rows = dict.fromkeys(self._bars, 0)
        self._failed = dict.fromkeys(self._bars, 0)

    def observe(self, what: str, _table: str, destination: str, detail: Any) -> None:
        if what == "validated" or destination not in self._bars:
            return
        with self._lock:
            self._failed[destination] += what == "failed"
            self._rows[destination] += _rows(detail)
            note = f"{self._rows[destination]:,} rows"
            if self._failed[destination]:
                note += f", [red]{self._failed[destination]} failed[/red]"
            self._progress.update(self._bars[destination], advance=1, note=note)


def _rows(detail: Any) -> int:
    manifest = getattr(detail, "manifest", None)
    return int(getattr(detail if manifest is None else manifest, "rows", 0))


def print_report(report: RunReport) -> None:
    """Print the summary on stdout: a line per table and destination, then the totals, then what failed."""
    out = Console(highlight=False)
    if any(outcome.status is not Status.NOTHING_NEW for outcome in report.outcomes.values()):
        out.print(_loads(report))
    out.print(_destinations(report))
    out.print(f"{report.message()}, {report.seconds:.1f} s, peak memory {peak_memory_mb():,.0f} MB")
    print_failures(report)


def print_failures(report: RunReport) -> None:
    """Print each failure in one line on stderr."""
    lines = [*report.failures, *(rejection.message for rejection in report.rejections)]
    for line in lines[:MOST_FAILURES]:
        console.print(Text(f"ownlens: {line}", style="red"), soft_wrap=True)
    if len(lines) > MOST_FAILURES:
        console.print(f"ownlens: and {len(lines) - MOST_FAILURES} more; see the log", style="red")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _loads(report: RunReport) -> Table:
    counts = ("rows", "inserted", "updated", "unchanged", "rejected", "seconds", "rows/s")
    table = _table("Loads", ("table", "destination", "status", "validation"), counts)
    for key, outcome in sorted(report.outcomes.items()):
        if outcome.status is not Status.NOTHING_NEW:
            table.add_row(*_load_row(report, key, outcome))
    return table


def _load_row(report: RunReport, key: tuple[str, str], outcome: LoadOutcome) -> list[Text | str]:
    names = ("rows", "inserted", "updated", "unchanged", "rejected")
    validation = report.validation(key)
    return [
        outcome.table,
        outcome.destination,
        Text(outcome.status.value, style=_STYLES[outcome.status]),
        Text(validation, style="red" if validation == "failed" else "green" if validation == "passed" else "dim"),
        *(f"{getattr(outcome, name):,}" for name in names),
        f"{outcome.seconds:.2f}",
        f"{outcome.rows_per_second:,.0f}",
    ]


def _destinations(report: RunReport) -> Table:
    counts = ("loaded", "nothing new", "failed", "rows", "inserted", "updated", "unchanged", "rejected", "validated")
    table = _table("Destinations", ("destination",), counts)
    for name in sorted({destination for _, destination in report.outcomes}):
        outcomes = [outcome for outcome in report.outcomes.values() if outcome.destination == name]
        table.add_row(name, *_destination_counts(report, name, outcomes))
    return table


def _destination_counts(report: RunReport, name: str, outcomes: list[LoadOutcome]) -> Iterator[str]:
    for statuses in ((Status.LOADED,), (Status.NOTHING_NEW,), (Status.FAILED, Status.SKIPPED)):
        yield f"{sum(outcome.status in statuses for outcome in outcomes)}"
    yield from (f"{value:,}" for value in totals(outcomes).values())
    passed = sum(1 for _, destination in report.validations if destination == name)
    failed = sum(1 for _, destination in report.invalid if destination == name)
    yield f"{passed} passed" + (f", {failed} failed" if failed else "")
