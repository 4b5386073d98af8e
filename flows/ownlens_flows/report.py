"""The summary of a run: one entry for each table and destination, and whether all of it went well."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.validation import ValidationResult


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rows of a table that staging refused in this run; they need a person."""

    table: str
    rows: int
    message: str
    reasons: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the rejection as JSON values; `reasons` counts rows, commonest first."""
        return {"table": self.table, "rows": self.rows, "reasons": dict(self.reasons), "message": self.message}


@dataclass
class RunReport:
    """What a run did. Filled by the flow, read by the terminal, the artifact and `--json`."""

    outcomes: dict[tuple[str, str], LoadOutcome] = field(default_factory=dict)
    validations: dict[tuple[str, str], ValidationResult] = field(default_factory=dict)
    invalid: dict[tuple[str, str], str] = field(default_factory=dict)
    mismatches: dict[tuple[str, str], str] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    staged_rows: int = 0
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """One line for each load or validation that did not end well."""
        # The same cause, such as an unreachable store, stops many loads: it is told once. Causes come first.
        failed, skipped = self._errors(Status.FAILED), self._errors(Status.SKIPPED)
        return list(dict.fromkeys([*failed, *self.invalid.values(), *skipped]))

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
        broken = self.count(Status.FAILED) + self.count(Status.SKIPPED)
        parts += [f"{broken} failed"] if broken else []
        parts += [f"{len(self.invalid)} invalid"] if self.invalid else []
        parts += [f"{sum(r.rows for r in self.rejections)} rows refused"] if self.rejections else []
        return f"{len(self.outcomes)} loads: {', '.join(parts)}"

    def validation(self, key: tuple[str, str]) -> str:
        """Return one word or two on a load's validation."""
        if key in self.invalid:
            return "failed"
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
            "errors": [*self.failures, *(rejection.message for rejection in self.rejections)],
        }

    def table_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the summary artifact."""
        return [self._artifact_row(key, outcome) for key, outcome in sorted(self.outcomes.items())]

    def _artifact_row(self, key: tuple[str, str], outcome: LoadOutcome) -> dict[str, Any]:
        # Prefect's page shows so many columns without scrolling.
        load = {"table": outcome.table, "destination": outcome.destination, "status": outcome.status.value}
        names = ("rows", "inserted", "updated", "unchanged", "rejected")
        counts = {name: getattr(outcome, name) for name in names}
        refused = {rejection.table: rejection.message for rejection in self.rejections}
        error = outcome.error or self.invalid.get(key) or refused.get(outcome.table, "")
        return {
            **load, "validation": self.validation(key), **counts, "seconds": round(outcome.seconds, 2), "error": error
        }  # fmt: skip


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def totals(outcomes: Iterable[LoadOutcome]) -> Mapping[str, int]:
    """Return the sums of rows over loads."""
    names = ("rows", "inserted", "updated", "unchanged", "rejected")
    listed = list(outcomes)
    return {name: sum(getattr(outcome, name) for outcome in listed) for name in names}
