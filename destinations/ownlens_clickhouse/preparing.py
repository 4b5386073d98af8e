"""Count what a staged load will do to the table, and stage what it takes, before any of it is visible.

An upsert is staged so that each key lies in one partition. The engine never merges rows of two, and shows the wrong one
of two with equal versions. A partition that rows must leave is therefore staged anew, with the rows that stay, and
takes the old one's place: that can be repeated, and it cannot run on by itself, as a mutation would after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy

from . import comparing, covering, schema, sql
from .client import DIFFERENT_COLUMNS, has_code
from .comparing import Sides
from .definition import LOAD, flag, flagged
from .described import Described
from .ledger import Changes
from .target import Count, Tally, Target


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a load will change, and the partitions of the table that are to hold only what is staged for them.

    `restaged` says that what is to land is not the table that the staged rows were written to, but another of its name.
    """

    changes: Changes
    replaced: tuple[str, ...] = ()
    restaged: bool = False


@dataclass(frozen=True, slots=True)
class Landing:
    """The names of the table with the staged rows, of the one that is to land, and of that before it took the turn.

    The first two are the same, unless only keys are staged.
    """

    staged: str
    stage: str
    former: str


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


def tally(target: Target, plan: LoadPlan, landing: Landing, table: Described | None) -> Tally:
    """Count the staged rows, by partition if they land by partitions, and what the table holds where they land."""
    staged, by_itself = landing.staged, ""  # no partition has this id
    if plan.strategy is Strategy.OVERWRITE and table is not None:
        rows, held = target.rows_of(staged, table.engine)
        return Tally({by_itself: Count(rows, rows)}, {by_itself: Count(held, held)})
    if table is None or covering.exchanges(plan) or covering.keys_only(plan):
        rows = target.count(staged)
        return Tally({by_itself: Count(rows, rows)}, {})
    where = None
    if plan.strategy is Strategy.APPEND:
        where = f"`{LOAD}` = {plan.sequence}"
    elif plan.strategy is Strategy.REPLACE_PARTITION:
        where = "true" if plan.covers else f"_partition_id IN (SELECT _partition_id FROM {target.store.name(staged)})"
    return target.tally(staged, where=where)


def prepare(
    target: Target, plan: LoadPlan, landing: Landing, tally: Tally, table: Described, room: Callable[[], str]
) -> Prepared:
    """Count what a load will do; `room` makes a table for rows that cannot land as they are staged."""
    if plan.strategy is Strategy.OVERWRITE:
        return Prepared(Changes(inserted=plan.rows, deleted=sum(each.rows for each in tally.held.values())))
    if plan.strategy is Strategy.REPLACE_PARTITION:
        return _partitions(target, plan, tally)
    if plan.strategy is Strategy.APPEND:
        return Prepared(Changes(inserted=plan.rows))
    if covering.keys_only(plan):
        return _keys(target, plan, landing)
    found = _find(target, plan, sides_of(target, landing.stage), table)
    return _rows(target, plan, landing.stage, found, room)


def sides_of(target: Target, stage: str) -> Sides:
    """Return the table and a staged one, to be compared by key and version."""
    version = target.definition.version
    assert version is not None  # `definition.define` refuses ReplacingMergeTree without it
    return Sides(target.name, target.store.name(stage), target.contract.key, version)


def _partitions(target: Target, plan: LoadPlan, tally: Tally) -> Prepared:
    staged, held = tally.staged, tally.held
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


def _rows(target: Target, plan: LoadPlan, stage: str, found: Found, room: Callable[[], str]) -> Prepared:
    sides = sides_of(target, stage)
    changes = _changes(target, plan, sides, found)
    if covering.exchanges(plan) or not (found.displaced or found.gone or found.strays):
        return Prepared(changes)
    made, replaced = room(), tuple[str, ...]()
    schema.align(target, made)
    if found.displaced or found.gone:
        leaving = sides.keys_where(comparing.displaced(overruled=covering.overrules(plan)))
        if found.gone:
            leaving += f" UNION ALL {sides.gone(covering.covered(plan))}"
        replaced = _stage_what_stays(target, sides, leaving, made)
    # After the rows that stay: of equal versions the engine shows the one that came last.
    _stage_rows(target, sides, stage, made, strays=found.strays > 0)
    # What lands has the name by which an attempt that is taken over loses it. No load is begun yet.
    target.store.run(sql.exchange(target.store.name(made), target.store.name(stage)))
    return Prepared(changes, replaced, restaged=True)


def _find(target: Target, plan: LoadPlan, sides: Sides, table: Described) -> Found:
    if table.rows == 0:
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


def _keys(target: Target, plan: LoadPlan, landing: Landing) -> Prepared:
    sides = sides_of(target, landing.staged)
    gone, held = _gone(target, plan, sides), int(target.store.rows(sides.held())[0][0])
    leaving = sides.gone(covering.covered(plan))
    replaced = _stage_what_stays(target, sides, leaving, landing.stage) if gone else ()
    # What lands is not what was counted.
    return Prepared(Changes(inserted=0, unchanged=held, deleted=gone), replaced, restaged=True)


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
