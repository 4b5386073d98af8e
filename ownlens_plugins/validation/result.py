"""What a validation found, without any value of any row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ValidationFailed


@dataclass(frozen=True, slots=True)
class FailedExpectation:
    """An expectation that does not hold. `column` joins several names with ", " and is empty for the whole table."""

    name: str
    column: str
    severity: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}({self.column}): {self.message}"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An expectation that was evaluated: its keywords in the contract's words, and Great Expectations' `result`."""

    name: str
    keywords: dict[str, Any]
    success: bool
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The outcome for one table in one destination.

    `expectations` counts what was evaluated on `rows` rows. `failed` holds the critical ones that do not hold,
    `warnings` the others. `seconds` is wall time. `evaluated` holds all of them, in order.
    """

    table: str
    destination: str
    success: bool
    expectations: int
    failed: tuple[FailedExpectation, ...]
    warnings: tuple[FailedExpectation, ...]
    rows: int
    seconds: float
    evaluated: tuple[Evaluated, ...] = ()

    def raise_if_failed(self) -> None:
        """Raise when a critical expectation does not hold.

        Raises:
            ValidationFailed: names the table, the destination and the first broken expectation, in one line.
        """
        if self.success:
            return
        others = f"; and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
        raise ValidationFailed(
            f"{self.table}: {self.destination} has rows that break {self.failed[0]}{others}; "
            "mend them in the source and load again, or change the check in the contract"
        )
