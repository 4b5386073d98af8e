"""Expectations that ask something of each row: how many rows are considered, and how many do not comply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from ..contracts import Column, Kind, LogicalType
from .asking import Check, Inquiry, Rows
from .comparing import addends, common
from .dialects import Dialect
from .judging import mapped
from .literals import FLOATS, Bound, bound_of, number_of, value_of
from .regexes import portable

Condition = Callable[[Check, Rows], str]
_ALWAYS = "1 = 1"
# Floating sums differ in their last digits with the order of rows: a bound is met within these parts of the summands.
SLACK: Mapping[Kind, float] = {Kind.FLOAT32: 1e-6, Kind.FLOAT64: 1e-9}
_HALVED = 2.0**-10
_TINY = 1e-290
_LARGEST = (2 - 2**-52) * 2.0**1023


def of_column(condition: Condition) -> Callable[[Check, Rows], Inquiry]:
    """Return the inquiry about one column; rows without a value are not considered."""

    def inquiry(check: Check, rows: Rows) -> Inquiry:
        present = rows.dialect.present(rows.named(check))
        return _inquiry(check, rows, present, condition(check, rows))

    return inquiry


def of_columns(condition: Condition) -> Callable[[Check, Rows], Inquiry]:
    """Return the inquiry about several columns; rows that lack one of the values are not considered."""

    def inquiry(check: Check, rows: Rows) -> Inquiry:
        return _inquiry(check, rows, all_present(columns_of(check, rows), rows), condition(check, rows))

    return inquiry


def _inquiry(check: Check, rows: Rows, considered: str, holds: str) -> Inquiry:
    counted = rows.dialect.counted
    total, some, bad = yield ["count(*)", counted(considered), counted(f"{considered} AND NOT ({holds})")]
    return mapped(check, total, some, bad)


def columns_of(check: Check, rows: Rows) -> list[Column]:
    return [rows.columns[name] for name in check.columns]


def all_present(columns: Sequence[Column], rows: Rows) -> str:
    return " AND ".join(rows.dialect.present(column) for column in columns)


def is_between(check: Check, rows: Rows) -> str:
    """NaN lies outside of every bound."""
    column = rows.named(check)
    value, low, high = rows.value(column), lower_bound(check, column.type), upper_bound(check, column.type)
    within = [*at_least(value, low, column.type, rows.dialect), *at_most(value, high, column.type, rows.dialect)]
    if column.type.kind in FLOATS:
        within.insert(0, f"NOT {rows.dialect.is_nan(value)}")
    return " AND ".join(within) or _ALWAYS


def lower_bound(check: Check, type_: LogicalType) -> Bound | None:
    written, strict = check.keywords.get("min_value"), check.keywords.get("strict_min", False)
    return None if written is None else bound_of(written, type_, upper=False, strict=strict)


def upper_bound(check: Check, type_: LogicalType) -> Bound | None:
    written, strict = check.keywords.get("max_value"), check.keywords.get("strict_max", False)
    return None if written is None else bound_of(written, type_, upper=True, strict=strict)


def at_least(value: str, bound: Bound | None, type_: LogicalType, dialect: Dialect) -> list[str]:
    """Return the condition that a value meets a lower bound; none where there is no bound."""
    return [] if bound is None else [f"{value} {'>' if bound.strict else '>='} {dialect.literal(bound.value, type_)}"]


def at_most(value: str, bound: Bound | None, type_: LogicalType, dialect: Dialect) -> list[str]:
    """Return the condition that a value meets an upper bound; none where there is no bound."""
    return [] if bound is None else [f"{value} {'<' if bound.strict else '<='} {dialect.literal(bound.value, type_)}"]


def is_in_set(check: Check, rows: Rows) -> str:
    """NaN is in no set."""
    column = rows.named(check)
    values = [value_of(written, column.type) for written in check.keywords["value_set"]]
    return rows.dialect.one_of(rows.value(column), values, column.type)


def is_not_in_set(check: Check, rows: Rows) -> str:
    return f"NOT ({is_in_set(check, rows)})"


def has_length_between(check: Check, rows: Rows) -> str:
    length = rows.dialect.length(rows.value(rows.named(check)))
    low, high = check.keywords.get("min_value"), check.keywords.get("max_value")
    within = [] if low is None else [f"{length} {'>' if check.keywords.get('strict_min') else '>='} {low}"]
    within += [] if high is None else [f"{length} {'<' if check.keywords.get('strict_max') else '<='} {high}"]
    return " AND ".join(within)


def has_length(check: Check, rows: Rows) -> str:
    return f"{rows.dialect.length(rows.value(rows.named(check)))} = {int(check.keywords['value'])}"


def matches(check: Check, rows: Rows) -> str:
    return _matching(check, rows, [check.keywords["regex"]])[0]


def matches_not(check: Check, rows: Rows) -> str:
    return f"NOT ({matches(check, rows)})"


def matches_list(check: Check, rows: Rows) -> str:
    joined = " AND " if check.keywords.get("match_on", "any") == "all" else " OR "
    return joined.join(_matching(check, rows, check.keywords["regex_list"]))


def matches_none(check: Check, rows: Rows) -> str:
    return " AND ".join(f"NOT ({one})" for one in _matching(check, rows, check.keywords["regex_list"]))


def _matching(check: Check, rows: Rows, regexes: Sequence[str]) -> list[str]:
    value = rows.value(rows.named(check))
    return [f"({rows.dialect.matches(value, portable(regex))})" for regex in regexes]


def a_is_greater(check: Check, rows: Rows) -> str:
    """NaN is neither greater than anything nor smaller."""
    columns = columns_of(check, rows)
    a, b = common(columns, rows.dialect)
    return _without_nan(columns, rows, f"{a} {'>=' if check.keywords.get('or_equal') else '>'} {b}")


def are_equal(check: Check, rows: Rows) -> str:
    """NaN equals nothing, NaN included."""
    columns = columns_of(check, rows)
    first, *others = common(columns, rows.dialect)
    return _without_nan(columns, rows, " AND ".join(f"{first} = {other}" for other in others))


def all_differ(check: Check, rows: Rows) -> str:
    columns = columns_of(check, rows)
    pairs = combinations(range(len(columns)), 2)
    values = common(columns, rows.dialect)
    return " AND ".join(f"NOT ({_same(columns, values, a, b, rows)})" for a, b in pairs)


def _same(columns: Sequence[Column], values: Sequence[str], a: int, b: int, rows: Rows) -> str:
    return _without_nan([columns[a], columns[b]], rows, f"{values[a]} = {values[b]}")


def _without_nan(columns: Sequence[Column], rows: Rows, condition: str) -> str:
    floats = [column for column in columns if column.type.kind in FLOATS]
    return " AND ".join([*(f"NOT {rows.dialect.is_nan(rows.value(column))}" for column in floats), f"({condition})"])


def is_in_pairs(check: Check, rows: Rows) -> str:
    a, b = columns_of(check, rows)
    pairs = [
        f"({_equals(rows, a, first)} AND {_equals(rows, b, second)})"
        for first, second in check.keywords["value_pairs_set"]
    ]
    return " OR ".join(pairs)


def _equals(rows: Rows, column: Column, written: object) -> str:
    return f"{rows.value(column)} = {rows.dialect.literal(value_of(written, column.type), column.type)}"


def sums_to(check: Check, rows: Rows) -> str:
    columns = columns_of(check, rows)
    values, type_ = addends(columns, rows.dialect)
    if type_.kind not in FLOATS:
        total = value_of(_of_decimals(check.keywords["sum_total"]), type_)
        return f"{' + '.join(values)} = {rows.dialect.literal(total, type_)}"
    return _adds_up(values, float(number_of(check.keywords["sum_total"])), SLACK[type_.kind], rows.dialect)


def _of_decimals(written: object) -> object:
    return number_of(written, Kind.DECIMAL)


def _adds_up(values: Sequence[str], total: float, slack: float, dialect: Dialect) -> str:
    # Scaled down, for PostgreSQL raises where a sum overflows, and where a product underflows.
    scaled = [_scaled(value, _HALVED, dialect) for value in values]
    wanted = double(total * _HALVED, dialect)
    size = " + ".join([*(f"abs({value})" for value in scaled), f"abs({wanted})"])
    finite = [f"abs({value}) <= {double(_LARGEST, dialect)}" for value in values]
    near = f"abs({' + '.join(scaled)} - {wanted}) <= {double(slack, dialect)} * ({size})"
    return f"CASE WHEN {' AND '.join(finite)} THEN {near} ELSE 1 = 0 END"


def _scaled(value: str, factor: float, dialect: Dialect) -> str:
    tiny, zero = double(_TINY, dialect), double(0.0, dialect)
    return f"(CASE WHEN abs({value}) < {tiny} THEN {zero} ELSE {value} * {double(factor, dialect)} END)"


def double(number: float, dialect: Dialect) -> str:
    return dialect.literal(number, LogicalType(Kind.FLOAT64))
