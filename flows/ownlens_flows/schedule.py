"""Decide what a run does next: stage each table once, load it where its turn has come, validate what was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ownlens_plugins.contracts import TableContract

STAGE, LOAD, VALIDATE = "stage", "load", "validate"


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a run. `destination` is empty for staging."""

    kind: str
    table: str
    destination: str = ""


@dataclass
class Schedule:
    """Steps that may start now, given those that ended.

    A step starts only when its inputs are there and its destination has a free slot, so no worker thread ever waits.
    A load that enforces references waits for the loads of its parents; when one of these fails, it is skipped.
    """

    contracts: Sequence[TableContract]
    destinations: Sequence[str]
    ordered: frozenset[str]
    limits: Mapping[str, int]
    validates: bool
    skipped: dict[Step, str] = field(default_factory=dict)
    _waiting: list[Step] = field(default_factory=list)
    _running: set[Step] = field(default_factory=set)
    _done: dict[Step, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._parents = {
            contract.table: sorted({ref.table for ref in contract.references} - {contract.table})
            for contract in self.contracts
        }
        self._waiting = [Step(STAGE, contract.table) for contract in self.contracts]

    @property
    def finished(self) -> bool:
        return not self._waiting and not self._running

    def ready(self, free: int) -> Iterator[Step]:
        """Yield up to `free` steps to start now; loads and validations come before staging, to keep the set flowing."""
        busy = Counter(step.destination for step in self._running if step.kind == LOAD)
        for step in sorted(self._waiting, key=lambda step: step.kind == STAGE):
            if free <= 0:
                return
            if step.kind == LOAD and not self._may_load(step, busy):
                continue
            if step in self.skipped:
                continue
            free -= 1
            busy[step.destination] += step.kind == LOAD
            self._waiting.remove(step)
            self._running.add(step)
            yield step
        self._waiting = [step for step in self._waiting if step not in self.skipped]

    def _may_load(self, step: Step, busy: Counter[str]) -> bool:
        if step.destination in self.ordered and (failed := self._failed_parent(step)):
            self._skip(step, failed)
            return False
        return busy[step.destination] < self.limits[step.destination] and self._parents_loaded(step)

    def _failed_parent(self, step: Step) -> str | None:
        parents = self._parents[step.table]
        return next((name for name in parents if self._outcome(name, step.destination) is False), None)

    def _parents_loaded(self, step: Step) -> bool:
        if step.destination not in self.ordered:
            return True
        chosen = [name for name in self._parents[step.table] if name in self._parents]
        return all(self._outcome(name, step.destination) for name in chosen)

    def _outcome(self, table: str, destination: str) -> bool | None:
        """Return True when a table's load ended well, False when it can no longer do so, None while it may."""
        load = Step(LOAD, table, destination)
        if load in self.skipped or self._done.get(Step(STAGE, table)) is False:
            return False
        return self._done.get(load)

    def _skip(self, step: Step, parent: str) -> None:
        self.skipped[step] = parent
        self._done[step] = False

    def ended(self, step: Step, *, well: bool, changed: bool = True) -> None:
        """Note that a step ended; `changed` says that it left something to validate, or found such."""
        self._running.discard(step)
        self._done[step] = well
        if step.kind == STAGE and well:
            self._waiting += [Step(LOAD, step.table, destination) for destination in self.destinations]
        if step.kind == LOAD and well and changed and self.validates:
            self._waiting.append(Step(VALIDATE, step.table, step.destination))
