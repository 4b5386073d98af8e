"""What a store answered, as findings about rows or as trouble with the store; never with a row's value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from typing import Any

import sqlalchemy as sa

from ..api import LoadPlan
from ..errors import OwnLensError, Rejected, Retryable
from .asking import Check, Unanswered, Verdict
from .catalogue import REFERENCES, REQUIRED
from .result import FailedExpectation

_HIDDEN = frozenset({"column", "column_A", "column_B", "column_list", "ignore_row_if", "severity"})
_LONGEST = 120
# How the drivers name a lost connection, a refused one, a query that took too long, and a server that is too busy.
_PASSING = re.compile(
    r"\b(OperationalError|InterfaceError|ConnectionError|ConnectionRefusedError|ConnectionResetError|TimeoutError"
    r"|StreamFailureError|AdminShutdown|QueryCanceled|DisconnectionError|NewConnectionError|MaxRetryError"
    r"|TIMEOUT_EXCEEDED|SOCKET_TIMEOUT|NETWORK_ERROR|TOO_MANY_SIMULTANEOUS_QUERIES|MEMORY_LIMIT_EXCEEDED)\b"
)


def failed_expectation(check: Check, verdict: Verdict) -> FailedExpectation:
    """Return an expectation that does not hold, told in one line of counts and of the contract's own words."""
    by_column = check.name in {REQUIRED, REFERENCES}
    columns = ", ".join(verdict.result["observed_value"] if by_column else check.columns)
    return FailedExpectation(check.name, columns, check.severity, _message(check, verdict.result))


def _message(check: Check, result: Mapping[str, Any]) -> str:
    if check.name == REQUIRED:
        return f"no value in {', '.join(f'{name} ({count} rows)' for name, count in result['observed_value'].items())}"
    if check.name == REFERENCES:
        parents = {column: parent for column, parent, _ in check.keywords["references"]}
        return ", ".join(f"no row of {parents[name]} for {n} rows" for name, n in result["observed_value"].items())
    if check.name.startswith("expect_table_row_count"):
        return f"{result['observed_value']} rows{_bounds(check.keywords)}"
    if "unexpected_count" in result:
        return f"{result['unexpected_count']} of {result['element_count']} rows do not comply{_bounds(check.keywords)}"
    return f"does not hold{_bounds(check.keywords)}"


def _bounds(keywords: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name}={_told(value)}" for name, value in keywords.items() if name not in _HIDDEN)
    short = told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."
    return f" (expected {short})" if short else ""


def _told(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | time) else repr(value)


def trouble(plan: LoadPlan, check: Check | None, found: Unanswered) -> Rejected:
    """Return what to do about a check that the store could not evaluate."""
    if check is None:
        return _refused(plan, found.reason)
    return Rejected(
        f"{plan.table}: {plan.destination} cannot evaluate {check.name} on {', '.join(check.columns) or 'the table'} "
        f"({found.reason}); change the check in the contract, or the column's type"
    )


def _refused(plan: LoadPlan, reason: str) -> Rejected:
    return Rejected(
        f"{plan.table}: {plan.destination} refused the validation's query ({reason}); "
        "see that the table exists and that its columns are the contract's"
    )


def _no_answer(plan: LoadPlan, reason: str) -> Retryable:
    return Retryable(
        f"{plan.table}: {plan.destination} did not answer while its rows were validated ({reason}); "
        "see that it is up, and validate again"
    )


def names_of(error: Exception) -> list[str]:
    """Return the classes of an error and of the driver's error in it."""
    return [type(one).__name__ for one in (error, getattr(error, "orig", None)) if one is not None]


def store_is_away(error: Exception) -> bool:
    """Tell whether the store may answer the same question later."""
    return _PASSING.search(f"{' '.join(names_of(error))} {getattr(error, 'orig', '')}") is not None


@contextmanager
def store_trouble(plan: LoadPlan) -> Iterator[None]:
    """Turn a driver's exception into the error that tells the engine what to do."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise _as_trouble(plan, error) from None


def _as_trouble(plan: LoadPlan, error: sa.exc.SQLAlchemyError) -> OwnLensError:
    reason = names_of(error)[-1]
    return _no_answer(plan, reason) if store_is_away(error) else _refused(plan, reason)
