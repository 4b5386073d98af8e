"""One sweep: kill a load at each point of its commit in turn, and judge what a normal run makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ownlens_plugins.api import LoadPlan

from .checking import Rows, Verdict, check, load_one, observe
from .processes import Store, call
from .tracing import Point, Trace, kill_at, record


@dataclass
class Tally:
    """What a sweep saw. `calls` are those that the undisturbed commit changes something with."""

    destination: str
    load: str
    calls: int = 0
    points: int = 0
    killed: int = 0
    lost: int = 0
    doubled: int = 0
    crumbs: int = 0
    seen: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, where: str, phase: str, verdict: Verdict) -> None:
        self.killed += 1
        self.lost += verdict.lost
        self.doubled += verdict.doubled
        self.crumbs += verdict.crumbs
        views = self.seen.setdefault(phase, {})
        views[verdict.seen] = views.get(verdict.seen, 0) + 1
        self.problems += [f"{where}: {problem}" for problem in verdict.problems]

    def as_text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def views(self) -> set[str]:
        return {view for views in self.seen.values() for view in views}


@dataclass
class Sweep:
    """A table in a folder: `first` is there, `second` is what gets killed."""

    store: Store
    first: LoadPlan
    second: LoadPlan
    home: Path
    folder: Path

    def prepare(self) -> tuple[Rows, Rows, Trace]:
        """Load the first set, keep a copy, and return the rows of before and after, and what the second commit does."""
        call(load_one, self.store, self.first)
        shutil.copytree(self.home, self._copy, symlinks=True)
        old = call(observe, self.store, self.second)
        self._restore()
        trace = record(self.store, self.second, self.folder / "trace")
        return old, call(observe, self.store, self.second), trace

    @property
    def _copy(self) -> Path:
        return self.folder / "copy"

    def _restore(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self._copy, self.home, symlinks=True)

    def run(self, points: Iterable[Point], old: Rows, new: Rows, tally: Tally) -> None:
        for point in points:
            self._restore()
            tally.points += 1
            if kill_at(self.store, self.second, point, self.folder / "killed"):
                verdict = call(check, self.store, [self.first, self.second], old, new)
                tally.add(str(point), point.phase.point, verdict)


def sweep(run: Sweep, load: str, *, every: int = 1, sample: int = 1) -> Tally:
    """Kill at all points, or each so many of bulky calls or of all, and return what was seen."""
    old, new, trace = run.prepare()
    tally = Tally(run.store.name, load, calls=trace.calls)
    points = list(trace.thinned(every))
    # The last call too: between the first and it lies the step that commits, however few calls there are.
    chosen = points[::sample]
    run.run(chosen if points[-1:] == chosen[-1:] else [*chosen, points[-1]], old, new, tally)
    return tally


def judge(tally: Tally, record_property: Any) -> None:
    """Pass the tally on to the summary, and fail for anything that is not exactly once."""
    record_property("kill", tally.as_text())
    assert not tally.problems, tally.problems[:10]
    assert tally.lost == tally.doubled == 0
    assert tally.killed > 0
    # Counts differ by a call or two between runs; more would mean that the points are not those of this commit.
    assert tally.killed >= 0.8 * tally.points
