"""Parts of a staged set while they are written: local Parquet files that nobody else sees yet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..api import Covers, StagedPart, TouchedSlice
from ..contracts import Extraction, TableContract
from .windows import StageRequest

ROWS_PER_GROUP = 131_072
ROWS_PER_PART = 4 * ROWS_PER_GROUP
_CHUNK = 1 << 20
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class DraftParts:
    """Rolls batches into Parquet files of at most `ROWS_PER_PART` rows; memory stays at one row group.

    Equal rows in equal order make equal files, however they are cut into batches. `days` are the days of rows of a
    table that is extracted by days, `newest` is the greatest cursor, where one without a zone counts as UTC; a row
    without any cursor counts as the last moment that there is.
    """

    contract: TableContract
    folder: Path
    rows: int = 0
    _files: list[Path] = field(default_factory=list)
    _pending: list[pa.RecordBatch] = field(default_factory=list)
    _held: int = 0
    _writer: pq.ParquetWriter | None = None
    _in_part: int = 0
    _first: Any = None
    _last: Any = None
    days: frozenset[date] = frozenset()
    newest: datetime | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write all batches and close the last part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for batch in batches:
            self._add(batch)
        self._flush()
        self._close()

    def _add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._note_days(batch)
        self._note_cursor(batch)
        while batch.num_rows:
            room = ROWS_PER_GROUP - self._held
            piece, batch = batch.slice(0, room), batch.slice(room)
            self._pending.append(piece)
            self._held += piece.num_rows
            if self._held == ROWS_PER_GROUP:
                self._flush()

    def _note_days(self, batch: pa.RecordBatch) -> None:
        if self.contract.partition_by is None:
            return
        bounds = pc.min_max(batch.column(self.contract.partition_by)).as_py()
        self._first = bounds["min"] if self._first is None else min(self._first, bounds["min"])
        self._last = bounds["max"] if self._last is None else max(self._last, bounds["max"])
        if self.contract.extraction is Extraction.DAYS:
            self.days |= frozenset(pc.unique(batch.column(self.contract.partition_by)).to_pylist())

    def _note_cursor(self, batch: pa.RecordBatch) -> None:
        if not self.contract.cursor or batch.num_rows == 0:
            return
        columns = [batch.column(name).cast(pa.timestamp("us", "UTC")) for name in self.contract.cursor]
        values = pc.coalesce(*columns)
        newest = _NEVER if values.null_count else pc.max(values).as_py()
        self.newest = newest if self.newest is None else max(self.newest, newest)

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, schema=self.contract.arrow_schema).combine_chunks()
        self._pending.clear()
        self._held = 0
        if self._writer is None:
            self._writer = self._next_file()
        self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        self._in_part += table.num_rows
        if self._in_part >= ROWS_PER_PART:
            self._close()

    def _next_file(self) -> pq.ParquetWriter:
        file = self.folder / f"part-{len(self._files):05d}.parquet"
        self._files.append(file)
        return pq.ParquetWriter(file, self.contract.arrow_schema, compression="zstd", compression_level=1)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._in_part = None, 0

    @property
    def files(self) -> list[Path]:
        return self._files

    @property
    def touched(self) -> TouchedSlice | None:
        """The range of partition days that the written rows lie in."""
        if self.contract.partition_by is None or self._first is None:
            return None
        return TouchedSlice(self.contract.partition_by, _day(self._first), _day(self._last))

    @property
    def kept(self) -> int:
        """The rows that are in the files now: fewer than were written, once rows were taken out."""
        return sum(pq.read_metadata(file).num_rows for file in self._files)

    def seal(self) -> list[StagedPart]:
        """Bring every file to disk for good and describe it; `uri` is still the file's name."""
        counted = [(file, pq.read_metadata(file).num_rows) for file in self._files]
        kept = [(file, rows) for file, rows in counted if rows]
        for file in {*self._files} - {file for file, _ in kept}:
            file.unlink()  # taking out doubles can leave a part without rows
        self._files = [file for file, _ in kept]
        return [_sealed(number, file, rows) for number, (file, rows) in enumerate(kept)]


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def _sealed(number: int, file: Path, rows: int) -> StagedPart:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        os.fsync(content.fileno())
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return StagedPart(f"{number:05d}", file.name, rows, file.stat().st_size, digest.hexdigest())


def covered_by(parts: DraftParts, request: StageRequest) -> Covers | None:
    """Return what the set holds completely. A day of which every row was refused is not gone, and stays out."""
    if request.extraction is Extraction.WHOLE:
        return Covers(keys_only=request.keys_only)
    if request.extraction is Extraction.DAYS:
        return Covers(parts.contract.partition_by, tuple(sorted(parts.days | request.gone)))
    return None


def touched_by(parts: DraftParts, gone: frozenset[date]) -> TouchedSlice | None:
    """Return the days in which a set has rows, or in which some are gone."""
    column, touched = parts.contract.partition_by, parts.touched
    if not gone or column is None:
        return touched
    days = [*gone, *((touched.first, touched.last) if touched else ())]
    return TouchedSlice(column, min(days), max(days))
