"""strace: which calls a commit changes files with, and SIGKILL at the n-th of them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ownlens_plugins.api import LoadPlan

from .processes import MARK, START, Paused, Phase, Store

CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("fsync", "fdatasync", "write", "pwrite64", "writev", "pwritev", "ftruncate"),
)
# Copying and dropping a part of a ClickHouse table takes a dozen of these, one like the other.
BULKY = {"link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"}
# delta-rs's threads also write to wake each other, which hides what they write to files. Its log has fixed names.
_COMES_AGAIN = "/_delta_log/"
_LINE = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
_FILE = re.compile(r"^\d+<(?P<path>/(?!dev/|proc/)[^>]*)>")


@dataclass(frozen=True, slots=True)
class Point:
    """The n-th call of one kind that any thread makes, counted from a phase of the commit."""

    phase: Phase
    call: str
    number: int
    path: str | None = None  # only the calls on this file count

    def __str__(self) -> str:
        return f"{self.call} {self.number} after {self.phase}"


@dataclass(frozen=True, slots=True)
class Trace:
    """What an undisturbed commit does: the calls that change files, and the points at which a kill hits one.

    strace counts for each thread by itself: a call that is the n-th of its thread when another thread has made n
    before is no point of its own.
    """

    calls: int
    points: tuple[Point, ...]

    def thinned(self, every: int) -> list[Point]:
        """Return all points, but of bulky calls the first, the last, and each so many of the others."""
        groups: dict[tuple[Phase, str], list[Point]] = defaultdict(list)
        for point in self.points:
            groups[point.phase, point.call].append(point)
        return [point for (_, call), group in groups.items() for point in _some(group, every if call in BULKY else 1)]


def _some(group: Sequence[Point], every: int) -> list[Point]:
    return [point for index, point in enumerate(group) if index % every == 0 or point is group[-1]]


def record(store: Store, plan: LoadPlan, log: Path) -> Trace:
    """Load a plan to its end and return what its commit did."""
    load = Paused(store, plan, START, to_the_end=True)
    with _attached(load, log, *_only("?access", "?faccessat", "?faccessat2", *CALLS)):
        load.go_on()
    assert load.process.exitcode == 0
    return _read(log)


def kill_at(store: Store, plan: LoadPlan, point: Point, log: Path) -> bool:
    """Load a plan and kill it at a point; return whether it came by it."""
    load = Paused(store, plan, point.phase)
    inject = ["-e", f"inject={point.call}:signal=SIGKILL:when={point.number}"]
    inject += ["-P", point.path] if point.path else []
    with _attached(load, log, *_only(point.call), *inject):
        load.go_on()
    assert load.killed or load.passed, f"the load ended with {load.process.exitcode} at {point}"
    return load.killed


def _only(*calls: str) -> tuple[str, str]:
    return "-e", "trace=" + ",".join(call if call.startswith("?") else f"?{call}" for call in calls)


class _attached:
    """strace on all threads of a load, now and later."""

    def __init__(self, load: Paused, log: Path, *options: str) -> None:
        command = ["strace", "-f", "-y", "-s", "0", "-o", str(log), "-p", str(load.process.pid), *options]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> None:
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        assert "attached" in said, f"strace: {said}"

    def __exit__(self, *_: object) -> None:
        # It ends with the last thread of the load.
        self._strace.communicate(timeout=60)


def _read(log: Path) -> Trace:
    phase, calls, points = START, 0, list[Point]()
    made: Counter[tuple[str, str]] = Counter()
    most: Counter[str] = Counter()
    for thread, call, rest in _lines(log):
        if "access" in call:
            phase = _phase(rest) or phase
            if _phase(rest):
                made.clear()
                most.clear()
            continue
        made[thread, call] += 1
        made[call, _path(rest)] += 1
        changes = _changes(call, rest)
        calls += changes
        leads = made[thread, call] > most[call]
        most[call] = max(most[call], made[thread, call])
        if changes and leads:
            points.append(Point(phase, call, made[thread, call]))
        elif changes and _COMES_AGAIN in _path(rest):
            points.append(Point(phase, call, made[call, _path(rest)], _path(rest)))
    return Trace(calls, tuple(points))


def _phase(rest: str) -> Phase | None:
    if MARK not in rest:
        return None
    point, visit = rest.split(MARK)[1].split('"')[0].split("/")
    return Phase(point, int(visit))


def _lines(log: Path) -> Iterator[tuple[str, str, str]]:
    for line in log.read_text(errors="replace").splitlines():
        if found := _LINE.match(line):
            yield found["thread"], found["call"], found["rest"]


def _changes(call: str, rest: str) -> bool:
    if " = -1 " in rest:
        return False
    # The other calls name files by nature; these may also wake another thread.
    return "write" not in call or _path(rest) != ""


def _path(rest: str) -> str:
    found = _FILE.match(rest)
    return found["path"] if found else ""
