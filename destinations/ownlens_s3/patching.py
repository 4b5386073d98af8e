"""A merge that writes anew only the files in which rows change, at a cost that is linear in rows and columns.

delta-rs's own merge plans one expression a column and a branch, and its time grows with the square of the columns. It
stays in use where it knows more than this one: constraints, mapped names, deletion vectors, change feeds, deletes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from ownlens_plugins.api import ROWS_PER_BATCH, LoadPlan

from .columns import by_name
from .comparing import differing
from .config import S3Options
from .datafiles import DataFile, FileKind, PartitionedFiles
from .folder import TableFolder
from .foreign import is_guarded, is_mapped
from .ledger import Attempt
from .locating import HeldFile, held_files, locate, read_file
from .lookup import scratch
from .paths import Layout
from .streaming import staged_batches
from .widening import namer

# Staged rows are held in memory up to this; larger sets are merged by delta-rs.
STAGED_BYTES = 256 * 1024 * 1024
# Rows of a file that are held back until one of them is seen to change.
_HELD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Patched:
    """New files, the files that they replace, and how many staged rows were new, changed something, or did not."""

    files: list[DataFile]
    removed: list[HeldFile]
    inserted: int
    updated: int
    unchanged: int


def can_patch(table: DeltaTable, plan: LoadPlan) -> bool:
    """Tell whether nothing asks for delta-rs's own merge."""
    feeds = table.metadata().configuration.get("delta.enableChangeDataFeed") == "true"
    return plan.covers is None and is_readable(table) and not (feeds or is_guarded(table))


def is_readable(table: DeltaTable) -> bool:
    """Tell whether the rows of the table are those of its files, under the names that the table has."""
    return "deletionVectors" not in (table.protocol().reader_features or ()) and not is_mapped(table)


def patch(
    table: DeltaTable,
    plan: LoadPlan,
    options: S3Options,
    layout: Layout | None,
    schema: pa.Schema,
    folder: TableFolder,
    marker: Attempt,
    partitions: Sequence[str],
    written: set[str],
) -> Patched | None:
    """Write the files that an upsert makes of this very version of the table; nothing refers to them yet.

    `schema` is that of the staged rows with a derived partition column, `partitions` are theirs. `written` gets
    the paths of new files before they are begun.

    Returns:
        None when delta-rs has to merge: too many rows to hold, or several rows of one key.
    """
    held = held_files(table, layout)
    staged = _staged(plan, layout, schema)
    if held is None or staged is None:
        return None
    with scratch() as database:
        found = locate(database, folder, held, plan.contract, staged, layout, partitions)
        if found is None:
            return None
        patching = _Patching(database, table, plan, options, layout, folder, marker, staged, written)
        return patching.run(found)


def _staged(plan: LoadPlan, layout: Layout | None, schema: pa.Schema) -> pa.Table | None:
    batches, size = [], 0
    for batch in staged_batches(plan, layout, schema):
        batches.append(batch)
        size += batch.nbytes
        if size > STAGED_BYTES:
            return None
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


@dataclass
class _Patching:
    database: duckdb.DuckDBPyConnection
    table: DeltaTable
    plan: LoadPlan
    options: S3Options
    layout: Layout | None
    folder: TableFolder
    marker: Attempt
    staged: pa.Table
    written: set[str]
    removed: list[HeldFile] = field(default_factory=list)
    updated: int = 0
    matched: int = 0

    def run(self, found: Sequence[HeldFile]) -> Patched:
        """Write all files anew in which a row changes, then the new rows."""
        self._all = pa.schema(self.table.schema().to_arrow())
        in_files = [each for each in self._all if self.layout is None or each.name != self.layout.column]
        self._kind = FileKind(self.options.format, self.options.compression, (), pa.schema(in_files))
        name = namer("merged", self.marker, self._kind, self.layout)

        def noted(partition: str | None, index: int) -> str:
            path = name(partition, index)
            self.written.add(path)
            return path

        self._files = PartitionedFiles(self.folder, self._kind, self.layout, noted)
        try:
            for file in found:
                self._rewrite(file)
            self._insert()
            written = self._files.finish()
        except BaseException:
            self._files.drop()
            raise
        inserted = self.staged.num_rows - self.matched
        return Patched(written, self.removed, inserted, self.updated, self.matched - self.updated)

    def _rewrite(self, file: HeldFile) -> None:
        query = f"SELECT row, place FROM hits WHERE file = {file.number} ORDER BY row"
        hits = self.database.sql(query).to_arrow_table()
        rows, places = hits["row"].to_numpy(), hits["place"].to_numpy()
        self.matched += len(rows)
        waiting: list[pa.RecordBatch] = []
        first, changes = 0, False
        for batch in read_file(self.folder, file, self._all, self.layout):
            start, end = np.searchsorted(rows, [first, first + batch.num_rows])
            kept, new = self._judged(batch, rows[start:end] - first, places[start:end])
            waiting.extend(each for each in (kept, new) if each is not None)
            first += batch.num_rows
            changes = changes or new is not None or sum(each.nbytes for each in waiting) > _HELD_BYTES
            if changes:
                self._write(waiting)
        if changes:
            self.removed.append(file)

    def _judged(
        self, batch: pa.RecordBatch, rows: np.ndarray, places: np.ndarray
    ) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        """Return the rows that stay as they are, and those that take the place of the others."""
        if not len(rows):
            return batch, None
        old, new = batch.take(pa.array(rows)), self.staged.take(pa.array(places))
        wins = self._wins(old, new)
        if not wins.any():
            return batch, None
        self.updated += int(wins.sum())
        stays = np.ones(batch.num_rows, bool)
        stays[rows[wins]] = False
        mask = pa.array(wins)
        return batch.filter(pa.array(stays)), self._replacing(old.filter(mask), new.filter(mask))

    def _wins(self, old: pa.RecordBatch, new: pa.Table) -> Any:
        held, came = by_name(old), _by_name(new)
        differs = np.zeros(old.num_rows, bool)
        for name in self.plan.contract.column_names:
            if name not in self.plan.contract.key:
                differs |= differing(held[name], came[name])
        version = self.plan.contract.version_by
        if version is None or not differs.any():
            return differs
        # A version that is null is the oldest.
        newer = pc.fill_null(pc.greater_equal(came[version], held[version]), False)
        return differs & np.asarray(pc.or_(newer, pc.is_null(held[version])))

    def _replacing(self, old: pa.RecordBatch, new: pa.Table) -> pa.RecordBatch:
        """Return new rows in the table's schema; columns that left the contract keep their values."""
        columns = {**by_name(old), **_by_name(new)}
        arrays = [columns[each.name].cast(each.type) for each in self._all]
        return pa.RecordBatch.from_arrays(arrays, schema=self._all)

    def _insert(self) -> None:
        query = f"SELECT n FROM range({self.staged.num_rows}) r(n) ANTI JOIN hits ON n = place ORDER BY n"
        places = self.database.sql(query).to_arrow_table()["n"].combine_chunks()
        for first in range(0, len(places), ROWS_PER_BATCH):
            new = self.staged.take(places.slice(first, ROWS_PER_BATCH))
            columns = _by_name(new)
            arrays = [
                columns[each.name].cast(each.type) if each.name in columns else pa.nulls(new.num_rows, each.type)
                for each in self._all
            ]
            self._write([pa.RecordBatch.from_arrays(arrays, schema=self._all)])

    def _write(self, batches: list[pa.RecordBatch]) -> None:
        for batch in batches:
            if batch.num_rows:
                numbers = None if self.layout is None else self.layout.numbers(batch)
                self._files.add(batch.select(self._kind.schema.names), numbers)
        batches.clear()


def _by_name(rows: pa.Table) -> dict[str, pa.Array]:
    return {name: column.combine_chunks() for name, column in zip(rows.schema.names, rows.columns, strict=True)}
