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
from .catalogue import CLICKHOUSE, HIDDEN_FIELDS, IGNORED_ROWS, PORTABLE, POSTGRESQL, PRESENCE, unreachable

_COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
_VALUE_KEYS = ("min_value", "max_value", "value", "value_set")
_SEVERITIES = ("critical", "warning")
TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
# The stores compare these values each in its own way; whether there is one, and whether it repeats, they agree on.
_OPAQUE = frozenset({Kind.JSON, Kind.BYTES, Kind.ARRAY})


def expectations_of(contract: TableContract, *, dialect: str | None) -> tuple[list[Expectation], list[Problem]]:
    """Return the expectations that a contract's checks name, and what is wrong with the others."""
    expectations, problems = [], []
    for place, name, keywords in _entries(contract):
        try:
            expectations.append(_expectation(contract, name, keywords, dialect=dialect))
        except (UnknownName, ValueError) as error:
            problems.append(Problem(f"{contract.domain}/{contract.table}.yaml", None, f"{place}: {error}"))
    return expectations, problems


def problems_of(contract: TableContract) -> list[Problem]:
    """Return everything wrong with a contract's checks."""
    return expectations_of(contract, dialect=POSTGRESQL)[1]


def _entries(contract: TableContract) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for index, check in enumerate(contract.checks):
        for name, keywords in check.items():
            yield f"checks.{index}", name, keywords


def _expectation(
    contract: TableContract, name: str, keywords: Mapping[str, Any], *, dialect: str | None
) -> Expectation:
    known = set(_portable(name).__fields__) - HIDDEN_FIELDS
    for keyword in keywords:
        if keyword not in known:
            raise UnknownName("keyword", keyword, known, where=name)
    _check_severity(name, keywords)
    _check_columns(contract, name, keywords)
    _check_bounds(name, keywords)
    try:
        return named(name, **_ignoring(name, _typed(contract, keywords, dialect=dialect)))
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


def _check_bounds(name: str, keywords: Mapping[str, Any]) -> None:
    low, high = keywords.get("min_value"), keywords.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ValueError(f"{name}: min_value {low} is greater than max_value {high}")


def columns_of(keywords: Mapping[str, Any]) -> list[str]:
    """Return the columns that an expectation's keywords name, in order."""
    entries = [keywords[key] for key in _COLUMN_KEYS if key in keywords]
    return [column for entry in entries for column in (entry if isinstance(entry, list) else [entry])]


def _check_columns(contract: TableContract, name: str, keywords: Mapping[str, Any]) -> None:
    for column in columns_of(keywords):
        if column not in contract.column_names:
            raise UnknownName("column", str(column), contract.column_names, where=name)
        if column in unreachable(contract.column_names):
            raise ValueError(f"{name}: Great Expectations cannot tell column {column!r} from others; rename it")
        kind = contract.column(column).type.kind
        if kind in _OPAQUE and name not in PRESENCE:
            raise ValueError(f"{name}: values of the {kind} column {column!r} cannot be compared; check for nulls only")


def _typed(contract: TableContract, keywords: Mapping[str, Any], *, dialect: str | None) -> dict[str, Any]:
    """Return keywords with the ISO texts that stand for dates and times of a column as such."""
    kind = next((contract.column(column).type.kind for column in columns_of(keywords)), None)
    if kind not in TIMES:
        return dict(keywords)
    return {
        key: _time(value, kind, dialect=dialect) if key in _VALUE_KEYS else value for key, value in keywords.items()
    }


def _ignoring(name: str, keywords: dict[str, Any]) -> dict[str, Any]:
    if name not in IGNORED_ROWS:
        return keywords
    if keywords.setdefault("ignore_row_if", IGNORED_ROWS[name]) != IGNORED_ROWS[name]:
        raise ValueError(f"{name}: ignore_row_if can only be {IGNORED_ROWS[name]}, which is what SQL does")
    return keywords


def _time(value: Any, kind: Kind, *, dialect: str | None) -> Any:
    if isinstance(value, list):
        return [_time(item, kind, dialect=dialect) for item in value]
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no {kind}; write it as 2026-01-31 or 2026-01-31T23:59:59") from None
    return as_stored(moment, kind, dialect=dialect)


def as_stored(moment: datetime, kind: Kind, *, dialect: str | None) -> date:
    """Return a time as the rows come back: pandas knows no dates, and ClickHouse's driver gives UTC without a zone."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind is Kind.TIMESTAMPTZ and dialect != CLICKHOUSE:
        return utc
    naive = utc.replace(tzinfo=None)
    return naive.date() if kind is Kind.DATE and dialect else naive


def _reasons(error: ValidationError) -> str:
    return "; ".join(f"{_where(problem['loc'])}{problem['msg']}" for problem in error.errors())


def _where(location: tuple[int | str, ...]) -> str:
    return "".join(f"{step}: " for step in location if step != "__root__")
