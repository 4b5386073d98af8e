"""Which refused rows a new set settles: their key has come, their newer state was refused, or their day was read anew.

A row that is settled is refused no more. When the source breaks it again, in the very same way, that is news.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..contracts import TableContract
from ..errors import SourceInvalid
from .conforming import Conforming
from .leaving_out import appends, identity
from .manifest import Manifest, Spans
from .newest_first import Log
from .quarantining import Address, Numbers, numbers_of, open_rows, refused_values, spans
from .refusals import Origin, RefusedRow
from .uniqueness import ROWS_PER_BATCH, open_duckdb, plain_storage, storage_type
from .windows import keys_of

Place = tuple[int, int]


def settled_by(
    contract: TableContract,
    address: Address,
    manifests: Sequence[Manifest],
    files: Sequence[Path],
    news: Sequence[RefusedRow],
    standing: Spans,
    days: frozenset[date],
) -> Spans:
    """Return the rows of older quarantines that a set settles.

    Args:
        contract: The table's contract, by which keys and days are read. A row whose key does not fit has none.
        address: Returns where an object of the staging area is.
        manifests: The table's published sets.
        files: The parts of the set.
        news: Its newly refused rows: each is the newest state of its key.
        standing: Rows of older quarantines that were refused again as they are, which nothing settles.
        days: The days of which the set holds all rows.
    """
    again = numbers_of(standing)
    still = {sequence: rows - again.get(sequence, set()) for sequence, rows in open_rows(manifests).items()}
    held = _Held(contract, address, manifests, still)
    found: Numbers = {}
    for sequence, number in [*held.met(files, news), *held.within(days)]:
        found.setdefault(sequence, set()).add(number)
    return spans(found)


class _Held:
    """Rows that are still refused, read again where their keys or days are asked for."""

    def __init__(
        self, contract: TableContract, address: Address, manifests: Sequence[Manifest], still: Numbers
    ) -> None:
        self._contract, self._address, self._log, self._still = contract, address, Log.of(manifests), still

    def met(self, files: Sequence[Path], news: Sequence[RefusedRow]) -> list[Place]:
        """Return the rows whose key the files hold, or a newly refused row has."""
        keys = _telling(self._contract)
        fitting = list(self._fitting(keys))
        if not fitting or not (files or news):
            return []
        places = [place for _, chosen in fitting for place in chosen]
        rows = _plain(keys, (batch for batch, _ in fitting)).append_column("place", pa.array(range(len(places))))
        same = " AND ".join(f"held.{name} IS NOT DISTINCT FROM come.{name}" for name in rows.schema.names[:-1])
        with closing(open_duckdb()) as database:
            database.register("held", rows)
            database.register("come", _come(keys, files, news))
            query = f"SELECT DISTINCT held.place FROM come JOIN held ON {same}"
            return [places[place] for (place,) in database.execute(query).fetchall()]

    def within(self, days: frozenset[date]) -> Iterator[Place]:
        """Yield the rows of some days."""
        name = self._contract.partition_by
        if not days or name is None:
            return
        only = _of_columns(self._contract, [name])
        for batch, places in self._fitting(only):
            found = batch.column(0).cast(pa.date32()).to_pylist()
            yield from (place for place, day in zip(places, found, strict=True) if day in days)

    def _fitting(self, contract: TableContract) -> Iterator[tuple[pa.RecordBatch, list[Place]]]:
        for sequence, numbers in sorted(self._still.items()):
            manifest = self._log.numbered(sequence) if numbers else None
            if manifest is not None:
                for held in refused_values(self._address, manifest, numbers, [*Origin]):
                    batch, rows = _conformed(contract, held.values, checked=held.checked)
                    yield batch, [(held.sequence, held.numbers[row]) for row in rows]


def _telling(contract: TableContract) -> TableContract:
    """Return the contract of the columns that tell rows apart: an append of versions lacks each that was refused."""
    return _of_columns(contract, identity(contract) if appends(contract) else contract.key)


def _of_columns(contract: TableContract, names: Sequence[str]) -> TableContract:
    return replace(keys_of(contract), columns=tuple(contract.column(name) for name in names))


def _conformed(contract: TableContract, values: pa.RecordBatch, *, checked: bool) -> tuple[pa.RecordBatch, list[int]]:
    """Return the rows of which the contract's columns fit, and their numbers."""
    try:
        conformed, bad = Conforming(contract, values.schema, checked=checked).batch(values)
    except SourceInvalid:  # a column is missing, or of another type: nothing can be said of any row
        return pa.RecordBatch.from_pylist([], schema=contract.arrow_schema), []
    return conformed, [row for row in range(values.num_rows) if row not in bad]


def _plain(keys: TableContract, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    plain = [_plain_batch(keys, batch) for batch in batches]
    return pa.Table.from_batches(plain, schema=_plain_schema(keys))


def _plain_schema(keys: TableContract) -> pa.Schema:
    # Names of our own: DuckDB takes names that differ only by case for one.
    fields = [(f"c{number}", storage_type(field.type)) for number, field in enumerate(keys.arrow_schema)]
    return pa.schema(fields)


def _plain_batch(keys: TableContract, batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [plain_storage(batch.column(name)) for name in keys.column_names]
    return pa.RecordBatch.from_arrays(arrays, schema=_plain_schema(keys))


def _come(keys: TableContract, files: Sequence[Path], news: Sequence[RefusedRow]) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with pq.ParquetFile(file) as source:
                for batch in source.iter_batches(ROWS_PER_BATCH, columns=list(keys.column_names)):
                    yield _plain_batch(keys, batch)
        for _, group in groupby(news, key=lambda row: id(row.held)):
            rows = [*group]
            chosen = rows[0].held.values.take(pa.array([row.index for row in rows], pa.int64()))
            yield _plain_batch(keys, _conformed(keys, chosen, checked=rows[0].held.checked)[0])

    return pa.RecordBatchReader.from_batches(_plain_schema(keys), batches())
