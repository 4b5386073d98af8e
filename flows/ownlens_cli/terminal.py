"""What a person sees while tables load and when they are loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ownlens_flows.report import RunReport, peak_memory_mb
from ownlens_flows.run import Observer
from ownlens_plugins.engine.outcomes import Status

from .matrix import destinations_table, loads_table, stdout_console

console = Console(stderr=True, highlight=False)
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
        if what == "stopped":
            self._progress.stop()  # gives the cursor back, whoever ends the process now
        if what in ("validated", "stopped") or destination not in self._bars:
            return
        with self._lock:
            self._failed[destination] += what in ("failed", "invalid")
            self._rows[destination] += _rows(detail)
            note = f"{self._rows[destination]:,} rows"
            if self._failed[destination]:
                note += f", [red]{self._failed[destination]} failed[/red]"
            self._progress.update(self._bars[destination], advance=what != "invalid", note=note)


def _rows(detail: Any) -> int:
    manifest = getattr(detail, "manifest", None)
    return int(getattr(detail if manifest is None else manifest, "rows", 0))


def print_report(report: RunReport) -> None:
    """Print the summary on stdout: the loads, the totals of each destination, then what failed on stderr.

    Among the loads, those that need a person come first.
    """
    out = stdout_console()
    if any(outcome.status is not Status.NOTHING_NEW for outcome in report.outcomes.values()):
        out.print(loads_table(report, out.width))
    out.print(destinations_table(report))
    out.print(f"{report.message()}, {report.seconds:.1f} s, peak memory {peak_memory_mb():,.0f} MB")
    for line in report.hints:
        console.print(Text(f"ownlens: {line}", style="yellow"), soft_wrap=True)
    print_failures(report)


def print_failures(report: RunReport) -> None:
    """Print each failure in one line on stderr."""
    lines = [*report.failures, *(rejection.message for rejection in report.rejections), *report.untold]
    for line in lines[:MOST_FAILURES]:
        console.print(Text(f"ownlens: {line}", style="red"), soft_wrap=True)
    if len(lines) > MOST_FAILURES:
        console.print(f"ownlens: and {len(lines) - MOST_FAILURES} more; see the log", style="red")
