"""From a contract to the expectations that its rows must meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from ..contracts import Kind, Strategy, TableContract
from ..errors import ContractInvalid
from .checks import expectations_of
from .expectations import ExpectRequiredColumnsToHaveValues

WARNING = "warning"


def build_suite(
    contract: TableContract,
    *,
    destination: str,
    sql: bool,
    strategy: Strategy | None,
    staged_rows: int | None,
    exact_rows: bool,
    fresh_since: datetime | None,
    orphans: Mapping[str, str],
) -> list[Expectation]:
    """Return the expectations for one table in one destination; see `ownlens_plugins.validation.build_suite`."""
    strategy = strategy or Strategy(contract.options_for(destination)["strategy"])
    checks, problems = expectations_of(contract, sql=sql)
    if problems:
        raise ContractInvalid(problems)
    return [
        *_required(contract),
        _unique(identity(contract, strategy)),
        *_labels(contract),
        *_row_count(staged_rows, exact=exact_rows),
        *_fresh(contract, fresh_since),
        *_references(orphans),
        *checks,
    ]


def identity(contract: TableContract, strategy: Strategy) -> tuple[str, ...]:
    """Return the columns that tell rows apart: the key, and the version where every version of a row is kept."""
    version = contract.version_by
    if strategy is not Strategy.APPEND or version is None or version in contract.key:
        return contract.key
    return (*contract.key, version)


def _required(contract: TableContract) -> Iterator[Expectation]:
    if names := [column.name for column in contract.columns if not column.nullable]:
        yield ExpectRequiredColumnsToHaveValues(column_list=names)


def _unique(columns: tuple[str, ...]) -> Expectation:
    if len(columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=columns[0])
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(columns))


def _labels(contract: TableContract) -> Iterator[Expectation]:
    for column in contract.columns:
        if column.type.kind is Kind.ENUM:
            yield gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.type.labels))


def _row_count(staged_rows: int | None, *, exact: bool) -> Iterator[Expectation]:
    if staged_rows is None:
        return
    if exact:
        yield gxe.ExpectTableRowCountToEqual(value=staged_rows)
    else:
        yield gxe.ExpectTableRowCountToBeBetween(min_value=staged_rows)


def _fresh(contract: TableContract, since: datetime | None) -> Iterator[Expectation]:
    if since is not None and contract.cursor is not None:
        yield gxe.ExpectColumnMaxToBeBetween(column=contract.cursor, min_value=since, severity=WARNING)


def _references(orphans: Mapping[str, str]) -> Iterator[Expectation]:
    # A warning, because a parent may still be on its way into this store.
    for column, query in orphans.items():
        meta: dict[str, Any] = {"column": column}
        yield gxe.UnexpectedRowsExpectation(unexpected_rows_query=query, severity=WARNING, meta=meta)
