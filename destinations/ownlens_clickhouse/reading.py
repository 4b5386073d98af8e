"""Read a table's visible rows as Arrow, in contract types."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from ownlens_plugins.contracts import Column, Kind, TableContract
from ownlens_plugins.powers import SliceCounts

from . import sql
from .columns import UuidAs, is_uuid, needs_flag, restore, without_flagged
from .definition import flag
from .failures import reported
from .shape import unquoted
from .target import Target

# A moment by days, as ClickHouse spells it; at least so many days.
_DAYS = re.compile(r"(`(?:[^`\\]|\\.)*`|\w+) \+ toInterval(Day|Week|Month|Year)\((\d+)\)")
_LENGTHS = {"Day": 1, "Week": 7, "Month": 28, "Year": 365}


def read(target: Target, *, uuid_as: UuidAs) -> pa.RecordBatchReader:
    """Stream the rows, newest versions only; none when the table does not exist."""
    return pa.RecordBatchReader.from_batches(target.contract.arrow_schema, _batches(target, uuid_as))


def count(target: Target, *, where: str | None) -> SliceCounts:
    """Count the visible rows and their keys; none when the table does not exist."""
    if target.uuid_of(target.table) is None:
        return SliceCounts(0, 0)
    rows, keys = target.store.rows(_counting(target, where))[0]
    return SliceCounts(int(rows), int(keys))


def days_kept(target: Target) -> int | None:
    """Return how many days a TTL of the table's owner keeps, today being the first; None without one.

    No day is kept for certain, 0 and tomorrow's, by a TTL that looks at anything but the day.
    """
    kept = [_days(moment, target.contract.partition_by) for moment in target.moments()]
    return min(kept) if kept else None


def _days(moment: str, column: str | None) -> int:
    found = _DAYS.fullmatch(moment)
    if found is None or column is None or unquoted(found[1]) != column:
        return 0
    return int(found[3]) * _LENGTHS[found[2]]


def _counting(target: Target, where: str | None) -> str:
    source = f"FROM {target.name}{_visible(target, where)}"
    if target.definition.merges_rows:  # one row a key
        return f"SELECT count() AS n, n {source}{_one_row_a_key(target)}"
    # Keys that lie in the table's order are counted as they are read, and others spill to disk.
    return (
        f"SELECT sum(n), count() FROM (SELECT count() AS n {source} GROUP BY {sql.identifiers(target.contract.key)}) "
        "SETTINGS optimize_aggregation_in_order = 1, max_bytes_before_external_group_by = 500000000"
    )


def _visible(target: Target, where: str | None) -> str:
    final = " FINAL" if target.definition.merges_rows else ""
    return f"{final} WHERE {where}" if where else final


def _one_row_a_key(target: Target) -> str:
    # Also for readers whose profile says that partitions are merged apart from one another.
    return " SETTINGS do_not_merge_across_partitions_select_final = 0" if target.definition.merges_rows else ""


def view(target: Target, *, where: str | None) -> str:
    """Select what a view shows to a validation: the contract's columns, and which of its arrays are NULL."""
    return f"{select(target, where=where, flags=True)}{_one_row_a_key(target)}"


def select(target: Target, *, uuid_as: UuidAs = "uuid", flags: bool = False, where: str | None = None) -> str:
    """Select the contract's columns; with the hidden columns that say where an array is NULL, if asked."""
    columns = [_expression(column, uuid_as) for column in target.contract.columns]
    if flags:
        columns += [sql.identifier(flag(column.name)) for column in target.contract.columns if needs_flag(column)]
    return f"SELECT {', '.join(columns)} FROM {target.name}{_visible(target, where)}"


def _expression(column: Column, uuid_as: UuidAs) -> str:
    name = sql.identifier(column.name)
    if uuid_as == "uuid" or not is_uuid(column):
        return name
    # Aliased to another name, since an alias that hides its own column would be expanded twice.
    return f"arrayMap(x -> toUUID(x), {name})" if column.type.kind is Kind.ARRAY else f"toUUID({name})"


def _batches(target: Target, uuid_as: UuidAs) -> Iterator[pa.RecordBatch]:
    with reported(target.store.config, target.table):
        if target.uuid_of(target.table) is None:
            return
        for batch in target.store.arrow(select(target, uuid_as=uuid_as, flags=True)):
            yield _restored(batch, target.contract)


def _restored(batch: pa.RecordBatch, contract: TableContract) -> pa.RecordBatch:
    flags = iter(batch.columns[len(contract.columns) :])
    arrays = []
    for column, array in zip(contract.columns, batch.columns, strict=False):
        restored = restore(array, column.type.arrow)
        arrays.append(without_flagged(restored, next(flags)) if needs_flag(column) else restored)
    return pa.RecordBatch.from_arrays(arrays, schema=contract.arrow_schema)
