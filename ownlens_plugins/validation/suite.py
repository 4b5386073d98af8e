"""From a contract to the checks that its rows must meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime

from ..contracts import Kind, Strategy, TableContract
from ..errors import ContractInvalid
from .asking import Check
from .catalogue import REFERENCES, REQUIRED
from .checks import checks_of, problems_of
from .literals import MOMENTS

WARNING = "warning"


def suite_of(
    contract: TableContract,
    *,
    destination: str,
    strategy: Strategy | None,
    staged_rows: int | None,
    exact_rows: bool,
    fresh_since: datetime | None,
    parents: Collection[str],
) -> list[Check]:
    """Return the checks for one table in one destination; see `ownlens_plugins.validation.build_suite`."""
    strategy = strategy or Strategy(contract.options_for(destination)["strategy"])
    checks, refused = checks_of(contract)
    if refused:
        raise ContractInvalid(problems_of(contract))
    return [
        *_required(contract),
        _unique(identity(contract, strategy)),
        *_labels(contract),
        *_fresh(contract, fresh_since),
        *_row_count(staged_rows, exact=exact_rows),
        *_references(contract, parents),
        *checks,
    ]


def identity(contract: TableContract, strategy: Strategy) -> tuple[str, ...]:
    """Return the columns that tell rows apart: the key, and the version where every version of a row is kept."""
    version = contract.version_by
    if strategy is not Strategy.APPEND or version is None or version in contract.key:
        return contract.key
    return (*contract.key, version)


def _required(contract: TableContract) -> Iterator[Check]:
    if names := [column.name for column in contract.columns if not column.nullable]:
        yield Check(REQUIRED, {"column_list": names})


def _unique(columns: tuple[str, ...]) -> Check:
    if len(columns) == 1:
        return Check("expect_column_values_to_be_unique", {"column": columns[0]})
    return Check("expect_compound_columns_to_be_unique", {"column_list": list(columns)})


def _labels(contract: TableContract) -> Iterator[Check]:
    for column in contract.columns:
        if column.type.kind is Kind.ENUM:
            keywords = {"column": column.name, "value_set": list(column.type.labels)}
            yield Check("expect_column_values_to_be_in_set", keywords)


def _row_count(staged_rows: int | None, *, exact: bool) -> Iterator[Check]:
    if staged_rows is None:
        return
    if exact:
        yield Check("expect_table_row_count_to_equal", {"value": staged_rows})
    else:
        yield Check("expect_table_row_count_to_be_between", {"min_value": staged_rows})


def _fresh(contract: TableContract, since: datetime | None) -> Iterator[Check]:
    # Of a list of columns none has a value in every row.
    cursor = contract.cursor[0] if len(contract.cursor) == 1 else None
    if since is None or cursor is None or contract.column(cursor).type.kind not in MOMENTS:
        return
    oldest = _as_column(since, contract.column(cursor).type.kind)
    yield Check("expect_column_max_to_be_between", {"column": cursor, "min_value": oldest, "severity": WARNING})


def _as_column(moment: datetime, kind: Kind) -> date:
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind is Kind.TIMESTAMPTZ:
        return utc
    return utc.date() if kind is Kind.DATE else utc.replace(tzinfo=None)


def _references(contract: TableContract, parents: Collection[str]) -> Iterator[Check]:
    # A warning, because a parent may still be on its way into this store.
    if known := [[ref.column, ref.table, ref.parent_column] for ref in contract.references if ref.table in parents]:
        yield Check(REFERENCES, {"references": known, "severity": WARNING})
