"""What a contract's table looks like in ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Column, Kind, Strategy, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .columns import column_type, needs_flag
from .config import ClickHouseOptions, engine_problem

LOAD = "_ownlens_load"
VERSION = "_ownlens_version"
NULL_FLAG = "_ownlens_null_"
# Below every number that a version can be.
_OLDEST = "toInt128('-170141183460469231731687303715884105728')"


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """One column. A hidden column is MATERIALIZED, by `value` if it has one: `SELECT *` does not show it."""

    name: str
    type: str
    codec: str | None = None
    hidden: bool = False
    value: str | None = None

    @property
    def is_flag(self) -> bool:
        """Whether it says where an array is NULL."""
        return self.name.startswith(NULL_FLAG)

    @property
    def can_be_added(self) -> bool:
        """Whether rows that are there already have a true value for it: NULL."""
        return "Nullable(" in self.type or self.is_flag


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table's columns and storage. The expressions are SQL; `ttl` is the moment after which a row may go.

    `engine` is the family's name without Replicated, and `cluster` where statements about the table run. `version` is
    the column by which the newest row of a key is known.
    """

    table: str
    columns: tuple[ColumnDefinition, ...]
    engine: str
    partition: str | None
    order: tuple[str, ...]
    ttl: str | None
    replicated: bool = False
    cluster: str | None = None
    version: str | None = None

    @property
    def order_sql(self) -> str:
        columns = sql.identifiers(self.order)
        return columns if len(self.order) == 1 else f"({columns})"

    @property
    def merges_rows(self) -> bool:
        """Whether reading needs FINAL to show each key once."""
        return self.engine.startswith("Replacing")


def define(plan: LoadPlan) -> TableDefinition:
    """Derive the table from the contract and its options.

    Raises:
        Rejected: the options contradict the contract or the strategy.
    """
    contract, options = plan.contract, cast(ClickHouseOptions, plan.options)
    if plan.strategy is not Strategy.OVERWRITE and (problem := engine_problem(plan.strategy, options.engine)):
        raise Rejected(f"{plan.table}: {plan.destination}: {problem}")
    for problem in options.problems(contract):
        raise Rejected(f"{plan.table}: {plan.destination}: {problem}")
    return TableDefinition(
        table=contract.table,
        columns=(
            *_columns(contract, options),
            *_flags(contract),
            *_versions(contract, options),
            ColumnDefinition(LOAD, "UInt64", hidden=True),
        ),
        engine=_engine(contract, options),
        partition=_partition(contract, options),
        order=options.order_by or contract.key,
        ttl=_ttl(contract, options),
        replicated=options.replicated,
        cluster=options.cluster,
        version=_version(contract, options),
    )


def keys_of(definition: TableDefinition, contract: TableContract) -> TableDefinition:
    """Return the table that the keys of a set are staged in, which holds nothing but keys."""
    kept = {*contract.key, LOAD}
    columns = tuple(column for column in definition.columns if column.name in kept)
    return replace(
        definition, columns=columns, engine="MergeTree", partition=None, order=contract.key, ttl=None, version=None
    )


def flag(column: str) -> str:
    """Return the name of the hidden column that says where an array is NULL."""
    return NULL_FLAG + column


def flagged(contract: TableContract) -> list[str]:
    """Return the columns whose NULLs are kept in a hidden column."""
    return [column.name for column in contract.columns if needs_flag(column)]


def _columns(contract: TableContract, options: ClickHouseOptions) -> Iterator[ColumnDefinition]:
    for column in contract.columns:
        low = column.name in options.low_cardinality
        kind = column_type(column, low_cardinality=low, uuid_as=options.uuid_as)
        yield ColumnDefinition(column.name, kind, options.codec.get(column.name))


def _flags(contract: TableContract) -> Iterator[ColumnDefinition]:
    for name in flagged(contract):
        yield ColumnDefinition(flag(name), "Bool", hidden=True)


def _versions(contract: TableContract, options: ClickHouseOptions) -> Iterator[ColumnDefinition]:
    # The engine takes no nullable version. A version that is not null yet is the oldest.
    if _version(contract, options) == VERSION:
        column = contract.column(str(contract.version_by))
        value = f"ifNull(toInt128({_number(column)}), {_OLDEST})"
        yield ColumnDefinition(VERSION, "Int128", hidden=True, value=value)


def _number(column: Column) -> str:
    name = sql.identifier(column.name)
    if column.type.kind is Kind.DATE:
        return f"toInt32({name})"
    return f"toUnixTimestamp64Micro({name})" if column.type.kind in {Kind.TIMESTAMP, Kind.TIMESTAMPTZ} else name


def _version(contract: TableContract, options: ClickHouseOptions) -> str | None:
    if options.engine == "MergeTree" or contract.version_by is None:
        return None
    return VERSION if contract.column(contract.version_by).nullable else contract.version_by


def _engine(contract: TableContract, options: ClickHouseOptions) -> str:
    version = _version(contract, options)
    return f"{options.engine}({sql.identifier(version)})" if version else options.engine


def _partition(contract: TableContract, options: ClickHouseOptions) -> str | None:
    if options.partition == "none" or contract.partition_by is None:
        return None
    column = sql.identifier(contract.partition_by)
    if options.partition == "month":
        return f"toYYYYMM({column})"
    # toDate would wrap days before 1970 and after 2149 onto others.
    return column if contract.column(contract.partition_by).type.kind is Kind.DATE else f"toDate32({column})"


def _ttl(contract: TableContract, options: ClickHouseOptions) -> str | None:
    if options.retention_days is None or contract.partition_by is None:
        return None
    # No conversion to DateTime, which would wrap a day after 2106 into the past and drop its rows.
    return f"{sql.identifier(contract.partition_by)} + toIntervalDay({options.retention_days})"
