"""Data files in the making: rows are sorted into partitions, buffered within a budget, and encoded by a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ownlens_plugins.contracts import Column

from . import jsonrows
from .config import Compression, Format
from .folder import TableFolder
from .paths import Layout
from .stats import delta_statistics

# Rows wait in memory until this many bytes are there, so that partitions get few and large row groups. At most two
# budgets are held at once: one that fills and one that is being encoded.
BUFFER_BYTES = 48 * 1024 * 1024
# A backfill over years touches more days than a process may open files.
MAX_OPEN_FILES = 96
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A finished file: path below the table's folder, rows, bytes, partition value, and Delta's statistics."""

    path: str
    rows: int
    bytes: int
    partition: str | None = None
    stats: str = ""

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


def data_file(document: Mapping[str, Any]) -> DataFile:
    return DataFile(**document)


class _Encoder(Protocol):
    def write(self, rows: pa.Table) -> None: ...

    def close(self) -> str:
        """Finish the file and return its statistics."""
        ...


class _ParquetEncoder:
    def __init__(self, sink: pa.NativeFile, schema: pa.Schema, compression: Compression) -> None:
        self._schema = schema
        self._footers: list[pq.FileMetaData] = []
        # Without the Arrow schema in the footer every reader sees plain Parquet types.
        self._writer = pq.ParquetWriter(
            sink,
            schema,
            compression=compression.upper(),
            store_schema=False,
            metadata_collector=self._footers,
        )

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def close(self) -> str:
        self._writer.close()
        return delta_statistics(self._footers[0], self._schema)


class _JsonEncoder:
    def __init__(self, sink: pa.NativeFile, columns: Sequence[Column], compression: Compression) -> None:
        self._columns = columns
        self._stream = sink if compression == "none" else pa.CompressedOutputStream(sink, compression)

    def write(self, rows: pa.Table) -> None:
        for batch in rows.to_batches(max_chunksize=16_384):
            self._stream.write(jsonrows.encode(self._columns, batch))

    def close(self) -> str:
        if isinstance(self._stream, pa.CompressedOutputStream):
            self._stream.close()
        return ""


@dataclass(frozen=True)
class FileKind:
    """Format and compression of data files; `columns` are those that the files hold, `schema` their lake types."""

    format: Format
    compression: Compression
    columns: tuple[Column, ...]
    schema: pa.Schema

    @property
    def suffix(self) -> str:
        if self.format == "json":
            return {"gzip": "json.gz", "zstd": "json.zst"}.get(self.compression, "json")
        return "parquet" if self.compression == "none" else f"{self.compression}.parquet"

    def encoder(self, sink: pa.NativeFile) -> _Encoder:
        if self.format == "json":
            return _JsonEncoder(sink, self.columns, self.compression)
        return _ParquetEncoder(sink, self.schema, self.compression)


@dataclass
class _OpenFile:
    """One file that rows of one partition go into."""

    path: str
    partition: str | None
    folder: TableFolder
    kind: FileKind
    pending: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    _sink: pa.NativeFile | None = None
    _encoder: _Encoder | None = None

    def take(self) -> pa.Table:
        rows, self.pending = pa.Table.from_batches(self.pending), []
        return rows

    def write(self, rows: pa.Table) -> None:
        if self._encoder is None:
            self._sink = self.folder.open_output(self.path)
            self._encoder = self.kind.encoder(self._sink)
        self._encoder.write(rows)
        self.rows += rows.num_rows

    def finish(self) -> DataFile:
        """Write the rows that wait, and close the file."""
        if self.pending:
            self.write(self.take())
        assert self._sink is not None and self._encoder is not None
        stats = self._encoder.close()
        return DataFile(self.path, self.rows, self._close(self._sink), self.partition, stats)

    def _close(self, sink: pa.NativeFile) -> int:
        if sink.closed:  # by the compressed stream on top of it
            return self.folder.sizes([self.path])[self.path]
        size = int(sink.tell())
        sink.close()
        return size

    def drop(self) -> None:
        if self._sink is not None and not self._sink.closed:
            self._sink.close()


class PartitionedFiles:
    """Writes batches of one part into files, one or a few per partition. Not safe for several threads.

    `name` makes the path of the n-th file of a partition; rows arrive in lake types with their partition numbers.
    """

    def __init__(
        self, folder: TableFolder, kind: FileKind, layout: Layout | None, name: Callable[[str | None, int], str]
    ) -> None:
        self._folder, self._kind, self._layout, self._name = folder, kind, layout, name
        self._open: dict[int, _OpenFile] = {}
        self._done: list[Future[DataFile]] = []
        self._running: list[Future[Any]] = []
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="lake")
        self._pending_bytes = 0

    def add(self, batch: pa.RecordBatch, numbers: np.ndarray | None) -> None:
        """Take rows of the files' schema, with the partition number of each row if the table is partitioned."""
        for number, rows in _split(batch, numbers):
            self._file(number).pending.append(rows)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= BUFFER_BYTES:
            self._flush()

    def finish(self) -> list[DataFile]:
        """Encode what is left and return all files, closed and durable."""
        self._settle()
        self._close_all()
        files = [future.result() for future in self._done]
        self._pool.shutdown()
        self._folder.sync(file.path for file in files)
        return files

    def drop(self) -> None:
        """Give up after an error: stop the threads and release the files; what was written stays invisible."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for file in self._open.values():
            file.drop()

    def _file(self, number: int) -> _OpenFile:
        if number not in self._open:
            partition = None if self._layout is None else self._layout.value(number)
            path = self._name(partition, len(self._open) + len(self._done))
            self._open[number] = _OpenFile(path, partition, self._folder, self._kind)
        return self._open[number]

    def _flush(self) -> None:
        self._settle()
        self._pending_bytes = 0
        if len(self._open) > MAX_OPEN_FILES:
            self._close_all()
            return
        waiting = [file for file in self._open.values() if file.pending]
        self._running = [self._pool.submit(file.write, file.take()) for file in waiting]

    def _settle(self) -> None:
        running, self._running = self._running, []
        for future in running:
            future.result()

    def _close_all(self) -> None:
        closing = [self._pool.submit(file.finish) for file in self._open.values()]
        self._done += closing
        self._running = [*closing]
        self._open = {}


def _split(batch: pa.RecordBatch, numbers: np.ndarray | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    if batch.num_rows == 0:
        return
    if numbers is None:
        yield 0, batch
        return
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        batch, numbers = batch.take(pa.array(order)), numbers[order]
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    for start, end in zip(edges, edges[1:], strict=False):
        yield int(numbers[start]), batch.slice(start, end - start)
