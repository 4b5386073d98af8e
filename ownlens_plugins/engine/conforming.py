"""Bring extracted rows to the contract's types: a value is kept exactly, or its row is set aside with the reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..contracts import Column, Kind, TableContract
from ..errors import SourceInvalid
from ..stopping import safe_point
from .casting import BAD_VALUE, Incompatible, caster
from .refusals import NULL_KEY, Origin, RefusedRow, Unfit, refused_rows
from .soundness import Damaged, unsound, without
from .sources.source import REFUSED_PREFIX, Extracted

# What the source could not give as a value, and which type of a contract keeps it.
_ODD = "array with a shifted lower bound, NaN, infinity or a negative zero, which JSON cannot hold"
_ODD_ARRAY = "array of several dimensions or with a shifted lower bound; json or text in the contract keeps it"
_MOST_BYTES = 256 << 20
Bad = defaultdict[int, list[str]]


@dataclass
class Conformed:
    """Iterates over conformed batches and collects the refused rows on the way."""

    contract: TableContract
    extracted: Extracted
    origin: Origin = Origin.SOURCE
    refused: list[RefusedRow] = field(default_factory=list)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches in the contract's schema; empty ones are left out.

        Raises:
            SourceInvalid: a column's type cannot become the contract's type without changing values, or its data
                contradicts itself.
            Stopped: the run is to stop.
        """
        conform = Conforming(self.contract, self.extracted.reader.schema, checked=self.extracted.checked)
        for batch in (piece for given in self.extracted.reader for piece in _pieces(given)):
            safe_point(self.contract.table, "staging")
            conformed, bad = conform.batch(batch)
            if bad:
                self.refused += refused_rows(batch, bad, self.origin, checked=self.extracted.checked)
            if conformed.num_rows:
                yield conformed


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    # One array of text holds 2 GiB, and a cast can make it longer.
    if batch.num_rows < 2 or batch.nbytes <= _MOST_BYTES:
        yield batch
        return
    middle = batch.num_rows // 2
    for half in (batch.slice(0, middle), batch.slice(middle)):
        # A dictionary is counted whole in each half, and no slice makes it smaller.
        yield from _pieces(half) if half.nbytes < batch.nbytes * 3 // 4 else [half]


class Conforming:
    """Conforms batches of one schema.

    Raises:
        SourceInvalid: no exact cast leads from columns to the contract's types; all of them are named.
    """

    def __init__(self, contract: TableContract, given: pa.Schema, *, checked: bool) -> None:
        self._schema = contract.arrow_schema
        check_names(contract, given)
        self._casters = _casters(contract, given, checked)

    def batch(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Bad]:
        """Return the rows that fit, and for each other row a reason for every column that does not."""
        bad: Bad = defaultdict(list)
        arrays = [cast.column(batch, bad) for cast in self._casters]
        conformed = pa.RecordBatch.from_arrays(arrays, schema=_all_nullable(self._schema))
        if bad:
            keep = [index for index in range(batch.num_rows) if index not in bad]
            conformed = conformed.take(pa.array(keep, pa.int64()))
        return pa.RecordBatch.from_arrays(conformed.columns, schema=self._schema), bad


def _all_nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def check_names(contract: TableContract, given: pa.Schema) -> None:
    """Refuse column names that Python cannot read.

    Raises:
        SourceInvalid: a name is not valid UTF-8.
    """
    try:
        _ = given.names
    except UnicodeDecodeError:
        raise unreadable_name(contract) from None


def unreadable_name(contract: TableContract) -> SourceInvalid:
    """Return the error for a column name that is no text."""
    return SourceInvalid(f"{contract.table}: a column's name is not valid UTF-8; rename it in the source")


class _Caster:
    """Casts one column of every batch and notes the rows whose value cannot be kept."""

    def __init__(self, contract: TableContract, column: Column, given: pa.Schema, checked: bool) -> None:
        self._table, self._column = contract.table, column
        self._index = given.get_field_index(column.name)
        if self._index < 0:
            raise SourceInvalid(f"{contract.table}: column {column.name!r} must arrive exactly once; add or rename it")
        self._refused = given.get_field_index(REFUSED_PREFIX + column.name)
        self._cast = caster_for(contract, column, given.field(self._index).type, checked)

    def column(self, batch: pa.RecordBatch, bad: Bad) -> pa.Array:
        array, wrong = self._converted(batch.column(self._index))
        for index in self._refused_rows(batch):
            wrong[index] = _ODD if self._column.type.kind is Kind.JSON else _ODD_ARRAY
        # Asked of the cast values: a dictionary can hold nulls that its indices do not show.
        if not self._column.nullable and array.null_count:
            for index in pc.indices_nonzero(pc.is_null(array)).to_pylist():
                wrong.setdefault(index, f"{NULL_KEY}, but the contract does not allow it")
        for index, reason in wrong.items():
            bad[index].append(f"{self._column.name}: {reason}")
        return array

    def _converted(self, values: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        # Before any cast: kernels read text as if it were UTF-8, and offsets as if they were right.
        try:
            wrong = unsound(values)
        except Damaged:
            raise SourceInvalid(
                f"{self._table}: the data of column {self._column.name!r} contradicts itself (offsets, indices or "
                "lengths); write the file or frame anew with a sound library"
            ) from None
        unfit: dict[int, str] = {}
        array = cast_bisecting(without(values, wrong), self._cast, self._column.type.arrow, unfit)
        return array, {
            index: reason or f"does not fit {self._column.type} exactly" for index, reason in unfit.items()
        } | wrong

    def _refused_rows(self, batch: pa.RecordBatch) -> list[int]:
        if self._refused < 0 or batch.column(self._refused).null_count == batch.num_rows:
            return []
        rows: list[int] = pc.indices_nonzero(pc.is_valid(batch.column(self._refused))).to_pylist()
        return rows


def _casters(contract: TableContract, given: pa.Schema, checked: bool) -> list[_Caster]:
    casters: list[_Caster] = []
    problems: list[str] = []
    for column in contract.columns:
        try:
            casters.append(_Caster(contract, column, given, checked))
        except SourceInvalid as error:
            problems.append(str(error).removeprefix(f"{contract.table}: "))
    if problems:
        raise SourceInvalid(f"{contract.table}: {'; '.join(problems)}")
    return casters


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
