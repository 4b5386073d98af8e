"""Great Expectations' own objects, for whoever wants a contract's suite or a validation's results in its terms.

A validation itself does not import it: that takes 7 to 9 s of CPU.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from ..contracts import Kind, TableContract
from .asking import Check
from .catalogue import CLICKHOUSE, OFFERS
from .literals import MOMENTS, value_of
from .result import Evaluated, ValidationResult

if TYPE_CHECKING:
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation import Expectation

_lock = threading.Lock()
_VALUE_KEYS = ("min_value", "max_value", "value", "value_set")


def expectations_of(contract: TableContract, checks: Sequence[Check], *, dialect: str | None) -> list[Expectation]:
    """Return checks as expectations, values as the rows come back from a store (None: from a pandas frame)."""
    registry = _registry()
    return [registry(check.name)(**_keywords(contract, check, dialect)) for check in checks]


def suite_result(result: ValidationResult) -> ExpectationSuiteValidationResult:
    """Return a validation as Great Expectations' result, for its data docs and reports."""
    _registry()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult

    results = [_result(one) for one in result.evaluated]
    held = sum(one.success for one in result.evaluated)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": held,
        "unsuccessful_expectations": len(results) - held,
        "success_percent": 100 * held / len(results) if results else None,
    }
    name = f"{result.table} in {result.destination}"
    return ExpectationSuiteValidationResult(
        success=held == len(results), results=results, suite_name=name, statistics=statistics, meta={}
    )


def suite(name: str, expectations: Sequence[Expectation]) -> ExpectationSuite:
    """Return expectations as a suite."""
    _registry()
    from great_expectations.core.expectation_suite import ExpectationSuite

    return ExpectationSuite(name=name, expectations=list(expectations))


def _result(one: Evaluated) -> ExpectationValidationResult:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    keywords = {key: _shown(value) for key, value in one.keywords.items() if key != "severity"}
    severity = one.keywords.get("severity", "critical")
    configuration = ExpectationConfiguration(type=one.name, kwargs=keywords, severity=severity)
    return ExpectationValidationResult(
        success=one.success, expectation_config=configuration, result=dict(one.result), meta={}, exception_info={}
    )


def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _keywords(contract: TableContract, check: Check, dialect: str | None) -> Mapping[str, Any]:
    keywords = dict(check.keywords)
    if check.name in OFFERS and OFFERS[check.name].ignored:
        keywords["ignore_row_if"] = OFFERS[check.name].ignored
    kind = contract.column(check.columns[0]).type.kind if check.columns else None
    if kind not in MOMENTS:
        return keywords
    return {
        key: _moments(contract, check, value, dialect) if key in _VALUE_KEYS else value
        for key, value in keywords.items()
    }


def _moments(contract: TableContract, check: Check, value: Any, dialect: str | None) -> Any:
    if isinstance(value, list):
        return [_moments(contract, check, one, dialect) for one in value]
    if isinstance(value, int | float):
        return value  # how many, not when
    type_ = contract.column(check.columns[0]).type
    return as_stored(value_of(value, type_), type_.kind, dialect=dialect)


def as_stored(moment: date, kind: Kind, *, dialect: str | None) -> date:
    """Return a time as the rows come back: pandas knows no dates, and ClickHouse's driver gives UTC without a zone."""
    if not isinstance(moment, datetime):
        return moment if dialect else datetime(moment.year, moment.month, moment.day)
    return (
        moment
        if kind is Kind.TIMESTAMPTZ and dialect != CLICKHOUSE
        else moment.astimezone(UTC).replace(tzinfo=None)
        if moment.tzinfo
        else moment
    )


def _registry() -> Any:
    with _lock, _warnings_left_alone(), _main_module_is_a_file():
        import great_expectations.expectations.core  # noqa: F401  (fills the registry)
        from great_expectations.expectations.registry import get_expectation_impl

        from . import expectations as _  # noqa: F401  (registers OwnLens's own)
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return get_expectation_impl


@contextmanager
def _warnings_left_alone() -> Iterator[None]:
    # Importing Great Expectations sends every warning of the process to logging.
    show = logging._warnings_showwarning  # type: ignore[attr-defined]
    try:
        yield
    finally:
        logging.captureWarnings(show is not None)


@contextmanager
def _main_module_is_a_file() -> Iterator[None]:
    # pyspark takes a main module that has neither file nor spec (python -c) for a doctest, and ends the process.
    main = sys.modules["__main__"]
    bare = not hasattr(main, "__file__") and getattr(main, "__spec__", None) is None
    if bare:
        main.__file__ = "<ownlens>"
    try:
        yield
    finally:
        if bare:
            del main.__file__
