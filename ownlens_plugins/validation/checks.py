"""A contract's `checks`: Great Expectations by name, refused when any destination could not run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any

import great_expectations.expectations.core  # noqa: F401  (fills the registry)
from great_expectations.compatibility.pydantic import ValidationError
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)

from ..contracts import Kind, TableContract
from ..errors import Problem, UnknownName

# Seen to pass and to fail as they should on pandas, PostgreSQL and ClickHouse alike.
PORTABLE = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_quantile_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)
ROW_COUNTS = frozenset({"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"})
_INTERNAL = frozenset(
    {
        "batch_id",
        "catch_exceptions",
        "description",
        "id",
        "meta",
        "notes",
        "rendered_content",
        "result_format",
        "windows",
    }
)
_COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
_VALUE_KEYS = ("min_value", "max_value", "value", "value_set")
_SEVERITIES = ("critical", "warning")
_TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
# The stores compare these values each in its own way; whether there is one, and whether it repeats, they agree on.
_OPAQUE = frozenset({Kind.JSON, Kind.BYTES, Kind.ARRAY})
PRESENCE = frozenset(
    {
        "expect_required_columns_to_have_values",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_null",
    }
)


def expectations_of(contract: TableContract, *, sql: bool) -> tuple[list[Expectation], list[Problem]]:
    """Return the expectations that a contract's checks name, and what is wrong with the others."""
    expectations, problems = [], []
    for place, name, keywords in _entries(contract):
        try:
            expectations.append(_expectation(contract, name, keywords, sql=sql))
        except (UnknownName, ValueError) as error:
            problems.append(Problem(f"{contract.domain}/{contract.table}.yaml", None, f"{place}: {error}"))
    return expectations, problems


def problems_of(contract: TableContract) -> list[Problem]:
    """Return everything wrong with a contract's checks."""
    return expectations_of(contract, sql=True)[1]


def _entries(contract: TableContract) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for index, check in enumerate(contract.checks):
        for name, keywords in check.items():
            yield f"checks.{index}", name, keywords


def _expectation(contract: TableContract, name: str, keywords: Mapping[str, Any], *, sql: bool) -> Expectation:
    known = set(_portable(name).__fields__) - _INTERNAL
    for keyword in keywords:
        if keyword not in known:
            raise UnknownName("keyword", keyword, known, where=name)
    _check_severity(name, keywords)
    _check_columns(contract, name, keywords)
    try:
        return named(name, **_typed(contract, keywords, sql=sql))
    except ValidationError as error:
        raise ValueError(f"{name}: {_reasons(error)}") from None


def named(name: str, **keywords: Any) -> Expectation:
    """Return an expectation by its snake_case name."""
    return get_expectation_impl(name)(**keywords)


def _portable(name: str) -> type[Expectation]:
    if name in PORTABLE:
        return get_expectation_impl(name)
    if name in list_registered_expectation_implementations():
        near = get_close_matches(name, PORTABLE, n=1, cutoff=0)
        raise ValueError(f"{name} does not run alike on every destination; use another, such as {near[0]}")
    raise UnknownName("expectation", name, PORTABLE)


def _check_severity(name: str, keywords: Mapping[str, Any]) -> None:
    severity = keywords.get("severity", "critical")
    if severity not in _SEVERITIES:
        raise UnknownName("severity", str(severity), _SEVERITIES, where=name)


def columns_of(keywords: Mapping[str, Any]) -> list[str]:
    """Return the columns that an expectation's keywords name, in order."""
    named = [keywords[key] for key in _COLUMN_KEYS if key in keywords]
    return [column for entry in named for column in (entry if isinstance(entry, list) else [entry])]


def _check_columns(contract: TableContract, name: str, keywords: Mapping[str, Any]) -> None:
    for column in columns_of(keywords):
        if column not in contract.column_names:
            raise UnknownName("column", str(column), contract.column_names, where=name)
        kind = contract.column(column).type.kind
        if kind in _OPAQUE and name not in PRESENCE:
            raise ValueError(f"{name}: values of the {kind} column {column!r} cannot be compared; check for nulls only")


def _typed(contract: TableContract, keywords: Mapping[str, Any], *, sql: bool) -> dict[str, Any]:
    """Return keywords with the ISO texts that stand for dates and times of a column as such."""
    kinds = {contract.column(column).type.kind for column in columns_of(keywords)} & _TIMES
    if not kinds:
        return dict(keywords)
    kind = kinds.pop()
    return {key: _time(value, kind, sql=sql) if key in _VALUE_KEYS else value for key, value in keywords.items()}


def _time(value: Any, kind: Kind, *, sql: bool) -> Any:
    if isinstance(value, list):
        return [_time(item, kind, sql=sql) for item in value]
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no {kind}; write it as 2026-01-31 or 2026-01-31T23:59:59") from None
    return _as_kind(moment, kind, sql=sql)


def _as_kind(moment: datetime, kind: Kind, *, sql: bool) -> date:
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind is Kind.TIMESTAMPTZ:
        return utc
    naive = utc.replace(tzinfo=None)
    return naive.date() if kind is Kind.DATE and sql else naive


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])).replace('__root__', 'keywords')}: {e['msg']}" for e in error.errors()
    )
