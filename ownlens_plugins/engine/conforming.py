"""Bring extracted rows to the contract's types: a value is kept exactly, or its row is set aside with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..contracts import Column, TableContract
from ..errors import SourceInvalid
from .casting import BAD_VALUE, Incompatible, caster
from .sources.source import REFUSED_PREFIX, Extracted

MAX_RAW_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that breaks the contract: why, and its values as JSON text (cut at 10,000 characters)."""

    reason: str
    row: str


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
        """
        casters = [_Caster(self.contract, column, self.extracted) for column in self.contract.columns]
        for batch in self.extracted.reader:
            conformed = self._conform(batch, casters)
            if conformed.num_rows:
                yield conformed

    def _conform(self, batch: pa.RecordBatch, casters: list[_Caster]) -> pa.RecordBatch:
        bad: dict[int, str] = {}
        arrays = [cast.column(batch, bad) for cast in casters]
        conformed = pa.RecordBatch.from_arrays(arrays, schema=_all_nullable(self.contract.arrow_schema))
        if bad:
            self.refused.extend(RefusedRow(bad[index], _raw(batch, index)) for index in sorted(bad))
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
        self._refused = schema.get_field_index(REFUSED_PREFIX + column.name)
        self._cast = _caster_for(contract, column, schema.field(self._index).type, extracted.checked)

    def column(self, batch: pa.RecordBatch, bad: dict[int, str]) -> pa.Array:
        values = batch.column(self._index)
        wrong: dict[int, str] = {}
        array = cast_bisecting(values, self._cast, self._column.type.arrow, wrong)
        for index, reason in wrong.items():
            bad.setdefault(index, f"{self._column.name}: {reason}")
        self._note(self._refused_rows(batch), "array of several dimensions or with a shifted lower bound", bad)
        if not self._column.nullable and values.null_count:
            self._note(pc.is_null(values), "is null, but the contract does not allow it", bad)
        return array

    def _refused_rows(self, batch: pa.RecordBatch) -> pa.Array | None:
        return None if self._refused < 0 else batch.column(self._refused)

    def _note(self, mask: pa.Array | None, reason: str, bad: dict[int, str]) -> None:
        if mask is None or not pc.any(mask).as_py():
            return
        for index in pc.indices_nonzero(mask).to_pylist():
            bad.setdefault(index, f"{self._column.name}: {reason}")


def _caster_for(
    contract: TableContract, column: Column, given: pa.DataType, checked: bool
) -> Callable[[pa.Array], pa.Array]:
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
    """Cast an array; values that cannot be cast become null and are noted by index in `wrong`.

    Splitting in halves costs log2(n) casts for each bad value, and one cast when all are good.
    """
    try:
        return cast(values)
    except BAD_VALUE as error:
        if len(values) <= 1:
            wrong[offset] = _one_line(error)
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


def _one_line(error: BaseException) -> str:
    # Arrow quotes the value in its message; the row itself stands beside the reason, so the reason stays short.
    text = str(error) if isinstance(error, ValueError) and not isinstance(error, pa.ArrowInvalid) else ""
    return text or "value does not fit the contract's type"


def _raw(batch: pa.RecordBatch, index: int) -> str:
    row = batch.slice(index, 1).to_pylist()[0]
    shown = {name: value for name, value in row.items() if not name.startswith(REFUSED_PREFIX)}
    return json.dumps(shown, default=_plain, ensure_ascii=False)[:MAX_RAW_CHARACTERS]


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
