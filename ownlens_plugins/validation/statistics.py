"""Means, medians, sums and deviations. Exact for integers and decimals; for floats, alike in every store.

Stores add floats in whatever order, overflow at different points and treat NaN each in its own way. So floats are
scaled and centred first, a bound is met within one part in 10^9 (float32: 10^6), and of a column with NaN or an
infinity no statistic is defined, so that no bound holds.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from ..contracts import Column, Kind, LogicalType
from .asking import Check, Inquiry, Rows, Verdict
from .judging import bounded, exactly, mapped
from .literals import FLOATS, number_bound, number_of
from .per_row import SLACK, at_least, at_most, double
from .whole import M, N, V

_UNDEFINED = Verdict(False, {"observed_value": None})
_SAFE_LARGE, _SAFE_SMALL = 1e100, 1e-100
_LARGEST = Fraction(1e300)
_PRECISE = Context(prec=60)
Steps = Generator[list[str], list[Any], Any]


@dataclass(frozen=True)
class _Extent:
    """How many values there are, and between what. `finite` is False with a NaN or an infinity among them."""

    count: int
    finite: bool
    least: Fraction
    most: Fraction

    @property
    def largest(self) -> Fraction:
        return max(abs(self.least), abs(self.most))

    @property
    def scale(self) -> int:
        """The power of two that brings floats to where squares neither overflow nor vanish; mostly 0."""
        if not self.largest or _SAFE_SMALL <= self.largest <= _SAFE_LARGE:
            return 0
        return -math.frexp(float(self.largest))[1]


def total(check: Check, rows: Rows) -> Inquiry:
    column = _number(check, rows)
    extent = yield from _extent(column, rows)
    if not extent.count or not extent.finite:
        return _UNDEFINED
    found, size = yield from _sum(column, rows, extent)
    return _verdict(check, found, size * _slack(column))


def mean(check: Check, rows: Rows) -> Inquiry:
    column = _number(check, rows)
    extent = yield from _extent(column, rows)
    if not extent.count or not extent.finite:
        return _UNDEFINED
    found, size = yield from _sum(column, rows, extent)
    return _verdict(check, found / extent.count, size * _slack(column) / extent.count)


def deviation(check: Check, rows: Rows) -> Inquiry:
    column = _number(check, rows)
    extent = yield from _extent(column, rows)
    if extent.count < 2 or not extent.finite:
        return _UNDEFINED
    found = yield from _deviation(column, rows, extent)
    return _verdict(check, found, found * Fraction(SLACK.get(column.type.kind, SLACK[Kind.FLOAT64])))


def median(check: Check, rows: Rows) -> Inquiry:
    column = _number(check, rows)
    extent = yield from _extent(column, rows)
    if not extent.count or not extent.finite:
        return _UNDEFINED
    low, high = yield [_middle(column, rows, pick) for pick in ("min", "max")]
    found = (_read(low, column, rows) + _read(high, column, rows)) / 2
    return _verdict(check, found, abs(found) * _slack(column))


def z_scores(check: Check, rows: Rows) -> Inquiry:
    """Holds for all rows where no score is defined: fewer than two values, or all the same."""
    column = _number(check, rows)
    threshold = Fraction(number_of(check.keywords["threshold"]))
    extent = yield from _extent(column, rows)
    (all_rows,) = yield ["count(*)"]
    if not extent.finite:
        return mapped(check, all_rows, extent.count, extent.count)
    if extent.count < 2 or extent.least == extent.most:
        return mapped(check, all_rows, extent.count, 0)
    spread = yield from _deviation(column, rows, extent)
    reach = spread * threshold * (1 - Fraction(SLACK.get(column.type.kind, SLACK[Kind.FLOAT64])))
    reach = abs(reach) if check.keywords["double_sided"] else reach
    if column.type.kind in FLOATS:
        condition = yield from _beyond_floats(check, column, rows, extent, reach)
    else:
        added, _ = yield from _sum(column, rows, extent)
        condition = _beyond(check, column, rows, added / extent.count, reach)
    (beyond,) = yield [rows.dialect.counted(condition)]
    return mapped(check, all_rows, extent.count, beyond)


def _beyond_floats(
    check: Check, column: Column, rows: Rows, extent: _Extent, reach: Fraction
) -> Generator[list[str], list[Any], str]:
    """Compare how far values lie from their centre: beside values that are large and close, bounds would be rounded."""
    centred, unit = _centred(column, rows, extent), Fraction(2) ** extent.scale
    (added,) = yield [rows.dialect.double_text(f"sum({centred})")]
    middle = _double(rows, added) / extent.count
    outside = [f"{centred} >= {double(_nearest(middle + reach * unit), rows.dialect)}"]
    if check.keywords["double_sided"]:
        outside.append(f"{centred} <= {double(_nearest(middle - reach * unit), rows.dialect)}")
    return f"{rows.dialect.present(column)} AND ({' OR '.join(outside)})"


def _nearest(number: Fraction) -> float:
    return float(min(max(number, -_LARGEST), _LARGEST))


def _beyond(check: Check, column: Column, rows: Rows, middle: Fraction, reach: Fraction) -> str:
    both = check.keywords["double_sided"]
    high = number_bound(_decimal(middle + reach), column.type, upper=False, strict=False)
    outside = at_least(rows.value(column), high, column.type, rows.dialect) or ["1 = 1"]
    if both:
        low = number_bound(_decimal(middle - reach), column.type, upper=True, strict=False)
        outside += at_most(rows.value(column), low, column.type, rows.dialect) or ["1 = 1"]
    return f"{rows.dialect.present(column)} AND ({' OR '.join(outside)})"


def _number(check: Check, rows: Rows) -> Column:
    bounded(check, Fraction(0))  # what is wrong with its bounds is told before the first question
    return rows.named(check)


def _verdict(check: Check, found: Fraction, slack: Fraction) -> Verdict:
    return Verdict(bounded(check, found, slack=slack), {"observed_value": None})


def _slack(column: Column) -> Fraction:
    return Fraction(SLACK.get(column.type.kind, 0))


def _extent(column: Column, rows: Rows) -> Generator[list[str], list[Any], _Extent]:
    value, dialect, present = rows.value(column), rows.dialect, rows.dialect.present(column)
    if column.type.kind not in FLOATS:
        some, low, high = yield [dialect.counted(present), *(dialect.text(f"{f}({value})") for f in ("min", "max"))]
        ends = (exactly(low), exactly(high)) if some else (Fraction(0), Fraction(0))
        return _Extent(some, True, *ends)
    odd = dialect.counted(f"{present} AND ({dialect.is_nan(value)} OR {dialect.is_infinite(value)})")
    low, high = (dialect.double_text(dialect.double(f"{f}({value})")) for f in ("min", "max"))
    some, strange, least, most = yield [dialect.counted(present), odd, low, high]
    ends = (_double(rows, least), _double(rows, most)) if some and not strange else (Fraction(0), Fraction(0))
    return _Extent(some, not strange, *ends)


def _sum(column: Column, rows: Rows, extent: _Extent) -> Generator[list[str], list[Any], tuple[Fraction, Fraction]]:
    """Return the sum and the sum of sizes, of which the latter says how far the former may be off."""
    value = rows.value(column)
    if column.type.kind not in FLOATS:
        weights, sums = zip(*rows.dialect.sums(value, column.type), strict=True)
        parts = yield list(sums)
        return sum(
            (weight * exactly(part) for weight, part in zip(weights, parts, strict=True)), Fraction(0)
        ), Fraction(0)
    scaled = _scaled(value, extent.scale, rows)
    found = yield [rows.dialect.double_text(f"sum({one})") for one in (scaled, f"abs({scaled})")]
    added, size = (_double(rows, text) / Fraction(2) ** extent.scale for text in found)
    return added, size


def _deviation(column: Column, rows: Rows, extent: _Extent) -> Generator[list[str], list[Any], Fraction]:
    middle = (extent.least + extent.most) / 2
    if column.type.kind in FLOATS:
        centred = _centred(column, rows, extent)
    else:
        bound = number_bound(_decimal(middle), column.type, upper=True, strict=False)
        assert bound is not None
        whole = rows.dialect.decimal(rows.value(column), column.type.scale)
        at = rows.dialect.literal(bound.value, LogicalType(Kind.DECIMAL, precision=38, scale=column.type.scale))
        centred = rows.dialect.double(f"({whole} - {at})")
    (variance,) = yield [rows.dialect.double_text(rows.dialect.variance(centred))]
    return _root(max(_double(rows, variance), Fraction(0))) / Fraction(2) ** extent.scale


def _centred(column: Column, rows: Rows, extent: _Extent) -> str:
    # On what may be far from the mean, yet never farther than the values lie apart.
    centre = float((extent.least + extent.most) / 2 * Fraction(2) ** extent.scale)
    return f"({_scaled(rows.value(column), extent.scale, rows)} - {double(centre, rows.dialect)})"


def _scaled(value: str, scale: int, rows: Rows) -> str:
    wide = rows.dialect.double(value)
    if not scale:
        return wide
    if scale > 0:
        # In two steps, since no double is as large as what the smallest ones have to be multiplied with.
        first, second = (double(2.0**power, rows.dialect) for power in (min(scale, 1000), max(scale - 1000, 0)))
        return f"({wide} * {first} * {second})"
    # PostgreSQL raises when a product vanishes; beside values this large such a one counts for nothing.
    small = double(1e-100, rows.dialect)
    factor = double(2.0**scale, rows.dialect)
    return f"(CASE WHEN abs({wide}) < {small} THEN {double(0.0, rows.dialect)} ELSE {wide} * {factor} END)"


def _middle(column: Column, rows: Rows, pick: str) -> str:
    value, present = rows.value(column), rows.dialect.present(column)
    ordered = f"SELECT {value} AS {V} FROM {rows.dialect.relation} WHERE {present}"
    numbered = f"SELECT {V}, row_number() OVER (ORDER BY {V}) AS {M}, count(*) OVER () AS {N} FROM ({ordered}) AS a"
    picked = f"{pick}({V})"
    shown = (
        rows.dialect.double_text(rows.dialect.double(picked))
        if column.type.kind in FLOATS
        else rows.dialect.text(picked)
    )
    return f"(SELECT {shown} FROM ({numbered}) AS b WHERE {M} * 2 BETWEEN {N} AND {N} + 2)"


def _read(text: str, column: Column, rows: Rows) -> Fraction:
    return _double(rows, text) if column.type.kind in FLOATS else exactly(text)


def _double(rows: Rows, text: str) -> Fraction:
    return Fraction(rows.dialect.read_double(text))


def _decimal(number: Fraction) -> Decimal:
    return _PRECISE.divide(Decimal(number.numerator), Decimal(number.denominator))


def _root(number: Fraction) -> Fraction:
    return Fraction(_PRECISE.sqrt(_decimal(number)))
