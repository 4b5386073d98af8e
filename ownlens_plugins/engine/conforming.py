"""Bring extracted rows to the contract's types: a value is kept exactly, or its row is set aside with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..contracts import Column, TableContract
from ..errors import SourceInvalid
from ..stopping import safe_point
from .casting import BAD_VALUE, Incompatible, caster
from .refusals import RefusedRow, Unfit, raw_row
from .sources.source import REFUSED_PREFIX, Extracted


@dataclass
class Conformed:
    """Iterates over conformed batches and collects the refused rows on the way."""

    contract: TableContract
    extracted: Extracted
    refused: list[RefusedRow] = field(default_factory=list)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches in the contract's schema; empty ones are left out.

        Raises:
            SourceInvalid: a column's type cannot become the contract's type without changing values.
            Stopped: the run is to stop.
        """
        casters = [_Caster(self.contract, column, self.extracted) for column in self.contract.columns]
        for batch in self.extracted.reader:
            safe_point(self.contract.table, "staging")
            conformed = self._conform(batch, casters)
            if conformed.num_rows:
                yield conformed

    def _conform(self, batch: pa.RecordBatch, casters: list[_Caster]) -> pa.RecordBatch:
        bad: dict[int, str] = {}
        arrays = [cast.column(batch, bad) for cast in casters]
        conformed = pa.RecordBatch.from_arrays(arrays, schema=_all_nullable(self.contract.arrow_schema))
        if bad:
            self.refused.extend(RefusedRow(bad[index], raw_row(batch, index)) for index in sorted(bad))
            keep = [index for index in range(batch.num_rows) if index not in bad]
            conformed = conformed.take(pa.array(keep, pa.int64()))
        return pa.RecordBatch.from_arrays(conformed.columns, schema=self.contract.arrow_schema)


def _all_nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


class _Caster:
    """Casts one column of every batch and notes the rows whose value cannot be kept."""

    def __init__(self, contract: TableContract, column: Column, extracted: Extracted) -> None:
        self._column = column
        schema = extracted.reader.schema
        self._index = schema.get_field_index(column.name)
        if self._index < 0:
            raise SourceInvalid(f"{contract.table}: column {column.name!r} must arrive exactly once; add or rename it")
        self._refused = schema.get_field_index(REFUSED_PREFIX + column.name)
        self._cast = caster_for(contract, column, schema.field(self._index).type, extracted.checked)

    def column(self, batch: pa.RecordBatch, bad: dict[int, str]) -> pa.Array:
        values = batch.column(self._index)
        wrong: dict[int, str] = {}
        array = cast_bisecting(values, self._cast, self._column.type.arrow, wrong)
        for index, reason in wrong.items():
            bad.setdefault(index, f"{self._column.name}: {reason or f'does not fit {self._column.type} exactly'}")
        self._note(self._refused_rows(batch), "array of several dimensions or with a shifted lower bound", bad)
        # Asked of the cast values: a dictionary can hold nulls that its indices do not show.
        if not self._column.nullable and array.null_count:
            self._note(pc.is_null(array), "is null, but the contract does not allow it", bad)
        return array

    def _refused_rows(self, batch: pa.RecordBatch) -> pa.Array | None:
        return None if self._refused < 0 else batch.column(self._refused)

    def _note(self, mask: pa.Array | None, reason: str, bad: dict[int, str]) -> None:
        if mask is None or not pc.any(mask).as_py():
            return
        for index in pc.indices_nonzero(mask).to_pylist():
            bad.setdefault(index, f"{self._column.name}: {reason}")


def caster_for(
    contract: TableContract, column: Column, given: pa.DataType, checked: bool
) -> Callable[[pa.Array], pa.Array]:
    """Return the cast for one column of a table.

    Raises:
        SourceInvalid: no exact cast leads from `given` to the column's type.
    """
    try:
        return caster(column.type, given, checked=checked)
    except Incompatible as error:
        raise SourceInvalid(
            f"{contract.table}: column {column.name!r} arrives as {given}, which {column.type} cannot take without "
            f"changing values; {error}"
        ) from None


def cast_bisecting(
    values: pa.Array, cast: Callable[[pa.Array], pa.Array], wanted: pa.DataType, wrong: dict[int, str], offset: int = 0
) -> pa.Array:
    """Cast an array; values that cannot be cast become null and are noted by index in `wrong`, with a reason if known.

    Splitting in halves costs log2(n) casts for each bad value, and one cast when all are good.
    """
    try:
        return cast(values)
    except BAD_VALUE as error:
        if len(values) <= 1:
            wrong[offset] = _reason(error)
            return pa.nulls(len(values), wanted)
    middle = len(values) // 2
    left = cast_bisecting(values.slice(0, middle), cast, wanted, wrong, offset)
    right = cast_bisecting(values.slice(middle), cast, wanted, wrong, offset + middle)
    return _joined(left, right, wanted)


def _joined(left: pa.Array, right: pa.Array, wanted: pa.DataType) -> pa.Array:
    if isinstance(wanted, pa.BaseExtensionType):
        storage = pa.concat_arrays([left.storage, right.storage])
        return pa.ExtensionArray.from_storage(wanted, storage)
    return pa.concat_arrays([left, right])


def _reason(error: BaseException) -> str:
    # Other errors quote the value; the row stands beside the reason, and reasons may reach logs.
    return str(error) if isinstance(error, Unfit) else ""
