"""In which files, and in which of their rows, the staged keys lie."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from ownlens_plugins.api import ROWS_PER_BATCH
from ownlens_plugins.contracts import Kind, TableContract

from .columns import by_name, key_schema
from .folder import TableFolder
from .lookup import BOUNDED, aliased_schema, keep, key_aliases
from .paths import Layout
from .streaming import Source

# Paths in the log are escaped, and may lie outside of the folder; those that need neither are read here.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.=-]+(?:/[A-Za-z0-9_.=-]+)*")


@dataclass(frozen=True)
class HeldFile:
    """A data file of the table; `partition` is its value as text, `ends` the least and greatest value of columns."""

    number: int
    path: str
    size: int
    partition: str | None
    ends: dict[str, tuple[Any, Any]]


def held_files(table: DeltaTable, layout: Layout | None) -> list[HeldFile] | None:
    """Return the files of this version; None when one of them cannot be read here."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not all(_PLAIN_PATH.fullmatch(path) for path in actions["path"].to_pylist()):
        return None
    names = [name.removeprefix("min.") for name in actions.column_names if name.startswith("min.")]
    shown = actions.to_pylist()
    files = []
    for number, row in enumerate(shown):
        value = None if layout is None else row[f"partition.{layout.column}"]
        ends = {name: (row[f"min.{name}"], row.get(f"max.{name}")) for name in names}
        files.append(HeldFile(number, row["path"], row["size_bytes"], None if value is None else str(value), ends))
    return files


def locate(
    database: duckdb.DuckDBPyConnection,
    folder: TableFolder,
    held: Sequence[HeldFile],
    contract: TableContract,
    staged: pa.Table,
    layout: Layout | None,
    partitions: Collection[str],
) -> list[HeldFile] | None:
    """Look the staged keys up, and keep `file`, `row` and `place` (the staged row) of each as the table `hits`.

    Returns:
        The files that hold some of them; None when a key is there, or staged, more than once.
    """
    look = _Look(database, folder, contract, layout)
    if not look.stage(staged):
        return None
    own = [file for file in held if layout is None or file.partition in partitions]
    look.scan("hits", look.admitting(own))
    if rest := [file for file in held if layout is not None and file.partition not in partitions]:
        # A key is in one place: those that were found are not looked for elsewhere. What remains is mostly new.
        look.leave_found()
        look.scan("beyond", look.admitting(rest))
        database.execute("INSERT INTO hits SELECT * FROM beyond")
    if look.number("SELECT count(*) FROM hits") != look.number("SELECT count(DISTINCT place) FROM hits"):
        return None
    hit = {number for (number,) in database.execute("SELECT DISTINCT file FROM hits").fetchall()}
    return [file for file in held if file.number in hit]


@dataclass
class _Look:
    database: duckdb.DuckDBPyConnection
    folder: TableFolder
    contract: TableContract
    layout: Layout | None

    @property
    def _keys(self) -> str:
        return ", ".join(key_aliases(self.contract))

    def stage(self, staged: pa.Table) -> bool:
        """Keep the staged keys with their places; tell whether each is there once."""
        keys = staged.select(list(self.contract.key)).rename_columns(key_aliases(self.contract))
        place = pa.array(range(staged.num_rows), pa.int64())
        self._keep("staged", f"SELECT {self._keys}, place FROM shown", keys.append_column("place", place).to_reader())
        distinct = self.number(f"SELECT count(*) FROM (SELECT DISTINCT {self._keys} FROM staged)")
        return bool(distinct == staged.num_rows)

    def leave_found(self) -> None:
        self.database.execute("DELETE FROM staged WHERE place IN (SELECT place FROM hits)")

    def admitting(self, files: Sequence[HeldFile]) -> list[HeldFile]:
        """Return the files whose least and greatest keys let one of the keys in that are looked for."""
        if not self.number("SELECT count(*) FROM staged"):
            return []
        for name, alias in zip(self.contract.key, key_aliases(self.contract), strict=True):
            kind = self.contract.column(name).type.kind
            if kind in BOUNDED:
                ((low, high),) = self.database.execute(f"SELECT min({alias}), max({alias}) FROM staged").fetchall()
                # Capitals sort below the small letters that staged uuids have.
                low = low.upper() if kind is Kind.UUID else low
                files = [file for file in files if _admits(file.ends.get(name), low, high)]
        return list(files)

    def scan(self, name: str, files: Sequence[HeldFile]) -> None:
        """Keep the rows of some files whose keys are staged."""
        schema = pa.schema([*aliased_schema(self.contract), ("file", pa.int32()), ("row", pa.int64())])
        source = Source(self._keys_of(files, schema))
        try:
            stream = pa.RecordBatchReader.from_batches(schema, source)
            self._keep(name, f"SELECT file, row, place FROM shown JOIN staged USING ({self._keys})", stream)
        except duckdb.Error as error:
            if source.error is not None:  # DuckDB hides the reason why its source ended
                raise source.error from error
            raise

    def _keys_of(self, files: Sequence[HeldFile], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = key_schema(self.contract)
        for file in files:
            first = 0
            for batch in read_file(self.folder, file, wanted, self.layout):
                count = batch.num_rows
                columns = [self._as_key(name, batch.column(name)) for name in wanted.names]
                number = pa.repeat(pa.scalar(file.number, pa.int32()), count)
                rows = pa.array(range(first, first + count), pa.int64())
                yield pa.RecordBatch.from_arrays([*columns, number, rows], schema=schema)
                first += count

    def _as_key(self, name: str, column: pa.Array) -> Any:
        return pc.utf8_lower(column) if self.contract.column(name).type.kind is Kind.UUID else column

    def number(self, query: str) -> int:
        # All of it: DuckDB 2 takes no other statement before a result is read to its end.
        ((number,),) = self.database.execute(query).fetchall()
        return int(number)

    def _keep(self, name: str, query: str, shown: pa.RecordBatchReader) -> None:
        keep(self.database, name, query, shown)


def _admits(ends: tuple[Any, Any] | None, low: Any, high: Any) -> bool:
    if ends is None or ends[0] is None or ends[1] is None:
        return True
    return bool(ends[0] <= high and ends[1] >= low)


def read_file(
    folder: TableFolder, file: HeldFile, schema: pa.Schema, layout: Layout | None
) -> Iterator[pa.RecordBatch]:
    """Stream some columns of a data file in given types; columns that it lacks are null, or its partition's value.

    Raises:
        FileNotFoundError: another program deleted the file; in the words of delta-rs.
    """
    try:
        source = folder.open_input(file.path)
    except FileNotFoundError:
        raise FileNotFoundError(f"Object at location {file.path} not found") from None
    with source, pq.ParquetFile(source) as parquet:
        there = set(parquet.schema_arrow.names)
        wanted = [name for name in schema.names if name in there]
        for batch in parquet.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted):
            columns = by_name(batch)
            arrays = [_column(columns.get(each.name), each, file, layout, batch.num_rows) for each in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(found: pa.Array | None, wanted: pa.Field, file: HeldFile, layout: Layout | None, rows: int) -> pa.Array:
    if found is not None:
        return found if found.type.equals(wanted.type) else found.cast(wanted.type)
    if layout is not None and wanted.name == layout.column and file.partition is not None:
        return pa.repeat(pa.scalar(file.partition).cast(wanted.type), rows)
    return pa.nulls(rows, wanted.type)
