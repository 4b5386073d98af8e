"""Make a staged load visible. Every step here may be repeated from any point at which it was cut short."""

from __future__ import annotations

from collections.abc import Callable

from ownlens_plugins import faults
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import CommitUnknown

from . import schema, sql
from .client import DIFFERENT_COLUMNS, has_code
from .definition import LOAD
from .ledger import Changes, Entry
from .target import Target


def changes(target: Target, plan: LoadPlan, stage: str) -> Changes:
    """Count what a staged load will do to the table, before any of it is visible."""
    if plan.strategy is Strategy.UPSERT:
        return _upsert_changes(target, plan, stage)
    if plan.strategy is Strategy.OVERWRITE:
        return Changes(inserted=plan.rows, deleted=_count(target, target.name))
    if plan.strategy is Strategy.REPLACE_PARTITION:
        held = target.partitions(target.name)
        replaced = target.partitions(target.store.name(stage))
        return Changes(inserted=plan.rows, deleted=sum(held[each].rows for each in replaced if each in held))
    return Changes(inserted=plan.rows)


def apply(target: Target, entry: Entry, stage: str) -> None:
    """Make all rows of a begun load visible and check that they are.

    Raises:
        CommitUnknown: the rows are not visible as they were staged. Repeating repairs that.
    """
    steps: dict[Strategy, Callable[[Target, Entry, str], None]] = {
        Strategy.APPEND: _append,
        Strategy.REPLACE_PARTITION: _replace,
        Strategy.UPSERT: _upsert,
        Strategy.OVERWRITE: _overwrite,
    }
    steps[entry.strategy](target, entry, stage)


def _append(target: Target, entry: Entry, stage: str) -> None:
    source = target.store.name(stage)
    staged = target.partitions(source)
    landed = target.partitions(target.name, sequence=entry.sequence)
    for partition, count in staged.items():
        here = landed[partition].rows if partition in landed else 0
        if here == count.rows:
            continue
        if here:  # an attach was cut short between two parts
            target.store.run(sql.delete_load(target.name, source, partition, entry.sequence))
        _copy(target, stage, sql.attach(target.name, source, partition))
    faults.reach("after_commit")
    after = target.partitions(target.name, sequence=entry.sequence)
    for partition, count in staged.items():
        _expect(target, count.lasting, after[partition].lasting if partition in after else 0)


def _replace(target: Target, _: Entry, stage: str) -> None:
    source = target.store.name(stage)
    staged = target.partitions(source)
    for partition in staged:  # only partitions with rows: replacing by an empty one would drop it
        _copy(target, stage, sql.replace(target.name, source, partition))
    faults.reach("after_commit")
    after = target.partitions(target.name)
    for partition, count in staged.items():
        _expect(target, count.lasting, after[partition].lasting if partition in after else 0)


def _upsert(target: Target, _: Entry, stage: str) -> None:
    source = target.store.name(stage)
    for partition in target.partitions(source):
        _copy(target, stage, sql.attach(target.name, source, partition))
    faults.reach("after_commit")
    absent, newer, *_same_or_older = _versions(target, stage)
    _expect(target, 0, absent + newer)


def _overwrite(target: Target, entry: Entry, stage: str) -> None:
    # Exchanging twice would bring the old rows back, so the table that is there now decides.
    if target.uuid_of(target.table) != entry.stage:
        target.store.run(sql.exchange(target.name, target.store.name(stage), target.definition.cluster))
        faults.reach("commit_sent")
    faults.reach("after_commit")
    if target.uuid_of(target.table) != entry.stage:
        raise CommitUnknown(f"{target.table}: clickhouse does not show the new table yet; run the load again")
    _dress(target)


def _dress(target: Target) -> None:
    # What the staged table could not have: a TTL, which could drop rows before they are counted, and hidden columns
    # that take part in an insert.
    flags = [column for column in target.definition.columns if column.hidden and column.name != LOAD]
    if flags:
        target.store.run(sql.hide_columns(target.name, flags))
    if target.definition.ttl:
        target.store.run(sql.change_ttl(target.name, target.definition.ttl))


def _copy(target: Target, stage: str, statement: str) -> None:
    try:
        target.store.run(statement)
    except Exception as error:
        if not has_code(error, DIFFERENT_COLUMNS):
            raise
        schema.align(target, stage)
        target.store.run(statement)
    faults.reach("commit_sent")


def _expect(target: Target, wanted: int, seen: int) -> None:
    if wanted != seen:
        raise CommitUnknown(
            f"{target.table}: clickhouse shows {seen} rows of the load where {wanted} are due; run the load again"
        )


def _upsert_changes(target: Target, plan: LoadPlan, stage: str) -> Changes:
    if _count(target, target.name) == 0:
        return Changes(inserted=plan.rows)
    absent, newer, same, older = _versions(target, stage)
    identical = _identical(target, stage) if same else 0
    return Changes(inserted=absent, updated=newer + same - identical, unchanged=identical + older)


def _versions(target: Target, stage: str) -> tuple[int, int, int, int]:
    contract = target.contract
    assert contract.version_by is not None  # `definition.define` refuses ReplacingMergeTree without it
    query = sql.compare_versions(target.name, target.store.name(stage), contract.key, contract.version_by)
    absent, newer, same, older = target.store.rows(query)[0]
    return int(absent), int(newer), int(same), int(older)


def _identical(target: Target, stage: str) -> int:
    columns = [column.name for column in target.definition.columns if column.name != LOAD]
    query = sql.count_identical(target.name, target.store.name(stage), target.contract.key, columns)
    return int(target.store.rows(query)[0][0])


def _count(target: Target, name: str) -> int:
    return int(target.store.rows(f"SELECT count() FROM {name}")[0][0])
