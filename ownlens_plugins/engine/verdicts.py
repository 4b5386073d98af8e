"""What validations have said of each table in each destination: a durable record beside the staged sets.

A destination's position is the newest set that it has applied. What lies between the newest set up to which a
validation has passed and that position is owed one: the run that loaded it was stopped, died, skipped the validation,
or the validation failed. The next run validates all of it together, also when it has nothing new to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any
from urllib.parse import quote

from ..api import Destination, LoadPlan, LoadResult, new_attempt
from ..contracts import TableContract
from ..registry import Registry
from ..storage import object_folder
from .notes import read_note
from .outcomes import LoadOutcome, covering
from .planning import plan_load
from .staged_log import StagedLog

_DOING = "keep what was validated"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passed` is the newest set up to which all that is there was validated and passed, 0 being none.

    `failed` is the set up to which the last validation reached when it failed, and `reason` why; 0 when it passed.
    """

    passed: int = 0
    failed: int = 0
    reason: str = ""
    at: datetime | None = None


def _from_json(content: bytes) -> Verdict:
    values = json.loads(content)
    return Verdict(**{**values, "at": datetime.fromisoformat(values["at"])})


class Verdicts:
    """The records of one staging area. Safe to use from several threads and processes: the newest set's word counts."""

    def __init__(self, area: StagedLog) -> None:
        self._area = area
        self._folder = object_folder(area.uri)

    def read(self, table: str, destination: str) -> Verdict:
        """Return what is known; nothing has passed when that is nothing.

        Raises:
            Retryable: the staging area cannot be asked now.
        """
        with self._area.explained(table, _DOING):
            return self._of(self._folder.list(_place(table, destination)))

    def read_all(self, table: str, destinations: Iterable[str]) -> dict[str, Verdict]:
        """Return what is known of a table in each destination, by one list.

        Raises:
            Retryable: the staging area cannot be asked now.
        """
        with self._area.explained(table, _DOING):
            names = self._folder.list(f"{_segment(table)}/validated")
            places = {name: f"{_place(table, name)}/" for name in destinations}
            return {name: self._of([one for one in names if one.startswith(at)]) for name, at in places.items()}

    def _of(self, names: Sequence[str]) -> Verdict:
        # Of two words that were given at once, the one that owes more counts.
        return min(map(self._verdict, _newest(names)), key=lambda word: (word.passed, -word.failed), default=Verdict())

    def _verdict(self, name: str) -> Verdict:
        # One that is gone was replaced by a newer word just now; nobody may rely on it, or on a damaged one.
        return read_note(self._folder.uri(name), self._folder.read(name), _from_json, Verdict())

    def passed(self, table: str, destination: str, position: int) -> None:
        """Note that all up to a set was validated and passed."""
        self._write(table, destination, Verdict(passed=position))

    def failed(self, table: str, destination: str, position: int, reason: str) -> None:
        """Note that a validation up to a set failed; what was owed stays owed, until one passes."""
        known = self.read(table, destination)
        self._write(table, destination, Verdict(min(known.passed, position - 1), position, reason))

    def withdraw(self, table: str, destination: str, first: int) -> None:
        """Take back what was said of a set and its successors, because they are about to be loaded once more.

        Done before the first of them lands: a run that dies after it leaves sets that no validation has seen.
        """
        known = self.read(table, destination)
        if known.passed >= first or known.failed >= first:
            self._write(table, destination, Verdict(passed=min(known.passed, first - 1)))

    def _write(self, table: str, destination: str, verdict: Verdict) -> None:
        content = {**asdict(verdict), "at": datetime.now(UTC).isoformat()}
        place = _place(table, destination)
        with self._area.explained(table, _DOING):
            older = self._folder.list(place)
            # Objects are immutable: each word has a name of its own, with a number above those of the words before it.
            mine = f"{place}/{_number(older[-1]) + 1 if older else 1:08d}-{new_attempt()}"
            self._folder.create(f"{mine}/verdict.json", json.dumps(content, indent=1).encode())
            # Only now: a crash between the two leaves the new word beside the old ones, and the greatest number counts.
            for name in older:
                self._folder.remove(name.rpartition("/")[0])


def unvalidated(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagedLog,
    registry: Registry,
    outcome: LoadOutcome,
) -> tuple[LoadPlan, LoadResult | None]:
    """Return the plan that stands for all that is owed a validation in a destination, and the result of its load."""
    passed = Verdicts(area).read(contract.table, destination.name).passed
    later = takewhile(lambda manifest: manifest.sequence > passed, reversed(area.log(contract.table)))
    owed = [one for one in later if one.sequence <= outcome.position and one.is_for(destination.name)]
    if not owed and outcome.plan is None and (held := area.log(contract.table).numbered(outcome.position)):
        owed = [held]  # another run has validated it meanwhile; once more is no harm
    plans = [plan_load(destination, contract, manifest, area, registry) for manifest in reversed(owed)]
    if not plans or outcome.released:
        return _everything(outcome, plans)
    plan = covering(plans)
    done = outcome.result is not None and outcome.result.load_id == plan.load_id
    return plan, outcome.result if done else destination.find_commit(plan)


def _everything(outcome: LoadOutcome, plans: Sequence[LoadPlan]) -> tuple[LoadPlan, LoadResult | None]:
    # Rows that came back from the quarantine belong to any day; the staged rows of one set say nothing of the whole.
    plan = replace(covering(plans), touched=None) if plans else outcome.plan
    assert plan is not None
    return plan, None if outcome.result is None else replace(outcome.result, replayed=True)


def _newest(names: Sequence[str]) -> list[str]:
    return [name for name in names if _number(name) == _number(names[-1])]


def _number(name: str) -> int:
    """Return the number of a word: names are `<place>/<number>-<attempt>/verdict.json`."""
    return int(name.split("/")[-2].partition("-")[0])


def _place(table: str, destination: str) -> str:
    return f"{_segment(table)}/validated/{_segment(destination)}"


def _segment(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")
