"""Values and names that do not come back as they were."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from ...api import LoadPlan, LoadResult, LoadSession
from ..reference import ReferenceDestination, ReferenceSession, ReferenceWriter, encoded

_LARGE = 10**20


class FoldsTableNames(ReferenceDestination):
    """Takes two names that differ by case for one table."""

    def open(self, plan: LoadPlan) -> LoadSession:
        return super().open(_folded(plan))

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        return super().read(_folded(plan))

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        return super().find_commit(_folded(plan))


def _folded(plan: LoadPlan) -> LoadPlan:
    return replace(plan, contract=replace(plan.contract, table=plan.table.lower()))


class _ReadsOddly(ReferenceDestination):
    def decoded(self, plan: LoadPlan, rows: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        for batch in super().decoded(plan, rows):
            columns = [self.changed(field, array) for field, array in zip(batch.schema, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    @abstractmethod
    def changed(self, field: pa.Field, array: pa.Array) -> pa.Array:
        """Return what a reader gets instead of an array."""


class FoldsColumnNames(ReferenceDestination):
    """Gives two columns whose names differ by case the same values."""

    def decoded(self, plan: LoadPlan, rows: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        for batch in super().decoded(plan, rows):
            by_name = {name.lower(): array for name, array in zip(batch.schema.names, batch.columns, strict=True)}
            columns = [by_name[name.lower()] for name in batch.schema.names]
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class LosesWideColumns(ReferenceDestination):
    """Keeps the first 250 columns."""

    def decoded(self, plan: LoadPlan, rows: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        for batch in super().decoded(plan, rows):
            wide = plan.table.startswith("samples")
            columns = [
                pa.nulls(1, array.type) if wide and place >= 250 else array for place, array in enumerate(batch.columns)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class RoundsDecimals(_ReadsOddly):
    """Holds decimals as binary floating point."""

    def changed(self, field: pa.Field, array: pa.Array) -> pa.Array:
        if not pa.types.is_decimal(field.type):
            return array
        rounded = [_through_float(value, field.type.scale) for value in array.to_pylist()]
        return pa.array(rounded, field.type)


def _through_float(value: Decimal | None, scale: int) -> Decimal | None:
    if value is None or abs(value) >= _LARGE:
        return value
    return Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-scale))


class TurnsNullIntoEmpty(_ReadsOddly):
    """Cannot tell a missing text from an empty one."""

    def changed(self, field: pa.Field, array: pa.Array) -> pa.Array:
        return pc.fill_null(array, "") if pa.types.is_string(field.type) and field.name != "title" else array


@dataclass(frozen=True)
class _TrimmingWriter(ReferenceWriter):
    def encode(self, batch: pa.RecordBatch) -> Iterable[bytes]:
        columns = [
            pc.if_else(pc.is_nan(array), None, array) if pa.types.is_floating(array.type) else array
            for array in batch.columns
        ]
        return encoded(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))


class _TrimmingSession(ReferenceSession):
    writer_type = _TrimmingWriter


class LosesNaN(ReferenceDestination):
    """Writes a number that is none as null."""

    session_type = _TrimmingSession

    def decoded(self, plan: LoadPlan, rows: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        for batch in super().decoded(plan, rows):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=plan.schema)
