"""Staged parts as ClickHouse can take them: checked against the contract, and rewritten only where it must be."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ownlens_plugins.api import StagedPart, aligned
from ownlens_plugins.contracts import Column, TableContract
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.object_store import reading_part
from ownlens_plugins.storage import filesystem, is_s3

from .columns import UuidAs, is_uuid
from .definition import flag, flagged


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Parquet file, the columns to insert from it, and the rows that it holds."""

    file: BinaryIO
    columns: tuple[str, ...]
    rows: int


@contextmanager
def prepared(part: StagedPart, contract: TableContract, *, uuid_as: UuidAs) -> Iterator[Prepared]:
    """Open a part for inserting.

    The staged bytes are sent as they are, unless a list is NULL, which ClickHouse would take for an empty list, UUIDs
    are to be kept as text, the contract has widened a number since (ClickHouse's own conversions are not all exact), or
    the set is older than a column: that is NULL, whatever default the table has.

    Raises:
        Rejected: the part has not the contract's columns and types, which ClickHouse would convert without a word, or
            it is gone.
        Retryable: it cannot be read now.
    """
    with _readable(part, contract):
        schema, rows = _inside(part)
        present = _present(schema, contract)
        rewritten = len(present) < len(contract.columns) or _has_null_lists(part, contract, present)
    as_text = uuid_as == "string" and any(is_uuid(column) for column in present)
    if as_text or rewritten or _is_older(schema, present):
        with _rewritten(part, contract, present, as_text=as_text) as file:
            yield Prepared(file, (*contract.column_names, *map(flag, flagged(contract))), rows)
        return
    where, path = filesystem(part.uri)
    with where.open_input_file(path) as source:
        yield Prepared(cast(BinaryIO, source), tuple(column.name for column in present), rows)


@contextmanager
def _readable(part: StagedPart, contract: TableContract) -> Iterator[None]:
    try:
        with reading_part(part.uri) if is_s3(part.uri) else nullcontext():
            yield
    except (FileNotFoundError, pa.ArrowInvalid):
        raise Rejected(
            f"{contract.table}: staged part {part.part_id} is missing or damaged; load it with --full-refresh"
        ) from None
    except OSError as error:
        raise Retryable(
            f"{contract.table}: staged part {part.part_id} cannot be read now ({type(error).__name__}); run it again"
        ) from error


def _inside(part: StagedPart) -> tuple[pa.Schema, int]:
    where, path = filesystem(part.uri)
    with where.open_input_file(path) as source, pq.ParquetFile(source) as file:
        return file.schema_arrow, int(file.metadata.num_rows)


def _present(schema: pa.Schema, contract: TableContract) -> list[Column]:
    here = set(schema.names)
    present = [column for column in contract.columns if column.name in here]
    for column in contract.columns:
        if column.name not in here and not column.nullable:
            raise Rejected(f"{contract.table}: a staged part lacks column {column.name!r}; load it with --full-refresh")
    for column in present:
        staged, wanted = schema.field(column.name).type, column.type.arrow
        if not (_same(staged, wanted) or _may_be_wider(staged, wanted)):
            raise Rejected(
                f"{contract.table}: a staged part has not {column.name!r} as {column.type}; load it with --full-refresh"
            )
    return present


def _same(staged: pa.DataType, wanted: pa.DataType) -> bool:
    staged, wanted = _storage(staged), _storage(wanted)
    if pa.types.is_list(wanted):
        return pa.types.is_list(staged) and _same(staged.value_type, wanted.value_type)
    return bool(staged == wanted)


def _is_older(schema: pa.Schema, present: Sequence[Column]) -> bool:
    return not all(_same(schema.field(column.name).type, column.type.arrow) for column in present)


def _may_be_wider(staged: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether a cast that checks each value can bring staged numbers into the contract's type."""
    if pa.types.is_list(wanted):
        return pa.types.is_list(staged) and _may_be_wider(staged.value_type, wanted.value_type)
    return _is_number(staged) and _is_number(wanted)


def _is_number(data_type: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(data_type) for is_kind in kinds)


def _storage(data_type: pa.DataType) -> pa.DataType:
    return data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type


def _has_null_lists(part: StagedPart, contract: TableContract, present: Sequence[Column]) -> bool:
    names = flagged(contract)
    here = [column.name for column in present if column.name in names]
    if len(here) < len(names):
        return True
    return bool(here) and any(column.null_count for batch in part.read(here) for column in batch.columns)


@contextmanager
def _rewritten(
    part: StagedPart, contract: TableContract, present: Sequence[Column], *, as_text: bool
) -> Iterator[BinaryIO]:
    names = [column.name for column in present]
    with tempfile.TemporaryFile(prefix="ownlens-") as file:
        writer: pq.ParquetWriter | None = None
        schema = pa.schema([contract.column(name).field for name in names])
        for batch in part.read(names):
            adapted = _adapted(_fitting(batch, schema, contract), contract, as_text=as_text)
            writer = writer or pq.ParquetWriter(file, adapted.schema, compression="lz4")
            writer.write_batch(adapted)
        if writer is not None:
            writer.close()
        file.seek(0)
        yield cast(BinaryIO, file)


def _fitting(batch: pa.RecordBatch, schema: pa.Schema, contract: TableContract) -> pa.RecordBatch:
    try:
        return aligned(batch, schema)
    except pa.ArrowInvalid:
        unfit = [field.name for field in schema if not _casts(batch.column(field.name), field.type)]
        names = ", ".join(map(repr, unfit))
        raise Rejected(
            f"{contract.table}: a staged part holds values of {names} that the contract's types do not; "
            "load it with --full-refresh"
        ) from None


def _casts(array: pa.Array, wanted: pa.DataType) -> bool:
    try:
        array.cast(wanted)
    except pa.ArrowInvalid:
        return False
    return True


def _adapted(batch: pa.RecordBatch, contract: TableContract, *, as_text: bool) -> pa.RecordBatch:
    columns: dict[str, Any] = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        columns[name] = uuid_text(array) if as_text and is_uuid(contract.column(name)) else array
    for column in contract.columns:
        if column.name not in columns:
            columns[column.name] = pa.nulls(batch.num_rows, column.type.arrow)
    for name in flagged(contract):
        columns[flag(name)] = columns[name].is_null()
    return pa.RecordBatch.from_pydict(columns)


def uuid_text(array: pa.Array) -> pa.Array:
    """Return UUIDs, or lists of them, as text."""
    if pa.types.is_list(array.type):
        flat = pa.ListArray.from_arrays(array.offsets, uuid_text(array.values), mask=array.is_null())
        return flat
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in storage.to_pylist()])
