"""Validation: do the rows that a load touched make sense? Great Expectations suites, made from the contract."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .result import FailedExpectation, ValidationResult

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from great_expectations.expectations.expectation import Expectation

    from ..api import Destination, LoadPlan, LoadResult
    from ..contracts import Strategy, TableContract
    from ..errors import Problem

__all__ = [
    "FailedExpectation",
    "ValidationResult",
    "build_suite",
    "check_expectations",
    "validate",
    "warm_up",
]

# Read by Great Expectations when it is imported, which takes seconds: every function below imports it on first use.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


def warm_up() -> None:
    """Import Great Expectations now (7 to 9 s of CPU), say in a background thread while tables are staged."""
    from .library import data_context

    data_context()


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
    warm_up()
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
    warm_up()
    from .suite import build_suite as build

    return build(
        contract,
        destination=destination,
        dialect=dialect,
        strategy=strategy,
        staged_rows=staged_rows,
        exact_rows=exact_rows,
        fresh_since=fresh_since,
        parents=parents,
    )


def check_expectations(contract: TableContract) -> list[Problem]:
    """Return everything wrong with a contract's `checks`: unknown names and columns, bad or missing keywords."""
    if not contract.checks:
        return []
    warm_up()
    from .checks import problems_of

    return problems_of(contract)
