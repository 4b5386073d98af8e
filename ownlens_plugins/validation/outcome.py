"""What Great Expectations answered, as findings about rows or as trouble with the store; never with a row's value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from ..api import LoadPlan
from ..contracts import TableContract
from ..errors import OwnLensError, Rejected, Retryable
from .catalogue import REFERENCES, REQUIRED, unreachable
from .checks import columns_of
from .result import FailedExpectation

_HIDDEN = frozenset({"batch_id", "column", "column_A", "column_B", "column_list"})
_LONGEST = 120
# How the drivers name a lost connection, a refused one, a query that took too long, and a server that is too busy.
_PASSING = re.compile(
    r"\b(OperationalError|InterfaceError|ConnectionError|ConnectionRefusedError|ConnectionResetError|TimeoutError"
    r"|StreamFailureError|AdminShutdown|QueryCanceled|DisconnectionError|NewConnectionError|MaxRetryError"
    r"|TIMEOUT_EXCEEDED|SOCKET_TIMEOUT|NETWORK_ERROR|TOO_MANY_SIMULTANEOUS_QUERIES|MEMORY_LIMIT_EXCEEDED)\b"
)
_DRIVER_ERROR = re.compile(r"\(([\w.]+)\)")


def failed_expectation(found: ExpectationValidationResult) -> FailedExpectation:
    """Return an expectation that does not hold, told in one line of counts and of the contract's own words."""
    config = found.expectation_config
    assert config is not None
    columns = ", ".join(_columns(config, found.result))
    return FailedExpectation(config.type, columns, config.severity.value, _message(config, found.result))


def _columns(config: ExpectationConfiguration, result: Mapping[str, Any]) -> list[str]:
    by_column = config.type in {REQUIRED, REFERENCES}
    return list(result["observed_value"]) if by_column else columns_of(config.kwargs)


def _message(config: ExpectationConfiguration, result: Mapping[str, Any]) -> str:
    if config.type == REQUIRED:
        return f"no value in {', '.join(f'{name} ({count} rows)' for name, count in result['observed_value'].items())}"
    if config.type == REFERENCES:
        parents = {column: parent for column, parent, _ in config.kwargs["references"]}
        return ", ".join(f"no row of {parents[name]} for {n} rows" for name, n in result["observed_value"].items())
    if config.type.startswith("expect_table_row_count"):
        return f"{result['observed_value']} rows{_bounds(config.kwargs)}"
    if {"unexpected_count", "element_count"} <= result.keys():
        return f"{result['unexpected_count']} of {result['element_count']} rows do not comply{_bounds(config.kwargs)}"
    return f"does not hold{_bounds(config.kwargs)}"


def _bounds(keywords: Mapping[str, Any]) -> str:
    told = ", ".join(
        f"{name}={value!r}" for name, value in keywords.items() if name not in _HIDDEN and value is not None
    )
    short = told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."
    return f" (expected {short})" if short else ""


def unchecked_columns(contract: TableContract) -> list[FailedExpectation]:
    """Return a warning about columns whose names keep Great Expectations from looking at their values."""
    if not (names := unreachable(contract.column_names)):
        return []
    message = "not checked beyond nulls, since Great Expectations cannot name them; rename them"
    return [FailedExpectation("expect_column_to_exist", ", ".join(sorted(names)), "warning", message)]


def errored(found: ExpectationValidationResult) -> bool:
    """Say whether an expectation could not be evaluated, which says nothing about the rows."""
    return any(_exceptions(found.exception_info))


def trouble(plan: LoadPlan, found: ExpectationValidationResult) -> OwnLensError:
    """Return Retryable when the store did not answer, and Rejected when the expectation does not suit the column."""
    assert found.expectation_config is not None
    return _trouble(plan, found.expectation_config, list(_exceptions(found.exception_info)))


def _exceptions(info: Any) -> Iterator[tuple[str, str]]:
    """Yield (message, traceback) from any shape of exception_info: one, or one for each metric that it needed."""
    if not isinstance(info, Mapping):
        return
    if info.get("raised_exception"):
        yield str(info.get("exception_message")), str(info.get("exception_traceback"))
    elif "raised_exception" not in info:
        for entry in info.values():
            yield from _exceptions(entry)


def _trouble(plan: LoadPlan, config: ExpectationConfiguration, told: list[tuple[str, str]]) -> OwnLensError:
    text = "\n".join(f"{message}\n{trace}" for message, trace in told)
    if passing := _PASSING.search(text):
        return _no_answer(plan, passing[1])
    columns = ", ".join(columns_of(config.kwargs)) or "the table"
    driver = _DRIVER_ERROR.match(told[0][0])
    reason = f" ({driver[1].rpartition('.')[2]})" if driver else ""
    return Rejected(
        f"{plan.table}: {plan.destination} cannot evaluate {config.type} on {columns}{reason}; "
        "change the check in the contract, or the column's type"
    )


def _no_answer(plan: LoadPlan, reason: str) -> Retryable:
    return Retryable(
        f"{plan.table}: {plan.destination} did not answer while its rows were validated ({reason}); "
        "see that it is up, and validate again"
    )


@contextmanager
def store_trouble(plan: LoadPlan) -> Iterator[None]:
    """Turn a driver's exception into the error that tells the engine what to do."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        names = [type(one).__name__ for one in (error, getattr(error, "orig", None)) if one is not None]
        if _PASSING.search(" ".join(names)):
            raise _no_answer(plan, names[-1]) from None
        raise Rejected(
            f"{plan.table}: {plan.destination} refused the validation's query ({names[-1]}); "
            "see that the table exists and that its columns are the contract's"
        ) from None
