"""Create a contract's table, let it follow where nothing is lost, and refuse all else before data moves."""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import ClickHouseError

from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .client import CANNOT_FOLLOW, UNLIKE, has_code
from .definition import NULL_FLAG, ColumnDefinition
from .described import Described
from .drift import REFRESH, Drift, compare, is_spelled, refusal
from .shape import Shape, StoredColumn, find_columns, find_shape, physical, plain_columns, shape_of
from .target import Survey, Target, require_table
from .widening import widens

# One moment by one column, as `retention_days` writes it.
_PLAIN_TTL = re.compile(r"(?:`(?:[^`\\]|\\.)*`|\w+) \+ toInterval\w+\(\d+\)")
# No table has a partition of this id.
_NOTHING = "ownlens"


def ensure(target: Target, survey: Survey, *, replaced: bool) -> Shape:
    """Make the table, of which a survey told all, fit its contract, and return it as it is then.

    `replaced` says that the load replaces the whole table, so that its columns must fit, but only once it lands. A full
    refresh owes the table nothing.

    Raises:
        Rejected: the table differs in a way that only a person can decide about.
    """
    shape = shape_of(survey.here) if survey.here else None
    if shape is None:
        target.store.run(sql.create_target(target.name, target.definition))
        return _found(target)
    require_table(target, shape)
    if target.anew:
        return shape
    drift = compare(target, shape, replaced=replaced)
    if drift.problems:
        raise refusal(target, drift)
    if replaced or not (_follow(target, drift) | follow_ttl(target, shape)):
        return shape
    return _found(target)


def stored(target: Target) -> list[str]:
    """Return the columns that the target's rows consist of, hidden ones among them."""
    return [*physical(find_columns(target.store, target.table))]


def align(target: Target, stage: str, seen: tuple[Described, Described] | None = None) -> bool:
    """Give a staged table the columns and types that the target has by now; tell whether it can land in it.

    What was `seen` of the target and the staged table, columns and all, is not asked for again.
    """
    columns = plain_columns(seen[0]) if seen else find_columns(target.store, target.table)
    here, there = physical(columns), physical(plain_columns(seen[1]) if seen else find_columns(target.store, stage))
    added = [_copied(columns[name]) for name in here if name not in there]
    fixed = {*target.definition.order, *filter(None, [target.contract.partition_by])}
    # Never the other way round: ClickHouse cuts numbers to fit without a word.
    widened = [
        ColumnDefinition(name, kind)
        for name, kind in here.items()
        if name not in fixed and kind != there.get(name, kind) and widens(there[name], kind)
    ]
    wanted = {column.name for column in target.definition.columns}
    gone = [name for name in there if name not in here and name not in wanted]
    if added or widened or gone:
        target.store.run(sql.change_columns(target.store.name(stage), added, widened, gone))
    like = {**there, **{each.name: each.type for each in (*added, *widened)}}
    return {name: kind for name, kind in like.items() if name not in gone} == here


def require_alike(target: Target, stage: str) -> None:
    """Require that the rows of a staged table can land, before their load is begun.

    ClickHouse itself compares the two, as it will when rows land: keys, columns, indexes, projections. A table that
    has gained columns since the staged one was made, or wider ones, is followed.

    Raises:
        Retryable: somebody has changed the table since the load was opened, which looks at it anew next time.
    """
    if not (_fits(target, stage) or (align(target, stage) and _fits(target, stage))):
        raise Retryable(f"{target.table}: clickhouse: the table's definition changed while it was loaded; run it again")


def _fits(target: Target, stage: str) -> bool:
    try:
        target.store.run(sql.attach(target.name, target.store.name(stage), _NOTHING))
    except ClickHouseError as error:
        if not has_code(error, *UNLIKE):
            raise
        return False
    return True


def _found(target: Target) -> Shape:
    shape = find_shape(target.store, target.table)
    if shape is not None:
        return shape
    if _is_detached(target):
        # CREATE TABLE IF NOT EXISTS says nothing of it, and makes none.
        raise Rejected(
            f"{target.table}: clickhouse table {target.name} is detached, so that no other can be made; "
            f"run ATTACH TABLE {target.name}"
        )
    raise Retryable(f"{target.table}: clickhouse: somebody dropped the table while it was loaded; run it again")


def _is_detached(target: Target) -> bool:
    query = "SELECT count() FROM system.detached_tables WHERE database = {database:String} AND table = {table:String}"
    try:
        return target.store.rows(query, database=target.store.database, table=target.table) != [(0,)]
    except ClickHouseError:  # an older server, or one that does not let this user look
        return False


def _copied(column: StoredColumn) -> ColumnDefinition:
    hidden = column.name.startswith(NULL_FLAG) or column.kind == "MATERIALIZED"
    return ColumnDefinition(column.name, column.type, hidden=hidden, value=column.value if hidden else None)


def _follow(target: Target, drift: Drift) -> bool:
    if not (drift.added or drift.changed or drift.dropped):
        return False
    # One statement, so that no crash can come between. It returns when the rows are rewritten; until then, and if the
    # server stops before, ClickHouse converts what it reads.
    statement = sql.change_columns(target.name, drift.added, drift.changed, drift.dropped)
    try:
        target.store.run(statement)
    except ClickHouseError as error:
        if not has_code(error, *CANNOT_FOLLOW):
            raise
        raise _cannot_follow(target, drift, error) from None
    return True


def _cannot_follow(target: Target, drift: Drift, error: ClickHouseError) -> Rejected:
    names = ", ".join(repr(each.name) for each in (*drift.added, *drift.changed))
    dropped = ", ".join(map(repr, drift.dropped))
    tried = " and ".join(filter(None, [names and f"change {names}", dropped and f"drop {dropped}"]))
    said = re.sub(r"^.*DB::Exception: |\s*\([A-Z][A-Z0-9_]+\).*$", "", " ".join(str(error).split())).rstrip(". ")
    return Rejected(
        f"{target.table}: clickhouse cannot {tried}: {said[:240]}; drop first what depends on it, or {REFRESH}"
    )


def follow_ttl(target: Target, shape: Shape) -> bool:
    """Give the table the TTL of its contract; tell whether that changed it.

    Raises:
        Rejected: its owner gave it one of several elements or actions.
    """
    wanted = target.definition.ttl
    if wanted is None or is_spelled(target, shape.ttl, wanted):  # a TTL of the table's owner stays
        return False
    if shape.ttl and not _PLAIN_TTL.fullmatch(shape.ttl):
        raise Rejected(
            f"{target.table}: clickhouse table {target.store.database}.{target.table} has the TTL {shape.ttl}, which "
            f"retention_days would replace; take it out of the contract, or run ALTER TABLE {target.name} REMOVE TTL"
        )
    target.store.run(sql.change_ttl(target.name, wanted))
    return True
