"""The rows of staged parts as the driver should get them: decoded ahead, in small batches, errors remembered."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ownlens_plugins.api import LoadPlan, StagedPart
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.errors import Rejected, Retryable

# The driver encodes and sends one batch before it asks for the next. While it sends little, the server works on what
# it has; while it encodes much, the server waits.
ROWS_PER_SEND = 1024
BATCHES_AHEAD = 2
_END = object()


class StagedRows:
    """The rows of some parts as one stream that remembers why it broke: the driver passes on only text.

    `columns` None is all of the contract's.
    """

    def __init__(self, plan: LoadPlan, parts: Sequence[StagedPart], columns: Sequence[str] | None) -> None:
        self._plan = replace(plan, parts=tuple(parts))
        self._columns = columns
        self.error: Exception | None = None

    def reader(self) -> pa.RecordBatchReader:
        whole = self._plan.schema
        schema = whole if self._columns is None else pa.schema([whole.field(name) for name in self._columns])
        return pa.RecordBatchReader.from_batches(schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in read_ahead(iter(self._plan.reader(self._columns))):
                for offset in range(0, batch.num_rows, ROWS_PER_SEND):
                    yield batch.slice(offset, ROWS_PER_SEND)
        except Exception as error:
            self.error = error
            raise

    def translated(self) -> Rejected | Retryable:
        """Return the error for a part that cannot be read."""
        if isinstance(self.error, Rejected | Retryable):
            return self.error  # of a part on S3, which says what to mend
        kind = type(self.error).__name__
        what = f"{self._plan.table}: a part of staged set {self._plan.load_id} for postgresql"
        if isinstance(self.error, FileNotFoundError | pa.ArrowInvalid | pa.ArrowTypeError):
            return Rejected(
                f"{what} is missing or damaged ({kind}); load it anew with {refresh_options(self._plan.table)}"
            )
        return Retryable(f"{what} cannot be read now ({kind}); run it again")


def read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches, the next ones being decoded by a thread meanwhile. Its errors are raised here."""
    ready: queue.Queue[Any] = queue.Queue(BATCHES_AHEAD)
    stopped = threading.Event()
    threading.Thread(target=_pump, args=(batches, ready, stopped), daemon=True, name="ownlens-read-ahead").start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()


def _pump(batches: Iterator[pa.RecordBatch], ready: queue.Queue[Any], stopped: threading.Event) -> None:
    try:
        for batch in batches:
            _put(batch, ready, stopped)
            if stopped.is_set():
                return
    except Exception as error:
        _put(error, ready, stopped)
    else:
        _put(_END, ready, stopped)


def _put(item: object, ready: queue.Queue[Any], stopped: threading.Event) -> None:
    """Queue an item, unless nobody will take it."""
    while not stopped.is_set():
        try:
            ready.put(item, timeout=0.2)
        except queue.Full:
            continue
        return
