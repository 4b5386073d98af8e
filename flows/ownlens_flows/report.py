"""The summary of a run: one entry for each table and destination, and whether all of it went well."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ownlens_plugins.commands import load_command
from ownlens_plugins.engine.outcomes import COUNTS, LoadOutcome, Status
from ownlens_plugins.validation import ValidationResult

Key = tuple[str, str]
MOST_NAMES = 20
# What needs a person comes first.
_ORDER = (Status.FAILED, Status.SKIPPED, Status.STOPPED, Status.LOADED, Status.NOTHING_NEW)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows of a table that staging refused in this run; they need a person. `reasons` counts them, commonest first."""

    table: str
    rows: int
    message: str
    reasons: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the rejection as JSON values."""
        return {"table": self.table, "rows": self.rows, "reasons": dict(self.reasons), "message": self.message}


@dataclass
class RunReport:
    """What a run did. Filled by the flow, read by the terminal, the artifact and `--json`.

    `owed` names loads that no validation has passed yet although one should. `stopped` is why the run was told to stop,
    and `interrupt` the signal that did so. `untold` says what could not be told to the Prefect server. `unnamed` are
    columns of each table's source that its contract does not name, `added` those that rows loaded before lack. `held`
    says what keeps the source's windows from moving on.
    """

    outcomes: dict[Key, LoadOutcome] = field(default_factory=dict)
    validations: dict[Key, ValidationResult] = field(default_factory=dict)
    invalid: dict[Key, str] = field(default_factory=dict)
    mismatches: dict[Key, str] = field(default_factory=dict)
    owed: set[Key] = field(default_factory=set)
    rejections: list[Rejection] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    unnamed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    added: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held: str = ""
    staged_rows: int = 0
    seconds: float = 0.0
    stopped: str = ""
    interrupt: BaseException | None = None

    @property
    def failures(self) -> list[str]:
        """One line for each load, validation or comparison that did not end well."""
        # The same cause, such as an unreachable store, stops many loads: it is told once. Causes come first.
        failed, skipped = self._errors(Status.FAILED), self._errors(Status.SKIPPED)
        found = [*failed, *self.invalid.values(), *self.mismatches.values(), *skipped]
        stopped = [f"stopped by {self.stopped}; what is missing is loaded by the next run"] if self.stopped else []
        return list(dict.fromkeys([*stopped, *found]))

    @property
    def hints(self) -> list[str]:
        """Lines on what a person may want to know, although nothing went wrong."""
        hints = [
            f"{table}: {_listed(names)} came into the contract after rows were loaded, which hold null there until "
            f"{load_command(table, '--full-refresh')}"
            for table, names in sorted(self.added.items())
        ]
        if self.held:
            hints.insert(0, self.held)
        columns = [f"{table}.{name}" for table, names in sorted(self.unnamed.items()) for name in names]
        if columns:
            counted = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
            hints.append(f"{counted} of the source that no contract names, left out: {_listed(columns)}")
        return hints

    def _errors(self, status: Status) -> list[str]:
        return [outcome.error or "" for outcome in self.outcomes.values() if outcome.status is status]

    @property
    def succeeded(self) -> bool:
        return not self.failures

    def count(self, status: Status) -> int:
        return sum(outcome.status is status for outcome in self.outcomes.values())

    def message(self) -> str:
        """Return the roll-up in one line."""
        parts = [f"{self.count(Status.LOADED)} loaded", f"{self.count(Status.NOTHING_NEW)} with nothing new"]
        counted = {
            "failed": self.count(Status.FAILED) + self.count(Status.SKIPPED),
            "stopped": self.count(Status.STOPPED),
            "invalid": len(self.invalid),
            "differ": len(self.mismatches.keys() - self.invalid.keys()),
            "not validated yet": len(self.owed),
            "rows refused": sum(rejection.rows for rejection in self.rejections),
        }
        parts += [f"{number} {what}" for what, number in counted.items() if number]
        return f"{len(self.outcomes)} loads: {', '.join(parts)}"

    def validation(self, key: Key) -> str:
        """Return one word or two on a load's validation."""
        if key in self.invalid:
            return "failed"
        if key in self.owed:
            return "owed"
        result = self.validations.get(key)
        if result is None:
            return "not run"
        return f"{len(result.warnings)} warnings" if result.warnings else "passed"

    def document(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        loads = [{**o.document(), "validation": self.validation(key)} for key, o in sorted(self.outcomes.items())]
        return {
            "succeeded": self.succeeded and not self.rejections,
            "message": self.message(),
            "seconds": round(self.seconds, 2),
            "staged_rows": self.staged_rows,
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "loads": loads,
            "refused": [rejection.document() for rejection in self.rejections],
            "unnamed_columns": {table: list(names) for table, names in sorted(self.unnamed.items())},
            "added_columns": {table: list(names) for table, names in sorted(self.added.items())},
            "hints": self.hints,
            "errors": [*self.failures, *(rejection.message for rejection in self.rejections)],
        }

    def in_order(self) -> list[tuple[Key, LoadOutcome]]:
        """Return the loads, those that need a person first."""
        return sorted(self.outcomes.items(), key=lambda item: (self._rank(*item), item[0]))

    def _rank(self, key: Key, outcome: LoadOutcome) -> int:
        if outcome.status in (Status.LOADED, Status.NOTHING_NEW) and self.reason(key):
            return 0
        return _ORDER.index(outcome.status)

    def reason(self, key: Key) -> str:
        """Return why a load needs a person, else nothing."""
        outcome = self.outcomes[key]
        return outcome.error or self.invalid.get(key) or self.mismatches.get(key) or ""

    def table_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the summary artifact: failures first, and why."""
        return [self._artifact_row(key, outcome) for key, outcome in self.in_order()]

    def _artifact_row(self, key: Key, outcome: LoadOutcome) -> dict[str, Any]:
        # Prefect's page shows so many columns without scrolling.
        load = {"table": outcome.table, "destination": outcome.destination, "status": outcome.status.value}
        refused = {rejection.table: rejection.message for rejection in self.rejections}
        said = {"reason": self.reason(key) or refused.get(outcome.table, ""), "validation": self.validation(key)}
        counts = {name: getattr(outcome, name) for name in COUNTS}
        return {**load, **said, **counts, "seconds": round(outcome.seconds, 2)}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return f"{shown} and {len(names) - MOST_NAMES} more (--json has all)" if len(names) > MOST_NAMES else shown


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def totals(outcomes: Iterable[LoadOutcome]) -> Mapping[str, int]:
    """Return the sums of rows over loads."""
    names = ("rows", "inserted", "updated", "unchanged", "deleted", "rejected")
    listed = list(outcomes)
    return {name: sum(getattr(outcome, name) for outcome in listed) for name in names}
