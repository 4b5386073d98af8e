"""Parquet and JSON tables: data files, and one manifest that says which of them are the table.

A manifest is named by the sequence of its load and created only if the name is free. The table is what the manifest
with the highest sequence names. So the one conditional put is commit and marker at once, a second attempt of a load
finds the name taken, and an older load that comes late stays below the newer one without harm.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ownlens_plugins.api import ROWS_PER_BATCH, LoadPlan, LoadResult
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected

from . import jsonrows
from .columns import from_lake, lake_schema
from .config import S3Options
from .datafiles import DataFile, data_file
from .evolution import HeldColumn, changes, held
from .folder import TableFolder
from .ledger import (
    Attempt,
    LedgerEntry,
    as_document,
    attempts,
    from_document,
    keep_entry,
    logger,
    overtaken,
    read_entry,
    set_changed,
    sweep,
)
from .paths import LOG, MANIFESTS, attempt_of, is_own_file, layout_of

_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Manifest:
    """The files of a table after one load. `partition` names the column that is a folder and not in the files."""

    format: str
    partition: str | None
    columns: Mapping[str, HeldColumn]
    files: tuple[DataFile, ...]
    entry: LedgerEntry

    @property
    def sequence(self) -> int:
        return self.entry.sequence

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def as_bytes(self) -> bytes:
        document = {
            "format": self.format,
            "partition": self.partition,
            "columns": {
                name: {"tag": column.tag, "physical": column.physical, "nullable": column.nullable}
                for name, column in self.columns.items()
            },
            "rows": self.rows,
            "load": as_document(self.entry),
            "files": [{**file.as_document(), "stats": ""} for file in self.files],
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode()


def _manifest(content: bytes) -> Manifest:
    document = json.loads(content)
    return Manifest(
        format=document["format"],
        partition=document["partition"],
        columns={name: HeldColumn(**column) for name, column in document["columns"].items()},
        files=tuple(data_file(file) for file in document["files"]),
        entry=from_document(document["load"]),
    )


@dataclass(frozen=True)
class FileTable:
    """One contract's Parquet or JSON table."""

    folder: TableFolder
    contract: TableContract
    options: S3Options

    def sequences(self) -> list[int]:
        """Return the sequences of all manifests that are there, oldest first."""
        stems = (entry.name.rsplit("/", 1)[-1].partition(".") for entry in self.folder.entries(MANIFESTS))
        return sorted(int(stem) for stem, _, suffix in stems if stem.isdigit() and suffix == "json")

    def current(self) -> Manifest | None:
        """Return the manifest that is the table, or None when nothing was loaded."""
        while sequences := self.sequences():
            if found := self.manifest(sequences[-1]):
                return found
            # A newer load has replaced it between the listing and the read: list again.
        return None

    def manifest(self, sequence: int) -> Manifest | None:
        content = self.folder.read(_name(sequence))
        return None if content is None else _manifest(content)

    def exists(self) -> bool:
        return bool(self.sequences())

    def row_count(self) -> int:
        """Return the number of rows of the newest manifest; 0 when there is none."""
        current = self.current()
        return 0 if current is None else current.rows

    def position(self) -> int | None:
        sequences = self.sequences()
        return sequences[-1] if sequences else None

    def prepare(self, plan: LoadPlan) -> None:
        """Check that the contract fits the table that is there; a full refresh replaces it, whatever it is.

        Raises:
            Rejected: it does not; the table is left as it is.
        """
        current = None if plan.full_refresh else self.current()
        if current is not None:
            changes(self.contract, current.columns)  # an overwrite makes them by itself

    def recorded(self, plan: LoadPlan) -> LoadResult | None:
        """Return the result of a load that is, or was, this table; None when it never became it.

        Raises:
            StagedSetChanged: the load id is recorded with another digest.
        """
        position = self.position()
        if position is None or position < plan.sequence:
            return None
        found = self.manifest(plan.sequence)
        if found is not None and self._is_damaged(found, position):
            return None
        if found is not None:
            keep_entry(self.folder, found.entry)
        entry = found.entry if found else read_entry(self.folder, plan.sequence)
        if entry is None:
            return overtaken(plan)
        if entry.digest != plan.digest:
            raise set_changed(plan)
        return entry.result

    def publish(self, files: Sequence[DataFile], entry: LedgerEntry) -> bool:
        """Make the files the table, in one step, unless this load's manifest is there already."""
        layout = layout_of(self.contract, self.options)
        manifest = Manifest(
            format=self.options.format,
            partition=None if layout is None or layout.derived else layout.column,
            columns={column.name: held(column) for column in self.contract.columns},
            files=tuple(files),
            entry=entry,
        )
        name = _name(entry.sequence)
        return self.folder.put_new(name, manifest.as_bytes()) or (
            self._drop_damaged(entry.sequence) and self.folder.put_new(name, manifest.as_bytes())
        )

    def _drop_damaged(self, sequence: int) -> bool:
        """Free the name of a manifest whose files are gone, so that the load can be made again."""
        there = self.manifest(sequence)
        if there is None or not self._is_damaged(there, sequence):
            return False
        self.folder.delete([*(file.path for file in there.files), _name(sequence)])
        return True

    def _is_damaged(self, manifest: Manifest, position: int) -> bool:
        """Tell whether somebody deleted or cut files of the table; those of a replaced manifest may be gone."""
        if manifest.sequence < position:
            return False
        lost = self.lost(manifest)
        if lost == 0 or self.position() != position:
            return False  # all there, or a newer load has just cleared this one away
        of = f"{lost} of {len(manifest.files)} files of load {manifest.sequence}"
        logger.warning("%s: s3 lost %s; it is loaded again", self.contract.table, of)
        return True

    def lost(self, manifest: Manifest) -> int:
        """Return how many of a manifest's files are gone, or have another size."""
        sizes = self.folder.sizes(file.path for file in manifest.files)
        return sum(sizes.get(file.path) != file.bytes for file in manifest.files)

    def clear_replaced(self) -> None:
        """Delete the manifests below the current one, and the files that only they name. Files go first."""
        current = self.current()
        if current is None:
            return
        kept = {file.path for file in current.files}
        for sequence in self.sequences():
            if sequence < current.sequence and (old := self.manifest(sequence)):
                keep_entry(self.folder, old.entry)
                self.folder.delete([file.path for file in old.files if file.path not in kept])
                self.folder.delete([_name(sequence)])

    def clear_attempts(self) -> list[Attempt]:
        """Clear what finished attempts left; return the attempts that may still be alive."""
        self.clear_replaced()
        position = self.position() or 0
        alive = sweep(self.folder, lambda number: number <= position, self.referenced)
        if not position:
            self._clear_forgotten()
        return alive

    def _clear_forgotten(self) -> None:
        """Delete data files of a table whose manifests somebody removed: readers of the folder would see them."""
        # Files first, then who writes them, then whether one of those has committed: an attempt announces itself
        # before its first file, and takes that back after its commit. In another order its files could be deleted.
        names = [entry.name for entry in self.folder.entries() if is_own_file(entry.name)]
        writing = {(mark.sequence, mark.attempt) for mark in attempts(self.folder)}
        if names and self.position() is None and not self.folder.has_files(LOG):  # else they may be a Delta table's
            self.folder.delete([name for name in names if attempt_of(name) not in writing])

    def referenced(self) -> set[str]:
        current = self.current()
        return set() if current is None else {file.path for file in current.files}

    def remove(self) -> None:
        """Delete the table: files first, so that a crash leaves manifests that say what is left to delete."""
        for sequence in self.sequences():
            if found := self.manifest(sequence):
                self.folder.delete([file.path for file in found.files])
            self.folder.delete([_name(sequence)])

    def read(self, manifest: Manifest, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a manifest in contract types; columns that are not asked for may be null."""
        for file in manifest.files:
            for batch in self._file_batches(manifest, file, columns):
                yield from_lake(self.contract, _with_partition(batch, manifest.partition, file.partition))

    def _file_batches(
        self, manifest: Manifest, file: DataFile, columns: Collection[str] | None
    ) -> Iterator[pa.RecordBatch]:
        with self.folder.open_input(file.path) as source:
            if manifest.format == "parquet":
                with pq.ParquetFile(source) as parquet:
                    there = parquet.schema_arrow.names
                    wanted = there if columns is None else [name for name in there if name in columns]
                    yield from parquet.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted)
                return
            yield from self._json_batches(manifest, file, source)

    def _json_batches(self, manifest: Manifest, file: DataFile, source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
        columns = [
            column
            for column in self.contract.columns
            if column.name in manifest.columns and column.name != manifest.partition
        ]
        schema = lake_schema(self.contract)
        kept = pa.schema([schema.field(column.name) for column in columns])
        codec = next((name for suffix, name in _COMPRESSED.items() if file.path.endswith(suffix)), None)
        stream: Any = source if codec is None else pa.CompressedInputStream(source, codec)
        yield from jsonrows.decode(columns, io.BufferedReader(stream), kept, ROWS_PER_BATCH)


def _with_partition(batch: pa.RecordBatch, column: str | None, value: str | None) -> pa.RecordBatch:
    if column is None or value is None:
        return batch
    days = pa.array([value]).cast(pa.date32())
    return batch.append_column(column, days.take(pa.array([0] * batch.num_rows, pa.int32())))


def _name(sequence: int) -> str:
    return f"{MANIFESTS}/{sequence:08d}.json"


def require_overwrite(plan: LoadPlan, options: S3Options) -> None:
    """Check that a load can be made with files alone.

    Raises:
        Rejected: appends and merges need a Delta table.
    """
    if plan.strategy.value != "overwrite":
        raise Rejected(
            f"{plan.table}: s3 cannot {plan.strategy} a {options.format} table, only overwrite it; use format: delta"
        )
