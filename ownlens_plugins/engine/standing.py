"""Where a table stands in a destination: how far it has come in the log of staged sets, and what runs said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from ..api import Destination
from ..commands import naming_the_table
from ..contracts import Strategy, TableContract
from ..contracts.durations import duration_text
from ..errors import OwnLensError
from ..powers import SupportsPosition, TableState
from ..registry import Registry
from .last_loads import LastLoad
from .manifest import Manifest
from .newest_first import Log
from .planning import Pending, pending, replaces_all
from .positions import lost
from .progress import Progress
from .scrubbing import Scrubber
from .staged_log import StagedLog
from .verdicts import Verdict

# The rows of older sets that wait are not counted: there are at least as many as those of these.
_MOST_SETS = 50
PASSED, FAILED, OWED, NONE = "passed", "failed", "owed", "none"


@dataclass(frozen=True, slots=True)
class Load:
    """The newest load of a table: when it was committed, its staged rows, and how long it took, if that is known."""

    at: datetime
    rows: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One table in one destination. `newest` and `position` are sets, 0 being none.

    `behind` counts the sets that wait to be loaded, and `rows_behind` their rows; there are `more` than that of a very
    long queue. `as_of` is the moment of the source up to which the destination holds it. `validation` is passed,
    failed, owed (no validation has seen all that is there) or none (there is nothing to see, or the profile does not
    validate). `refused` counts rows in the staging area's quarantine, neither replayed nor corrected, and `aside` those
    that the destination keeps aside. `staged_bytes` are of all destinations together. `reason` says what is wrong.
    """

    table: str
    destination: str
    newest: int = 0
    position: int = 0
    behind: int = 0
    rows_behind: int = 0
    more: bool = False
    as_of: datetime | None = None
    last_load: Load | None = None
    validation: str = NONE
    refused: int = 0
    aside: int = 0
    staged_bytes: int | None = None
    stored_bytes: int | None = None
    reason: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is left to do here."""
        return not (self.reason or self.behind) and self.validation in (PASSED, NONE)

    def document(self) -> dict[str, Any]:
        """Return the standing as JSON values; moments are in ISO form."""
        last = self.last_load and {**asdict(self.last_load), "at": self.last_load.at.isoformat()}
        as_of = self.as_of and self.as_of.isoformat()
        return {**asdict(self), "as_of": as_of, "last_load": last, "well": self.well}

    def no_older(self, longest: timedelta, now: datetime) -> Standing:
        """Return the standing with a reason if it is older than it may be."""
        if self.reason or (self.as_of is not None and abs(now - self.as_of) <= longest):
            return self
        since = f"not up to date since {self.as_of:%Y-%m-%d %H:%M} UTC" if self.as_of else "never loaded"
        if self.as_of is not None and self.as_of > now:  # it says nothing: one of the two clocks was wrong
            since = f"its rows are as of {self.as_of:%Y-%m-%d %H:%M} UTC, which lies ahead of this clock"
        return replace(self, reason=f"{self.table}: {self.destination}: {since}; allowed are {duration_text(longest)}")


@dataclass(frozen=True, slots=True)
class Staged:
    """What the staging area says of a table; `reason` says why it cannot be asked."""

    log: Log
    noted: Progress | None = None
    refused: int = 0
    size: int | None = None
    verdicts: Mapping[str, Verdict] | None = None
    last_loads: Mapping[str, LastLoad] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Asking:
    """What is needed to ask a destination about a table."""

    area: StagedLog
    registry: Registry
    scrubber: Scrubber
    validates: bool

    def standing(
        self,
        destination: Destination[Any, Any],
        contract: TableContract,
        staged: Staged,
        state: TableState | None,
        aside: int = 0,
    ) -> Standing:
        """Return where a table stands, given what its staging and, if it is known, the destination say of it."""
        name = destination.name
        staged = replace(staged, log=staged.log.those(lambda manifest: manifest.is_for(name)))
        newest = staged.log[-1].sequence if staged.log else 0
        start = Standing(contract.table, name, newest, refused=staged.refused, aside=aside, staged_bytes=staged.size)
        if staged.reason:
            return replace(start, reason=staged.reason)
        try:
            found = self._found(start, destination, contract, staged, state)
        except Exception as error:
            found = _above(start, staged, state, self._line(error, contract.table))
        return self._judged(found, staged)

    def _line(self, error: Exception, table: str) -> str:
        line = naming_the_table(self.scrubber.line(error), table)
        return line if isinstance(error, OwnLensError) else f"{type(error).__name__}: {line}"

    def _found(
        self,
        start: Standing,
        destination: Destination[Any, Any],
        contract: TableContract,
        staged: Staged,
        state: TableState | None,
    ) -> Standing:
        if not staged.log:
            position = state.position if state else _position(destination, contract)
            reason = str(lost(contract, self.area, {start.destination: position})) if position else ""
            return replace(_stored(start, state), position=position, reason=reason)
        todo = pending(destination, contract, self.area, self.registry, known=state, most=_MOST_SETS)
        known = 0
        if todo.plans and not todo.applied and (todo.more or replaces_all(todo.plans[0])):
            # The queue replaces the whole table, or is long: it was not looked behind it.
            known = state.position if state else _position(destination, contract)
        load = None if state else _loaded(destination, todo)
        return _with(_stored(start, state), todo, staged, state, known, load)

    def _judged(self, found: Standing, staged: Staged) -> Standing:
        """Return the standing with what the last run and the last validation have said."""
        last = (staged.last_loads or {}).get(found.destination, LastLoad())
        verdict = (staged.verdicts or {}).get(found.destination, Verdict())
        validation = _validation(verdict, found.position) if self.validates else NONE
        said = last.error or (verdict.reason if validation == FAILED else "")
        load = found.last_load
        if last.at is not None and last.sequence == found.position and (load is None or load.seconds is None):
            load = Load(load.at if load else last.at, load.rows if load else last.rows, last.seconds)
        return replace(found, validation=validation, reason=found.reason or said, last_load=load)


def _position(destination: Destination[Any, Any], contract: TableContract) -> int:
    return destination.position(contract) if isinstance(destination, SupportsPosition) else 0


def _stored(start: Standing, state: TableState | None) -> Standing:
    if state is None:
        return start
    load = Load(state.loaded_at, state.rows, state.seconds) if state.loaded_at else None
    return replace(start, position=state.position, stored_bytes=state.bytes, last_load=load)


def _loaded(destination: Destination[Any, Any], todo: Pending) -> Load | None:
    """Return the newest load of a destination that gives no overview."""
    done = destination.find_commit(todo.applied) if todo.applied else None
    return Load(done.committed_at, done.rows) if done and done.committed_at else None


def _with(
    start: Standing, todo: Pending, staged: Staged, state: TableState | None, known: int, load: Load | None
) -> Standing:
    """Return a standing with what waits; `known` is the position of a destination of which no set was found."""
    position = todo.applied.sequence if todo.applied else known
    return replace(
        start,
        position=position,
        behind=max(len(todo.plans), start.newest - position) if todo.more else len(todo.plans),
        rows_behind=sum(plan.rows for plan in todo.plans),
        more=todo.more,
        as_of=_as_of(staged, position, behind=bool(todo.plans)),
        last_load=start.last_load or load,
        reason=_trouble(todo, state),
    )


def _trouble(todo: Pending, state: TableState | None) -> str:
    """Return why the next load would be refused; one that replaces the table is not."""
    refused = todo.plans and todo.plans[0].strategy is not Strategy.OVERWRITE
    return naming_the_table(state.trouble, todo.plans[0].table) if state and refused else ""


def _above(start: Standing, staged: Staged, state: TableState | None, reason: str) -> Standing:
    """Return the standing of a table that cannot be loaded: the sets above its position wait."""
    position = state.position if state else 0
    waiting = list(islice(takewhile(lambda one: one.sequence > position, reversed(staged.log)), _MOST_SETS))
    found = replace(
        _stored(start, state), behind=len(waiting), rows_behind=sum(one.rows for one in waiting), reason=reason
    )
    return replace(found, as_of=_as_of(staged, position, behind=bool(waiting)))


def _as_of(staged: Staged, position: int, *, behind: bool) -> datetime | None:
    """Return the moment of the source up to which a destination at a position holds it."""
    if not position or not staged.log:
        return None
    noted, newest = staged.noted, staged.log[-1]
    if not behind:
        return noted.moment if noted and noted.after == newest.sequence else _moment(newest)
    held = staged.log.numbered(position)
    return None if held is None else _moment(held)


def _moment(manifest: Manifest) -> datetime:
    # Frames and rows of the quarantine say nothing of the source but that they came.
    return manifest.window.end or manifest.staged_at


def _validation(verdict: Verdict, position: int) -> str:
    if not position:
        return NONE
    if verdict.passed >= position:
        return PASSED
    return FAILED if verdict.failed >= position else OWED
