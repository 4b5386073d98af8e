"""What each expectation means, in plain Python over a list of rows: the answer that every store has to give.

A missing value is never compared. NaN lies outside of every bound and set, equals nothing beside it, and is one value
among distinct ones. Lengths count characters. No statistic is defined for a column with NaN or an infinity.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from typing import Any
from uuid import UUID

import numpy as np

from ownlens_plugins.contracts import Kind

Row = Mapping[str, Any]
Answer = tuple[bool, int | None]
FLOATS = {Kind.FLOAT32: 1e-6, Kind.FLOAT64: 1e-9}


def read(written: Any, kind: Kind) -> Any:
    """Return what a contract names, as Python compares it with values of a column."""
    if kind is Kind.DECIMAL:
        return Decimal(str(written))
    if kind is Kind.FLOAT32:
        nearest = float(np.float32(written))
        return nearest if math.isfinite(nearest) else float(written)
    if kind is Kind.UUID:
        return UUID(written).bytes
    if kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP):
        return {Kind.DATE: date, Kind.TIME: time, Kind.TIMESTAMP: datetime}[kind].fromisoformat(written)
    if kind is Kind.TIMESTAMPTZ:
        moment = datetime.fromisoformat(written)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return float(written) if kind is Kind.FLOAT64 else written


def answer(name: str, keywords: Mapping[str, Any], kinds: Mapping[str, Kind], rows: Sequence[Row]) -> Answer:
    """Return whether an expectation holds, and of those about rows how many do not comply."""
    if "column_list" in keywords or "column_A" in keywords:
        return _several(name, keywords, kinds, rows)
    if "column" not in keywords:
        return _table(name, keywords, len(rows)), None
    column = keywords["column"]
    values = [row.get(column) for row in rows]
    if name in _PRESENCE:
        return _PRESENCE[name](keywords, values)
    return _column(name, keywords, kinds[column], [value for value in values if value is not None])


def _table(name: str, k: Mapping[str, Any], count: int) -> bool:
    return count == k["value"] if name.endswith("to_equal") else between(count, k)


def between(value: Any, k: Mapping[str, Any], kind: Kind | None = None, slack: Any = None) -> bool:
    low, high = (None if k.get(key) is None else _bound(k[key], kind) for key in ("min_value", "max_value"))
    over = low is None or _beyond(low, value, slack, strict=k.get("strict_min"))
    return over and (high is None or _beyond(value, high, slack, strict=k.get("strict_max")))


def _beyond(low: Any, high: Any, slack: Any, *, strict: bool | None) -> bool:
    if slack:
        return high - low > slack if strict else high - low >= -slack
    return low < high if strict else low <= high


def _bound(written: Any, kind: Kind | None) -> Any:
    return Fraction(Decimal(str(written))) if kind is None else read(written, kind)


def mostly(k: Mapping[str, Any], considered: int, bad: int) -> Answer:
    return considered == 0 or Fraction(considered - bad, considered) >= Fraction(str(k.get("mostly", 1))), bad


_PRESENCE: Mapping[str, Callable[[Mapping[str, Any], list[Any]], Answer]] = {
    "expect_column_values_to_be_null": lambda k, v: mostly(k, len(v), sum(one is not None for one in v)),
    "expect_column_values_to_not_be_null": lambda k, v: mostly(k, len(v), v.count(None)),
    "expect_column_proportion_of_non_null_values_to_be_between": lambda k, v: (
        between(Fraction(len(v) - v.count(None), len(v)) if v else 0, k),
        None,
    ),
}


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _column(name: str, k: Mapping[str, Any], kind: Kind, values: list[Any]) -> Answer:
    if name in _TESTS:
        test = _TESTS[name]
        return mostly(k, len(values), sum(not test(value, k, kind) for value in values))
    if name == "expect_column_values_to_be_unique":
        counts = Counter(map(same, values))
        return mostly(k, len(values), sum(n for n in counts.values() if n > 1))
    if name == "expect_column_value_z_scores_to_be_less_than":
        return _z_scores(k, kind, values)
    return _whole(name, k, kind, values), None


def same(value: Any) -> Any:
    return "NaN" if is_nan(value) else value


def in_set(value: Any, k: Mapping[str, Any], kind: Kind) -> bool:
    return not is_nan(value) and value in [read(written, kind) for written in k["value_set"]]


def _matched(value: str, k: Mapping[str, Any]) -> list[bool]:
    expressions = k["regex_list"] if "regex_list" in k else [k["regex"]]
    return [re.search(one, value, re.ASCII) is not None for one in expressions]


_TESTS: Mapping[str, Callable[[Any, Mapping[str, Any], Kind], bool]] = {
    "expect_column_values_to_be_between": lambda v, k, kind: not is_nan(v) and between(v, k, kind),
    "expect_column_values_to_be_in_set": in_set,
    "expect_column_values_to_not_be_in_set": lambda v, k, kind: not in_set(v, k, kind),
    "expect_column_value_lengths_to_be_between": lambda v, k, kind: between(len(v), k),
    "expect_column_value_lengths_to_equal": lambda v, k, kind: len(v) == k["value"],
    "expect_column_values_to_match_regex": lambda v, k, kind: all(_matched(v, k)),
    "expect_column_values_to_not_match_regex": lambda v, k, kind: not any(_matched(v, k)),
    "expect_column_values_to_match_regex_list": lambda v, k, kind: (all if k.get("match_on") == "all" else any)(
        _matched(v, k)
    ),
    "expect_column_values_to_not_match_regex_list": lambda v, k, kind: not any(_matched(v, k)),
}


def _whole(name: str, k: Mapping[str, Any], kind: Kind, values: list[Any]) -> bool:
    short = name.removeprefix("expect_column_").removesuffix("_to_be_between")
    if short in ("min", "max"):
        broken = not values or any(map(is_nan, values))
        return not broken and between(min(values) if short == "min" else max(values), k, kind)
    if short in ("sum", "mean", "median", "stdev"):
        return _statistic(short, k, kind, values)
    if short == "unique_value_count":
        return between(len(set(map(same, values))), k)
    if short == "proportion_of_unique_values":
        return between(Fraction(len(set(map(same, values))), len(values)) if values else 0, k)
    return _sets(name, k, kind, values)


def _sets(name: str, k: Mapping[str, Any], kind: Kind, values: list[Any]) -> bool:
    members = {read(written, kind) for written in k["value_set"]}
    inside = all(in_set(value, k, kind) for value in values)
    if name.endswith("distinct_values_to_be_in_set"):
        return inside
    if "distinct_values" in name:
        return members <= set(values) and (inside or "contain" in name)
    counts = Counter(map(same, values))
    modes = [value for value, n in counts.items() if n == max(counts.values())]
    known = [value for value in modes if value in members]
    return bool(known) if k.get("ties_okay") else len(modes) == len(known) == 1


def _statistic(short: str, k: Mapping[str, Any], kind: Kind, values: list[Any]) -> bool:
    if not _defined(values) or len(values) < (2 if short == "stdev" else 1):
        return False
    exact = [Fraction(value) for value in values]
    slack, size = Fraction(FLOATS.get(kind, 0)), sum(map(abs, exact))
    if short == "stdev":
        found = _deviation(exact)
        return between(found, k, None, found * (slack or Fraction(1e-9)))
    found = {"sum": sum, "mean": lambda e: sum(e) / len(e), "median": statistics.median}[short](exact)
    return between(found, k, None, slack * {"sum": size, "mean": size / len(exact), "median": abs(found)}[short])


def _defined(values: list[Any]) -> bool:
    return not any(isinstance(value, float) and not math.isfinite(value) for value in values)


def _deviation(exact: list[Fraction]) -> Fraction:
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    return Fraction((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())


def _z_scores(k: Mapping[str, Any], kind: Kind, values: list[Any]) -> Answer:
    if not _defined(values):
        return mostly(k, len(values), len(values))
    if len(set(values)) < 2:
        return mostly(k, len(values), 0)
    exact = [Fraction(value) for value in values]
    mean, reach = sum(exact) / len(exact), _deviation(exact) * Fraction(str(k["threshold"]))
    scores = [abs(value - mean) if k["double_sided"] else value - mean for value in exact]
    return mostly(k, len(values), sum(score >= reach for score in scores))


def _several(name: str, k: Mapping[str, Any], kinds: Mapping[str, Kind], rows: Sequence[Row]) -> Answer:
    names = k.get("column_list") or [k["column_A"], k["column_B"]]
    tuples = [tuple(row.get(column) for column in names) for row in rows]
    if len({kinds[column] for column in names} & {Kind.DATE, Kind.TIMESTAMP}) == 2:
        tuples = [tuple(map(_at_midnight, one)) for one in tuples]
    full = [one for one in tuples if None not in one]
    if name == "expect_compound_columns_to_be_unique":
        counts = Counter(tuple(map(same, one)) for one in full)
        return mostly(k, len(full), sum(n for n in counts.values() if n > 1))
    test = _ROWS[name]
    return mostly(k, len(full), sum(not test(one, k, [kinds[column] for column in names]) for one in full))


def _at_midnight(value: Any) -> Any:
    return value if value is None or isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _equal(a: Any, b: Any) -> bool:
    return a == b  # NaN equals nothing


def _adds_up(values: tuple[Any, ...], k: Mapping[str, Any], kinds: list[Kind]) -> bool:
    if not _defined(list(values)):
        return False
    slack = max((FLOATS.get(kind, 0) for kind in kinds), default=0)
    exact, total = [Fraction(value) for value in values], Fraction(str(k["sum_total"]))
    return abs(sum(exact) - total) <= Fraction(slack) * (sum(map(abs, exact)) + abs(total))


def _paired(values: tuple[Any, ...], k: Mapping[str, Any], kinds: list[Kind]) -> bool:
    pairs = [tuple(read(one, kind) for one, kind in zip(pair, kinds, strict=True)) for pair in k["value_pairs_set"]]
    return not any(map(is_nan, values)) and values in pairs


_ROWS: Mapping[str, Callable[[tuple[Any, ...], Mapping[str, Any], list[Kind]], bool]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": lambda v, k, kinds: (
        v[0] >= v[1] if k.get("or_equal") else v[0] > v[1]
    ),
    "expect_column_pair_values_to_be_equal": lambda v, k, kinds: _equal(*v),
    "expect_column_pair_values_to_be_in_set": _paired,
    "expect_multicolumn_sum_to_equal": _adds_up,
    "expect_multicolumn_values_to_be_equal": lambda v, k, kinds: all(_equal(v[0], other) for other in v[1:]),
    "expect_select_column_values_to_be_unique_within_record": lambda v, k, kinds: (
        not any(_equal(a, b) for a, b in combinations(v, 2))
    ),
}
