"""Leave rows out of a draft that earlier staged sets hold already.

A look-back reads rows again. Of an append, a key that was staged is never staged again; of an upsert, a row that is in
everything as it was staged last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ..api import StagedPart
from ..contracts import Column, Kind, Strategy, TableContract, holds_all, parse_type
from ..errors import Rejected
from ..storage import filesystem
from .uniqueness import Doubles, open_duckdb
from .windows import ZONES

_FILE, _ROW, _SEQUENCE = "_ownlens_file", "_ownlens_row", "_ownlens_sequence"


@dataclass(frozen=True, slots=True)
class KnownSet:
    """An earlier staged set whose rows may be read again; `columns` are those that its parts have, by name and type."""

    sequence: int
    parts: tuple[StagedPart, ...]
    columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class Repeated:
    """Rows of a draft to leave out, by file; `changed` of them differ from what was staged."""

    rows: Doubles
    changed: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))


def find_repeated(
    contract: TableContract, files: Sequence[Path], known: Sequence[KnownSet], start: datetime | None
) -> Repeated:
    """Return the rows of a draft that earlier sets hold.

    Args:
        contract: The table. Where a destination appends, a row of a known key (and version) is left out whatever else
            it holds; else a row that is as it was staged last.
        files: The draft's files, in the contract's schema, each key once.
        known: Sets that may hold some of the rows, oldest first.
        start: The cursor value that the draft's rows were looked for from; older staged rows are passed over.

    Raises:
        Rejected: a part of an earlier set is gone.
    """
    appended = appends(contract)
    usable = [each for each in known if each.parts and _is_usable(contract, each, appended=appended)]
    if not files or not usable:
        return Repeated({})
    return _found(contract, files, [_opened(contract, each) for each in usable], start, appended=appended)


@dataclass(frozen=True, slots=True)
class _OpenSet:
    known: KnownSet
    parts: list[ds.Dataset]


def _opened(contract: TableContract, known: KnownSet) -> _OpenSet:
    # Before DuckDB asks for rows: it would hide which file is missing.
    try:
        places = [filesystem(part.uri) for part in known.parts]
        return _OpenSet(known, [ds.dataset(path, format="parquet", filesystem=where) for where, path in places])
    except FileNotFoundError as error:
        raise Rejected(
            f"{contract.table}: a part of staged set {known.sequence} is gone, so rows could be staged twice; "
            "run it once with --full-refresh"
        ) from error


def appends(contract: TableContract) -> bool:
    """Tell whether some destination appends: then a row may be staged once only."""
    described = contract.describe()["destinations"]
    return any(options["strategy"] == Strategy.APPEND.value for options in described.values())


def identity(contract: TableContract) -> tuple[str, ...]:
    """Return the columns by which an append tells rows apart."""
    # An append of a table with versions keeps each of them.
    version = contract.version_by
    return contract.key if version is None or version in contract.key else (*contract.key, version)


def _is_usable(contract: TableContract, known: KnownSet, *, appended: bool) -> bool:
    return all(_is_comparable(contract.column(name), known) for name in identity(contract)) and (
        appended or _is_alike(contract, known)
    )


def _is_comparable(column: Column, known: KnownSet) -> bool:
    # Of a key that has changed otherwise since, the destinations refuse the new set anyway.
    return column.name in known.columns and holds_all(column.type, parse_type(known.columns[column.name])[0])


def _is_alike(contract: TableContract, known: KnownSet) -> bool:
    return all(known.columns.get(column.name) == str(column) for column in contract.columns)


def _found(
    contract: TableContract,
    files: Sequence[Path],
    known: Sequence[_OpenSet],
    start: datetime | None,
    *,
    appended: bool,
) -> Repeated:
    keys = _Names(contract, identity(contract) if appended else contract.key)
    with closing(open_duckdb()) as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("draft_keys", _draft(keys, files))
        database.execute("CREATE TEMP TABLE draft AS SELECT * FROM draft_keys")
        database.register("known_keys", _known(keys, known, start))
        database.execute(
            f"CREATE TEMP TABLE matched AS SELECT DISTINCT {keys.of('k')} FROM known_keys AS k "
            f"SEMI JOIN draft AS d ON {keys.same('k', 'd')}"
        )
        if not database.execute("SELECT 1 FROM matched LIMIT 1").fetchall():
            return Repeated({})
        names = _Names(contract, contract.column_names)
        alike = [each for each in known if _is_alike(contract, each.known)]
        database.register("known_rows", _known(names, alike, start))
        database.register("draft_rows", _draft(names, files))
        found = database.execute(_compared(keys, names)).fetchall()
    return _repeated(files, found, appended=appended)


def _repeated(files: Sequence[Path], found: Sequence[tuple[int, int, bool]], *, appended: bool) -> Repeated:
    rows: Doubles = {}
    for file, number, same in found:
        if appended or same:
            rows.setdefault(files[file], []).append(number)
    return Repeated(rows, sum(not same for *_, same in found) if appended else 0)


@dataclass(frozen=True)
class _Names:
    """Columns under names of our own: DuckDB takes names that differ only by case for one."""

    contract: TableContract
    columns: Sequence[str]

    @property
    def own(self) -> list[str]:
        return [f"c{self.contract.column_names.index(name)}" for name in self.columns]

    def of(self, alias: str) -> str:
        return ", ".join(f"{alias}.{name}" for name in self.own)

    def same(self, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{name} IS NOT DISTINCT FROM {other}.{name}" for name in self.own)

    @property
    def schema(self) -> pa.Schema:
        fields = [self.contract.arrow_schema.field(name) for name in self.columns]
        return pa.schema([pa.field(own, _plain_type(f.type)) for own, f in zip(self.own, fields, strict=True)])

    def plain(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [_plain(batch.column(name)) for name in self.columns]


def _compared(keys: _Names, names: _Names) -> str:
    newest = f"row_number() OVER (PARTITION BY {keys.of('k')} ORDER BY k.{_SEQUENCE} DESC) = 1"
    known = f"SELECT k.* FROM known_rows AS k SEMI JOIN matched AS m ON {keys.same('k', 'm')} QUALIFY {newest}"
    wanted = f"SELECT d.* FROM draft_rows AS d SEMI JOIN matched AS m ON {keys.same('d', 'm')}"
    return (
        f"SELECT d.{_FILE}, d.{_ROW}, k.{_SEQUENCE} IS NOT NULL AND {names.same('d', 'k')} "
        f"FROM ({wanted}) AS d LEFT JOIN ({known}) AS k ON {keys.same('d', 'k')}"
    )


def _draft(names: _Names, files: Sequence[Path]) -> pa.RecordBatchReader:
    schema = names.schema.append(pa.field(_FILE, pa.int32())).append(pa.field(_ROW, pa.int64()))
    return pa.RecordBatchReader.from_batches(schema, _draft_batches(names, files, schema))


def _draft_batches(names: _Names, files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for number, file in enumerate(files):
        start = 0
        for batch in ds.dataset(file, format="parquet").to_batches(columns=list(names.columns)):
            rows = np.arange(start, start + batch.num_rows)
            own = [pa.array(np.full(batch.num_rows, number), pa.int32()), pa.array(rows, pa.int64())]
            start += batch.num_rows
            yield pa.RecordBatch.from_arrays([*names.plain(batch), *own], schema=schema)


def _known(names: _Names, known: Sequence[_OpenSet], start: datetime | None) -> pa.RecordBatchReader:
    schema = names.schema.append(pa.field(_SEQUENCE, pa.int64()))
    batches = (batch for each in known for batch in _known_batches(names, each, start, schema))
    return pa.RecordBatchReader.from_batches(schema, batches)


def _known_batches(
    names: _Names, opened: _OpenSet, start: datetime | None, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    known = opened.known
    recent = _recent(names.contract, known, start)
    columns = {name: _cast(names.contract.column(name), known) for name in names.columns}
    for rows in opened.parts:
        for batch in rows.to_batches(columns=columns, filter=recent):
            sequence = pa.array(np.full(batch.num_rows, known.sequence), pa.int64())
            yield pa.RecordBatch.from_arrays([*names.plain(batch), sequence], schema=schema)


def _cast(column: Column, known: KnownSet) -> ds.Expression:
    there = ds.field(column.name)
    return there if known.columns[column.name].rstrip("?") == str(column.type) else there.cast(column.type.arrow)


def _recent(contract: TableContract, known: KnownSet, start: datetime | None) -> ds.Expression | None:
    """Return the condition on staged rows that could be read again; one without a cursor always can."""
    if start is None or not contract.cursor or any(name not in known.columns for name in contract.cursor):
        return None
    return reduce(or_, _terms(contract, start))


def _terms(contract: TableContract, start: datetime) -> Iterator[ds.Expression]:
    missing: ds.Expression | None = None
    for name in contract.cursor:
        here = ds.field(name) >= _bound(contract.column(name), start)
        yield here if missing is None else missing & here
        missing = ds.field(name).is_null() if missing is None else missing & ds.field(name).is_null()
    assert missing is not None
    yield missing


def _bound(column: Column, start: datetime) -> pa.Scalar:
    if column.type.kind is Kind.TIMESTAMPTZ:
        return pa.scalar(start, pa.timestamp("us", "UTC"))
    try:
        naive = (start - ZONES).replace(tzinfo=None)
    except OverflowError:
        naive = datetime.min
    return (
        pa.scalar(naive.date(), pa.date32()) if column.type.kind is Kind.DATE else pa.scalar(naive, pa.timestamp("us"))
    )


def _plain_type(given: pa.DataType) -> pa.DataType:
    if isinstance(given, pa.BaseExtensionType):
        return given.storage_type
    if pa.types.is_list(given):
        return pa.list_(_plain_type(given.value_type))
    return {pa.float32(): pa.int32(), pa.float64(): pa.int64()}.get(given, given)


def _plain(values: pa.Array) -> pa.Array:
    """Return values as what compares exactly: floats by their bits, as 0 and -0 are equal and yet not the same."""
    if isinstance(values.type, pa.BaseExtensionType):
        return values.storage
    if pa.types.is_list(values.type):
        if _plain_type(values.type) == values.type:
            return values
        sizes = pc.fill_null(pc.list_value_length(values), 0)
        ends = pc.cumulative_sum(sizes.cast(pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        return pa.ListArray.from_arrays(offsets, _plain(values.flatten()), mask=pc.is_null(values))
    return values.view(_plain_type(values.type)) if pa.types.is_floating(values.type) else values
