"""Data files in the making: rows are sorted into partitions, buffered within a budget, and encoded by a few threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
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

# Rows wait in memory until this many bytes are there, so that partitions get few and large row groups. As many more
# may be on their way through the encoders.
BUFFER_BYTES = 48 * 1024 * 1024
# A backfill over years touches more days than a process may open files.
MAX_OPEN_FILES = 96
# Rows below which a partition waits for more: many tiny row groups read slowly.
SMALLEST_EARLY_GROUP = 4_096
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

    def drop(self) -> None:
        """Let go of a file that will not be finished."""
        ...


class _ParquetEncoder:
    def __init__(self, sink: pa.NativeFile, schema: pa.Schema, compression: Compression) -> None:
        self._schema = schema
        # Without the Arrow schema in the footer every reader sees plain Parquet types.
        self._writer = pq.ParquetWriter(sink, schema, compression=compression.upper(), store_schema=False)

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def close(self) -> str:
        self._writer.close()
        return delta_statistics(self._writer.writer.metadata, self._schema)

    def drop(self) -> None:
        self._writer.is_open = False  # or it would try to write its footer when it is collected


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

    def drop(self) -> None:
        with suppress(OSError):
            self._stream.close()


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
    """One file that rows of one partition go into. Its steps run one after the other, on any thread."""

    path: str
    partition: str | None
    folder: TableFolder
    kind: FileKind
    pending: list[pa.RecordBatch] = field(default_factory=list)
    pending_bytes: int = 0
    rows: int = 0
    last: Future[Any] | None = None
    _sink: pa.NativeFile | None = None
    _encoder: _Encoder | None = None

    def add(self, rows: pa.RecordBatch) -> None:
        self.pending.append(rows)
        self.pending_bytes += rows.nbytes

    @property
    def is_worth_a_group(self) -> bool:
        return bool(sum(rows.num_rows for rows in self.pending) >= SMALLEST_EARLY_GROUP)

    @property
    def is_begun(self) -> bool:
        return self._sink is not None

    def take(self) -> pa.Table | None:
        rows = pa.Table.from_batches(self.pending) if self.pending else None
        self.pending, self.pending_bytes = [], 0
        return rows

    def write(self, rows: pa.Table | None, before: Future[Any] | None) -> None:
        """Encode rows as one row group, after the step before has ended."""
        if before is not None:
            before.result()
        if rows is None:
            return
        if self._encoder is None:
            self._sink = self.folder.open_output(self.path)
            self._encoder = self.kind.encoder(self._sink)
        self._encoder.write(rows)
        self.rows += rows.num_rows

    def finish(self, rows: pa.Table | None, before: Future[Any] | None) -> DataFile:
        """Write the last rows, close the file and make it durable."""
        self.write(rows, before)
        assert self._sink is not None
        assert self._encoder is not None
        stats = self._encoder.close()
        size = self._close(self._sink)
        self.folder.sync([self.path])
        return DataFile(self.path, self.rows, size, self.partition, stats)

    def _close(self, sink: pa.NativeFile) -> int:
        if sink.closed:  # by the compressed stream on top of it
            return self.folder.sizes([self.path]).get(self.path, 0)  # 0: another attempt has cleared this one away
        size = int(sink.tell())
        sink.close()
        return size

    def drop(self) -> None:
        if self._encoder is not None:
            self._encoder.drop()
        if self._sink is not None:
            with suppress(OSError):
                self._sink.close()


class PartitionedFiles:
    """Writes batches of one part into files, one or a few per partition. Not safe for several threads.

    `name` makes the path of the n-th file; rows arrive in the files' schema with their partition numbers.
    """

    def __init__(
        self, folder: TableFolder, kind: FileKind, layout: Layout | None, name: Callable[[str | None, int], str]
    ) -> None:
        self._folder, self._kind, self._layout, self._name = folder, kind, layout, name
        self._open: dict[int, _OpenFile] = {}
        self._all: list[_OpenFile] = []
        self._done: list[Future[DataFile]] = []
        self._running: deque[tuple[Future[Any], int]] = deque()
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="lake")

    def add(self, batch: pa.RecordBatch, numbers: np.ndarray | None) -> None:
        """Take rows, with the partition number of each row if the table is partitioned."""
        touched = set()
        for number, rows in _split(batch, numbers):
            self._file(number).add(rows)
            touched.add(number)
        crowded = len(self._open) > MAX_OPEN_FILES
        if sum(file.pending_bytes for file in self._open.values()) >= BUFFER_BYTES:
            self._finish_all() if crowded else self._write_those(self._open.keys())
        elif not crowded:
            # Rows mostly come in order of time: a partition that this batch did not touch is probably complete.
            self._write_those(number for number in self._open.keys() - touched if self._open[number].is_worth_a_group)

    def finish(self) -> list[DataFile]:
        """Encode what is left and return all files, closed and durable."""
        self._finish_all()
        files = [future.result() for future in self._done]
        self._pool.shutdown()
        return files

    def drop(self) -> None:
        """Give up after an error: stop the threads and release the files; what was written stays invisible."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for file in self._all:
            file.drop()
        self._folder.abandon(file.path for file in self._all if file.is_begun)

    def _file(self, number: int) -> _OpenFile:
        if number not in self._open:
            partition = None if self._layout is None else self._layout.value(number)
            path = self._name(partition, len(self._all))
            self._open[number] = _OpenFile(path, partition, self._folder, self._kind)
            self._all.append(self._open[number])
        return self._open[number]

    def _write_those(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            file = self._open[number]
            if file.pending:
                self._submit(file, file.write)

    def _finish_all(self) -> None:
        for file in self._open.values():
            self._submit(file, file.finish)
            assert file.last is not None
            self._done.append(file.last)
        self._open = {}

    def _submit(self, file: _OpenFile, step: Callable[[pa.Table | None, Future[Any] | None], Any]) -> None:
        size = file.pending_bytes
        while self._running and sum(held for _, held in self._running) + size > BUFFER_BYTES:
            self._running.popleft()[0].result()
        file.last = self._pool.submit(step, file.take(), file.last)
        self._running.append((file.last, size))


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
    for start, end in pairwise(edges):
        yield int(numbers[start]), batch.slice(start, end - start)
