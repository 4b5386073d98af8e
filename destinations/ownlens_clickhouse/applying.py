"""Make a staged load visible. Every step here may be repeated from any point at which it was cut short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from clickhouse_connect.driver.exceptions import ClickHouseError

from ownlens_plugins import faults
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import CommitUnknown

from . import comparing, schema, sql
from .client import DIFFERENT_COLUMNS, UNKNOWN_SETTING, has_code
from .definition import LOAD
from .failures import may_pass
from .ledger import NO_TABLE
from .preparing import sides_of
from .redo import Redo
from .shape import find_ttl
from .target import Count, Tally, Target

logger = logging.getLogger("ownlens.clickhouse")


def apply(target: Target, redo: Redo, stage: str, tally: Tally | None = None) -> UUID:
    """Make all rows of a begun load visible, check that they are, and return the UUID of the table that shows them.

    `tally` is what the attempt that has just begun the load has counted, while it had the turn; it has looked at the
    table, too.

    Raises:
        CommitUnknown: the rows are not visible as they were staged. Repeating repairs that.
    """
    steps: dict[Strategy, Callable[[Target, Redo, str, Tally | None], UUID | None]] = {
        Strategy.APPEND: _append,
        Strategy.REPLACE_PARTITION: _replace,
        Strategy.UPSERT: _upsert,
    }
    if tally is None:
        _require_same_table(target, redo, target.uuid_of(target.table))
    step = _overwrite if redo.exchanges else steps[redo.entry.strategy]
    return _require_same_table(target, redo, step(target, redo, stage, tally))


def _require_same_table(target: Target, redo: Redo, here: UUID | None) -> UUID:
    # A table that somebody dropped and made again while the load was under way lacks what was in it before.
    entry = redo.entry
    known = {entry.target, entry.stage} if redo.exchanges else {entry.target}
    if here is None or (here not in known and entry.target != NO_TABLE):
        raise CommitUnknown(
            f"{target.table}: clickhouse: somebody dropped the table while it was loaded; run the load again"
        )
    return here


def _append(target: Target, redo: Redo, stage: str, tally: Tally | None) -> UUID | None:
    source, own = target.store.name(stage), f"`{LOAD}` = {redo.entry.sequence}"
    tally = tally or target.tally(stage, where=own)
    for partition, count in tally.staged.items():
        here = tally.held[partition].rows if partition in tally.held else 0
        if here == count.rows:
            continue
        if here:  # an attach was cut short between two parts
            target.store.run(sql.delete_load(target.name, source, partition, redo.entry.sequence))
        _copy(target, stage, sql.attach(target.name, source, partition))
    faults.reach("after_commit")
    shown, after = target.landed(where=own)
    _expect_all(target, tally.staged, after)
    return shown


def _replace(target: Target, redo: Redo, stage: str, tally: Tally | None) -> UUID | None:
    source = target.store.name(stage)
    staged = tally.staged if tally else target.partitions(source)
    for partition in staged:
        _copy(target, stage, sql.replace(target.name, source, partition))
    emptied = [partition for partition in redo.replaced if partition not in staged]
    _empty(target, stage, emptied)
    faults.reach("after_commit")
    shown, after = target.landed(where=f"_partition_id IN ({comparing.literals([*staged, *emptied, ''])})")
    _expect_all(target, staged, after)
    _expect(target, 0, sum(after[partition].rows for partition in emptied if partition in after))
    return shown


def _upsert(target: Target, redo: Redo, stage: str, tally: Tally | None) -> UUID | None:
    source = target.store.name(stage)
    staged = tally.staged if tally else target.partitions(source)
    for partition in staged:
        change = sql.replace if partition in redo.replaced else sql.attach
        _copy(target, stage, change(target.name, source, partition))
    # Last, so that a row that moved is there before the place where it was goes.
    _empty(target, stage, [partition for partition in redo.replaced if partition not in staged])
    faults.reach("after_commit")
    sides = sides_of(target, stage)
    query = sides.count([f"{comparing.ABSENT} OR {comparing.NEWER}"], where=target.lasting(), also=target.uuid_then())
    missing, uuid = target.store.rows(query)[0]
    _expect(target, 0, int(missing))
    if redo.replaced:
        _expect(target, 0, int(target.store.rows(sides.left_over(redo.replaced))[0][0]))
    return UUID(str(uuid)) if uuid else None


def _overwrite(target: Target, redo: Redo, stage: str, _: Tally | None) -> UUID | None:
    # Exchanging twice would bring the old rows back, so the table that is there now decides.
    entry = redo.entry
    if target.uuid_of(target.table) != entry.stage:
        target.store.run(sql.exchange(target.name, target.store.name(stage), target.definition.cluster))
        faults.reach("commit_sent")
    faults.reach("after_commit")
    if target.uuid_of(target.table) != entry.stage:
        raise CommitUnknown(f"{target.table}: clickhouse does not show the new table yet; run the load again")
    _dress(target, stage)
    return entry.stage


def _dress(target: Target, former: str) -> None:
    # What the staged table could not have: a TTL, which could drop rows before they are counted, and hidden columns
    # that take part in an insert. The table that was there before has the staged one's name by now.
    flags = [column for column in target.definition.columns if column.is_flag]
    if flags:
        target.store.run(sql.hide_columns(target.name, flags))
    if target.definition.ttl:
        target.store.run(sql.change_ttl(target.name, target.definition.ttl))
    elif ttl := find_ttl(target.store, former) if target.ttl is None else target.ttl:
        _keep_ttl(target, ttl)


def _keep_ttl(target: Target, ttl: str) -> None:
    try:
        target.store.run(sql.change_ttl(target.name, ttl))
    except ClickHouseError as error:
        if may_pass(error):
            raise
        logger.warning("%s: clickhouse: the new table goes without TTL %s, which does not fit it", target.table, ttl)


def _empty(target: Target, stage: str, partitions: Iterable[str]) -> None:
    """Take all rows out of partitions.

    Replacing them by what the staged table has, nothing, does what DROP PARTITION does, and names the staged table: an
    attempt that was taken over has lost that name, and could drop rows of a newer load otherwise.
    """
    for partition in partitions:
        statement = sql.replace(target.name, target.store.name(stage), partition)
        try:
            _copy(target, stage, f"{statement} SETTINGS {sql.EMPTY_IS_MEANT}")
        except Exception as error:
            if not has_code(error, UNKNOWN_SETTING):
                raise
            _copy(target, stage, statement)  # older servers need no leave


def _copy(target: Target, stage: str, statement: str) -> None:
    try:
        target.store.run(statement)
    except Exception as error:
        if not has_code(error, DIFFERENT_COLUMNS) or not schema.align(target, stage):
            raise
        target.store.run(statement)
    faults.reach("commit_sent")


def _expect_all(target: Target, staged: Mapping[str, Count], after: Mapping[str, Count]) -> None:
    for partition, count in staged.items():
        _expect(target, count.lasting, after[partition].lasting if partition in after else 0)


def _expect(target: Target, wanted: int, seen: int) -> None:
    if wanted != seen:
        raise CommitUnknown(
            f"{target.table}: clickhouse shows {seen} rows of the load where {wanted} are due; run the load again"
        )
