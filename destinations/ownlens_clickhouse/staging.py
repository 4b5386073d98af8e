"""What staged rows are written to: tables with the target's own definition, so that they fit it, whoever made it.

What lands by partitions has all that ClickHouse compares: columns, keys, indexes, projections, settings; and the TTL,
since merges never look at parts that were written without one. What takes the target's place has the contract's
columns, and keeps what the table's owner added: indexes, projections, constraints, comments, codecs, settings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clickhouse_connect.driver.exceptions import ClickHouseError

from . import sql
from .attempts import Internal
from .client import Store
from .definition import LOAD, NULL_FLAG, ColumnDefinition, flag
from .drift import left, relaxed, same_storage
from .failures import may_pass
from .shape import Extra, Shape, StoredColumn, mentions
from .target import Target

# What ClickHouse itself says of every table that was made without settings.
_OWN_SETTINGS = "index_granularity = 8192"
logger = logging.getLogger("ownlens.clickhouse")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The definition of a staged table, as SQL. Pure data: writers in other processes make tables of it."""

    columns: tuple[str, ...]
    extras: tuple[Extra, ...]
    storage: str
    cluster: str | None = None

    def create(self, name: str, label: str, *, checked: bool = True) -> str:
        """Write the statement; not `checked`, its rows need not meet the table's constraints."""
        extras = [each.text for each in self.extras if checked or each.kind != "CONSTRAINT"]
        return sql.create_like(name, [*self.columns, *extras], self.storage, label, self.cluster)


def landing(target: Target, shape: Shape, sequence: int) -> Blueprint:
    """Return what lands in a table by partitions: the table's own definition, in which no row is merged."""
    wanted = {each.name: each for each in target.definition.columns}
    columns = tuple(_landing(each, wanted.get(each.name), sequence) for each in shape.columns.values())
    storage = f"ENGINE = MergeTree{shape.clauses}" + (f" TTL {shape.ttl}" if shape.ttl else "")
    settings = f"{shape.settings}, {sql.NO_MERGES}" if shape.settings else sql.NO_MERGES
    return Blueprint(columns, shape.extras, f"{storage} SETTINGS {settings}")


def _landing(held: StoredColumn, wanted: ColumnDefinition | None, sequence: int) -> str:
    if held.name == LOAD or (wanted is not None and wanted.is_flag):
        return sql.column(wanted or ColumnDefinition(LOAD, "UInt64", hidden=True), load=sequence)
    if wanted is not None and not wanted.hidden and held.kind == "MATERIALIZED":
        return f"{sql.identifier(held.name)} {held.type}"  # the source's value counts
    if wanted is None and held.name.startswith(NULL_FLAG):
        return f"{sql.identifier(held.name)} Bool MATERIALIZED true"  # an array that left the contract
    return held.text


def replacing(target: Target, shape: Shape, own: Internal, sequence: int) -> Blueprint:
    """Return what takes a table's place: the contract's columns, and the owner's additions as far as they fit."""
    changed = _changed(target, shape)
    fitting = [each for each in shape.extras if not any(mentions(each.text, name) for name in _gone(target, shape))]
    untouched = [each for each in fitting if not any(mentions(each.text, name) for name in changed)]
    bare = [each for each in untouched if each.name == sql.LOAD_INDEX]
    # What the table's owner added to it may not fit; its own parts do.
    plain = _replacing(target, shape, bare, sequence, owned=False)
    if shape.settings == _OWN_SETTINGS:
        plain = replace(plain, storage=f"{plain.storage} SETTINGS {_OWN_SETTINGS}")
    for extras in (fitting, untouched, bare):
        blueprint = _replacing(target, shape, extras, sequence, owned=extras is not bare)
        if extras is bare or blueprint == plain or _can_be_made(target, blueprint, own):
            break
    lost = [f"{each.kind} {each.name}" for each in shape.extras if each not in extras and each.name != sql.LOAD_INDEX]
    if lost:
        logger.warning("%s: clickhouse: the new table goes without %s, which do not fit it", target.table, lost)
    return blueprint


def _replacing(target: Target, shape: Shape, extras: Sequence[Extra], sequence: int, *, owned: bool) -> Blueprint:
    definition = target.definition
    columns = [_renewed(shape, each, sequence, owned=owned) for each in definition.columns]
    if owned:
        columns += _others(target, shape)
    if not any(each.name == sql.LOAD_INDEX for each in extras):
        extras = [*extras, Extra("INDEX", sql.LOAD_INDEX, sql.LOAD_INDEX_TEXT)]
    storage = f"ENGINE = {sql.engine(definition)}{_clauses(target, shape)}"
    settings = f" SETTINGS {shape.settings}" if shape.settings and owned else ""
    return Blueprint(tuple(columns), tuple(extras), storage + settings, definition.cluster)


def _clauses(target: Target, shape: Shape) -> str:
    if same_storage(target, shape):
        return shape.clauses
    definition = target.definition
    partition = f" PARTITION BY {definition.partition}" if definition.partition else ""
    return f"{partition} ORDER BY {definition.order_sql}"


def _renewed(shape: Shape, column: ColumnDefinition, sequence: int, *, owned: bool) -> str:
    held = shape.columns.get(column.name)
    if held is None or column.hidden or not owned:
        return sql.column(column, load=sequence)
    if held.type == column.type and column.codec is None and held.kind in {"", "DEFAULT"}:
        return held.text
    return sql.column(column, load=sequence, comment=held.comment)


def _others(target: Target, shape: Shape) -> Iterator[str]:
    """Yield the columns that the contract does not name: its former ones stay, unless the table is made anew."""
    gone, former = set(_gone(target, shape)), left(target, shape)
    wanted = {each.name for each in target.definition.columns}
    for held in shape.columns.values():
        if held.name in wanted or held.name in gone or held.name.startswith("_ownlens_"):
            continue
        if held.name not in former:
            if not any(mentions(held.value, name) for name in gone):
                yield held.text
        elif relaxed(held.type) != held.type:
            yield sql.column(ColumnDefinition(held.name, relaxed(held.type)), comment=held.comment)
        else:
            yield held.text
            if held.type.startswith("Array("):
                yield f"{sql.identifier(flag(held.name))} Bool MATERIALIZED true"


def _gone(target: Target, shape: Shape) -> list[str]:
    if not (target.anew or target.contract.drop_columns):
        return []
    return left(target, shape)


def _changed(target: Target, shape: Shape) -> list[str]:
    types = {each.name: each.type for each in target.definition.columns}
    return [name for name, kind in shape.physical.items() if types.get(name, kind) != kind]


def _can_be_made(target: Target, blueprint: Blueprint, own: Internal) -> bool:
    label = replace(own, role="ptrial")
    name = target.store.name(label.name)
    try:
        target.store.run(blueprint.create(name, label.name))
    except ClickHouseError as error:
        if may_pass(error):
            raise
        return False
    target.store.run(sql.drop(name, blueprint.cluster))
    return True


def tell(target: Target, shape: Shape) -> None:
    """Say what a load does not do to a table, as its owner may expect that."""
    if shape.views:
        logger.warning(
            "%s: clickhouse: rows of loads do not reach %s: materialized views see inserts, and partitions are "
            "attached; fill such views by a refresh of their own",
            target.table,
            ", ".join(shape.views),
        )
    if shape.ttl and target.definition.ttl is None:
        logger.warning(
            "%s: clickhouse: the table's TTL %s stays, which the contract does not name; to keep all rows, run "
            "ALTER TABLE %s REMOVE TTL",
            target.table,
            shape.ttl,
            target.name,
        )


def create_empty(store: Store, blueprint: Blueprint, label: Internal, *, checked: bool = True) -> str:
    """Create an empty staged table, and return its name."""
    store.run(blueprint.create(store.name(label.name), label.name, checked=checked))
    return label.name
