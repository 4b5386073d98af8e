"""Validation: do the rows that a load touched make sense? the contract's checks, by the names of Great Expectations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .result import FailedExpectation, ValidationResult

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.expectations.expectation import Expectation

    from ..api import Destination, LoadPlan, LoadResult
    from ..contracts import Strategy, TableContract
    from ..errors import Problem

__all__ = [
    "FailedExpectation",
    "ValidationResult",
    "build_suite",
    "check_expectations",
    "suite_result",
    "validate",
    "warm_up",
]

# Read by Great Expectations when it is imported, which takes seconds: only what returns its objects imports it.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


def warm_up() -> None:
    """Import what a validation needs (not Great Expectations), say in a background thread while tables are staged."""
    from . import running  # noqa: F401


def validate(
    destination: Destination[Any, Any], plan: LoadPlan, *, result: LoadResult | None = None
) -> ValidationResult:
    """Check the rows that a load touched against the suite of its contract, where the rows are.

    Safe to call from several threads. Give the load's own `result`, so that rows which the destination kept aside
    are not counted as missing, nor those of a load that a newer one had overtaken.

    Raises:
        ContractInvalid: a check of the contract is not an expectation that OwnLens can run.
        Rejected: an expectation cannot be evaluated on these columns.
        Retryable: the store did not answer.
    """
    from .running import validate as run

    return run(destination, plan, result=result)


def build_suite(
    contract: TableContract,
    *,
    destination: str,
    dialect: str | None,
    strategy: Strategy | None = None,
    staged_rows: int | None = None,
    exact_rows: bool = False,
    fresh_since: datetime | None = None,
    parents: Collection[str] = (),
) -> list[Expectation]:
    """Return the expectations that a contract implies for the rows that one load touched.

    `dialect` is `postgresql` or `clickhouse`, and None where the rows come as Arrow. `strategy` defaults to the
    contract's for this destination. `staged_rows` None leaves the row count out; `exact_rows` says that the touched
    slice holds the staged rows and nothing else. `fresh_since` is a time, with its zone, that the newest `cursor`
    must reach. `parents` names the referenced tables that the store has (SQL only).

    Raises:
        ContractInvalid: a check of the contract is not an expectation that OwnLens can run.
    """
    from .library import expectations_of
    from .suite import suite_of

    checks = suite_of(
        contract,
        destination=destination,
        strategy=strategy,
        staged_rows=staged_rows,
        exact_rows=exact_rows,
        fresh_since=fresh_since,
        parents=parents,
    )
    return expectations_of(contract, checks, dialect=dialect)


def suite_result(result: ValidationResult) -> ExpectationSuiteValidationResult:
    """Return a validation as Great Expectations' own result, for its data docs and reports; imports it."""
    from .library import suite_result as converted

    return converted(result)


def check_expectations(contract: TableContract, *, folder: Path | str | None = None) -> list[Problem]:
    """Return everything wrong with a contract's `checks`: what cannot be run, can never hold, or differs by store.

    With the `folder` of the contracts, each problem has its line.
    """
    if not contract.checks:
        return []
    from .checks import problems_of

    return problems_of(contract, folder=folder)
