"""Count what a staged load will do to the table, and stage what it takes, before any of it is visible.

An upsert is staged so that each key lies in one partition. The engine never merges rows of two, and shows the wrong one
of two with equal versions. A partition that rows must leave is therefore staged anew, with the rows that stay, and
takes the old one's place: that can be repeated, and it cannot run on by itself, as a mutation would after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy

from . import comparing, covering, schema, sql
from .client import DIFFERENT_COLUMNS, has_code
from .comparing import Sides
from .definition import LOAD, flag, flagged
from .ledger import Changes
from .target import Count, Target


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a load will change, and the partitions of the table that are to hold only what is staged for them."""

    changes: Changes
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Staged rows by what the table holds of their keys, and keys that are gone from the source."""

    absent: int = 0
    newer: int = 0
    same: int = 0
    older: int = 0
    displaced: int = 0
    strays: int = 0
    gone: int = 0


def prepare(target: Target, plan: LoadPlan, staged: str, stage: str) -> Prepared:
    """Count what a load will do; `staged` holds its rows, and `stage`, which may be the same, what is to land."""
    if plan.strategy is Strategy.OVERWRITE:
        return Prepared(Changes(inserted=plan.rows, deleted=target.visible_rows()))
    if plan.strategy is Strategy.REPLACE_PARTITION:
        return _partitions(target, plan, stage)
    if plan.strategy is Strategy.APPEND:
        return Prepared(Changes(inserted=plan.rows))
    return _keys(target, plan, staged, stage) if covering.keys_only(plan) else _rows(target, plan, staged, stage)


def sides_of(target: Target, stage: str) -> Sides:
    """Return the table and a staged one, to be compared by key and version."""
    version = target.definition.version
    assert version is not None  # `definition.define` refuses ReplacingMergeTree without it
    return Sides(target.name, target.store.name(stage), target.contract.key, version)


def _partitions(target: Target, plan: LoadPlan, stage: str) -> Prepared:
    held = target.partitions(target.name)
    staged = target.partitions(target.store.name(stage))
    emptied = tuple(each for each in _covered(target, plan, held) if each not in staged)
    deleted = sum(held[each].rows for each in (*staged, *emptied) if each in held)
    return Prepared(Changes(inserted=plan.rows, deleted=deleted), emptied)


def _covered(target: Target, plan: LoadPlan, held: Mapping[str, Count]) -> list[str]:
    if plan.covers is None:
        return []
    days = covering.covered(plan)
    if days is None:
        return list(held)
    query = f"SELECT DISTINCT _partition_id FROM {target.name} WHERE {days} ORDER BY 1"
    return [str(row[0]) for row in target.store.rows(query)]


def _rows(target: Target, plan: LoadPlan, staged: str, stage: str) -> Prepared:
    sides = sides_of(target, staged)
    found = _find(target, plan, sides)
    changes = _changes(target, plan, sides, found)
    if covering.exchanges(plan):
        return Prepared(changes)
    replaced: tuple[str, ...] = ()
    if found.displaced or found.gone:
        leaving = sides.keys_where(comparing.displaced(overruled=covering.overrules(plan)))
        if found.gone:
            leaving += f" UNION ALL {sides.gone(covering.covered(plan))}"
        replaced = _stage_what_stays(target, sides, leaving, stage)
    # After the rows that stay: of equal versions the engine shows the one that came last.
    _stage_rows(target, sides, staged, stage, strays=found.strays > 0)
    return Prepared(changes, replaced)


def _find(target: Target, plan: LoadPlan, sides: Sides) -> Found:
    if target.count(target.table) == 0:
        return Found(absent=plan.rows)
    overruled = covering.overrules(plan)
    strays = "false" if overruled else comparing.STRAY
    conditions = (comparing.ABSENT, comparing.NEWER, comparing.SAME, comparing.OLDER)
    query = sides.count([*conditions, comparing.displaced(overruled=overruled), strays])
    counted = Found(*(int(value) for value in target.store.rows(query)[0]))
    return replace(counted, gone=_gone(target, plan, sides)) if overruled else counted


def _gone(target: Target, plan: LoadPlan, sides: Sides) -> int:
    return int(target.store.rows(f"SELECT count() FROM ({sides.gone(covering.covered(plan))})")[0][0])


def _changes(target: Target, plan: LoadPlan, sides: Sides, found: Found) -> Changes:
    identical = 0
    if found.same:
        columns = [column.name for column in target.definition.columns if column.name != LOAD]
        identical = int(target.store.rows(sides.identical(columns))[0][0])
    lost = 0 if covering.overrules(plan) else found.older
    updated = found.newer + found.same + found.older - identical - lost
    return Changes(found.absent, updated, identical + lost, found.gone)


def _keys(target: Target, plan: LoadPlan, staged: str, stage: str) -> Prepared:
    sides = sides_of(target, staged)
    gone, held = _gone(target, plan, sides), int(target.store.rows(sides.held())[0][0])
    replaced = _stage_what_stays(target, sides, sides.gone(covering.covered(plan)), stage) if gone else ()
    return Prepared(Changes(inserted=0, unchanged=held, deleted=gone), replaced)


def _stage_what_stays(target: Target, sides: Sides, leaving: str, stage: str) -> tuple[str, ...]:
    """Stage the rows that stay in the partitions that some keys must leave, and return the partitions' ids."""
    query = f"SELECT DISTINCT _partition_id FROM {target.name} WHERE ({sides.keys}) IN ({leaving}) ORDER BY 1"
    partitions = tuple(str(row[0]) for row in target.store.rows(query))
    # Also of columns that this contract does not know, because another run has just added them.
    schema.align(target, stage)
    columns = sql.identifiers(schema.stored(target))
    target.store.run(
        f"{sql.copy(target.store.name(stage), target.name, columns)} FINAL "
        f"WHERE _partition_id IN ({comparing.literals(partitions)}) AND ({sides.keys}) NOT IN ({leaving})"
    )
    return partitions


def _stage_rows(target: Target, sides: Sides, staged: str, stage: str, *, strays: bool) -> None:
    if not strays:
        _attach_all(target, staged, stage)
        return
    columns = sql.identifiers([*target.contract.column_names, *map(flag, flagged(target.contract))])
    target.store.run(
        f"INSERT INTO {target.store.name(stage)} ({columns}) SELECT {columns} FROM {sides.stage} "
        f"WHERE ({sides.keys}) NOT IN ({sides.keys_where(comparing.STRAY)})"
    )


def _attach_all(target: Target, staged: str, stage: str) -> None:
    statement = sql.attach_all(target.store.name(stage), target.store.name(staged))
    try:
        target.store.run(statement)
    except Exception as error:
        if not has_code(error, DIFFERENT_COLUMNS):
            raise
        schema.align(target, staged)
        target.store.run(statement)
