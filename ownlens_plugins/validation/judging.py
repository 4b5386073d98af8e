"""From counts to Great Expectations' verdicts: `mostly`, bounds, and the shape of a result."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from ..contracts import Kind
from .asking import Check, Verdict
from .literals import number_of


def mapped(check: Check, total: int, considered: int, unexpected: int) -> Verdict:
    """Judge an expectation about each row; without rows to consider it holds."""
    kept = considered - unexpected
    success = considered == 0 or Fraction(kept, considered) >= Fraction(number_of(check.keywords.get("mostly", 1)))
    missing = total - considered
    return Verdict(
        success,
        {
            "element_count": total,
            "unexpected_count": unexpected,
            "unexpected_percent": _percent(unexpected, considered),
            "missing_count": missing,
            "missing_percent": _percent(missing, total),
            "unexpected_percent_total": _percent(unexpected, total),
            "unexpected_percent_nonmissing": _percent(unexpected, considered),
        },
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def bounded(check: Check, observed: Fraction | None, *, slack: Fraction = Fraction(0)) -> bool:
    """Tell whether a number lies between a check's bounds. One within `slack` of a bound counts as equal to it."""
    if observed is None:
        return False
    low, high = bounds(check)
    over = low is None or _beyond(observed - low, slack, strict=check.keywords.get("strict_min", False))
    under = high is None or _beyond(high - observed, slack, strict=check.keywords.get("strict_max", False))
    return over and under


def _beyond(distance: Fraction, slack: Fraction, *, strict: bool) -> bool:
    return distance > slack if strict else distance >= -slack


def bounds(check: Check) -> tuple[Fraction | None, Fraction | None]:
    """Return the bounds of a check as exact numbers."""
    low, high = (_fraction(check.keywords.get(key)) for key in ("min_value", "max_value"))
    return low, high


def _fraction(written: Any) -> Fraction | None:
    if written is None:
        return None
    return Fraction(number_of(written, Kind.DECIMAL if isinstance(written, str) else Kind.FLOAT64))


def counted(check: Check, observed: Fraction | int | None, *, shown: Any = None) -> Verdict:
    """Judge a count or a proportion, which may be told: it is no value of a row."""
    number = None if observed is None else Fraction(observed)
    return Verdict(bounded(check, number), {"observed_value": shown if shown is not None else _told(number)})


def _told(number: Fraction | None) -> int | float | None:
    if number is None:
        return None
    return int(number) if number.denominator == 1 else float(number)


def exactly(text: str) -> Fraction:
    """Return the number that a store wrote as text."""
    return Fraction(Decimal(text))
