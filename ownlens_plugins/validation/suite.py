"""From a contract to the expectations that its rows must meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from great_expectations.expectations.expectation import Expectation

from ..contracts import Kind, Strategy, TableContract
from ..errors import ContractInvalid
from . import expectations as _  # noqa: F401  (registers OwnLens's own)
from .catalogue import REFERENCES, REQUIRED, unreachable
from .checks import TIMES, as_stored, columns_of, expectations_of, named

WARNING = "warning"


def build_suite(
    contract: TableContract,
    *,
    destination: str,
    dialect: str | None,
    strategy: Strategy | None,
    staged_rows: int | None,
    exact_rows: bool,
    fresh_since: datetime | None,
    parents: Collection[str],
) -> list[Expectation]:
    """Return the expectations for one table in one destination; see `ownlens_plugins.validation.build_suite`."""
    strategy = strategy or Strategy(contract.options_for(destination)["strategy"])
    checks, problems = expectations_of(contract, dialect=dialect)
    if problems:
        raise ContractInvalid(problems)
    about_values = [_unique(identity(contract, strategy)), *_labels(contract), *_fresh(contract, fresh_since, dialect)]
    return [
        *_required(contract),
        *_reachable(contract, about_values),
        *_row_count(staged_rows, exact=exact_rows),
        *_references(contract, parents),
        *checks,
    ]


def _reachable(contract: TableContract, suite: list[Expectation]) -> Iterator[Expectation]:
    hidden = unreachable(contract.column_names)
    for expectation in suite:
        if hidden.isdisjoint(columns_of(expectation.configuration.kwargs)):
            yield expectation


def identity(contract: TableContract, strategy: Strategy) -> tuple[str, ...]:
    """Return the columns that tell rows apart: the key, and the version where every version of a row is kept."""
    version = contract.version_by
    if strategy is not Strategy.APPEND or version is None or version in contract.key:
        return contract.key
    return (*contract.key, version)


def _required(contract: TableContract) -> Iterator[Expectation]:
    if names := [column.name for column in contract.columns if not column.nullable]:
        yield named(REQUIRED, column_list=names)


def _unique(columns: tuple[str, ...]) -> Expectation:
    if len(columns) == 1:
        return named("expect_column_values_to_be_unique", column=columns[0])
    return named("expect_compound_columns_to_be_unique", column_list=list(columns))


def _labels(contract: TableContract) -> Iterator[Expectation]:
    for column in contract.columns:
        if column.type.kind is Kind.ENUM:
            yield named("expect_column_values_to_be_in_set", column=column.name, value_set=list(column.type.labels))


def _row_count(staged_rows: int | None, *, exact: bool) -> Iterator[Expectation]:
    if staged_rows is None:
        return
    if exact:
        yield named("expect_table_row_count_to_equal", value=staged_rows)
    else:
        yield named("expect_table_row_count_to_be_between", min_value=staged_rows)


def _fresh(contract: TableContract, since: datetime | None, dialect: str | None) -> Iterator[Expectation]:
    # Of a list of columns none has a value in every row.
    cursor = contract.cursor[0] if len(contract.cursor) == 1 else None
    if since is None or cursor is None or contract.column(cursor).type.kind not in TIMES:
        return
    oldest = as_stored(since, contract.column(cursor).type.kind, dialect=dialect)
    yield named("expect_column_max_to_be_between", column=cursor, min_value=oldest, severity=WARNING)


def _references(contract: TableContract, parents: Collection[str]) -> Iterator[Expectation]:
    # A warning, because a parent may still be on its way into this store.
    if known := [[ref.column, ref.table, ref.parent_column] for ref in contract.references if ref.table in parents]:
        yield named(REFERENCES, references=known, severity=WARNING)
