"""Which rows of a batch belong to a window or to days, for sources that cannot be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from ...contracts import Column, Kind, TableContract
from ..conforming import cast_bisecting, caster_for

Mask = Callable[[pa.RecordBatch], pa.Array]
_HOURS_OF_A_CHANGE = 24


def window_mask(contract: TableContract, schema: pa.Schema, start: datetime) -> Mask:
    """Return what tells the rows whose cursor is at or above `start`, those without one among them.

    Raises:
        SourceInvalid: a cursor column of this schema cannot become the contract's type.
    """
    reads = [
        (_reader(contract, contract.column(name), schema), _bound(contract, name, start)) for name in contract.cursor
    ]

    def mask(batch: pa.RecordBatch) -> pa.Array:
        reached = [_reached(*read(batch), bound) for read, bound in reads]
        return pc.fill_null(pc.coalesce(*reached), True)

    return mask


def _reached(given: pa.Array, values: pa.Array, bound: pa.Scalar) -> pa.Array:
    # A value that is no moment goes to quarantine now, instead of being passed over for good.
    unfit = pc.and_(pc.is_valid(given), pc.is_null(values))
    return pc.if_else(unfit, True, pc.greater_equal(values, bound))


def _reader(
    contract: TableContract, column: Column, schema: pa.Schema
) -> Callable[[pa.RecordBatch], tuple[pa.Array, pa.Array]]:
    cast = caster_for(contract, column, schema.field(column.name).type, checked=False)

    def read(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        given = batch.column(column.name)
        return given, cast_bisecting(given, cast, column.type.arrow, {})

    return read


def _bound(contract: TableContract, name: str, start: datetime) -> pa.Scalar:
    kind = contract.column(name).type.kind
    if kind is Kind.TIMESTAMPTZ:
        return pa.scalar(start, pa.timestamp("us", tz="UTC"))
    local = _earliest_local(start, ZoneInfo(contract.cursor_zone) if contract.cursor_zone else UTC)
    return pa.scalar(local, pa.timestamp("us")) if kind is Kind.TIMESTAMP else pa.scalar(local.date(), pa.date32())


def _earliest_local(start: datetime, zone: tzinfo) -> datetime:
    """Return the earliest time that clocks of a zone show at or after a moment."""
    # When clocks are set back, later rows carry earlier times. Too many rows are told apart by key; too few are lost.
    later = (start + timedelta(hours=hours) for hours in range(_HOURS_OF_A_CHANGE + 1))
    offset = min(moment.astimezone(zone).utcoffset() or timedelta(0) for moment in later)
    return start.astimezone(UTC).replace(tzinfo=None) + offset


class Days:
    """The days of a batch's rows by `partition_by`; null where a row has none."""

    def __init__(self, contract: TableContract, schema: pa.Schema) -> None:
        self._read = _reader(contract, contract.column(contract.partition_by or ""), schema)

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the day of each row, in UTC."""
        _, values = self._read(batch)
        return values.cast(pa.date32(), safe=False)

    def mask(self, batch: pa.RecordBatch, days: Iterable[date]) -> pa.Array:
        """Tell which rows lie in one of the days, or in none: these go to quarantine, instead of being lost."""
        own = self.of(batch)
        return pc.or_(pc.is_in(own, pa.array(days, pa.date32())), pc.is_null(own))
