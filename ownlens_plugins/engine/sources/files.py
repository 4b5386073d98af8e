"""Read tables from a folder of Parquet, CSV or JSON files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from ...contracts import Column, Extraction, TableContract
from ...errors import Retryable, SourceInvalid
from ...settings import FileSourceConfig
from .file_table import FileTable
from .source import Extracted, Seen, Selection
from .windowing import Days, Mask, window_mask


@dataclass(frozen=True)
class FileSource:
    """Files of a folder: `<table>.<suffix>`, or every file below the folder `<table>/`."""

    config: FileSourceConfig

    @contextmanager
    def snapshot(self) -> Iterator[FileSnapshot]:
        """Open a view of the folder; a table's files are listed when it is first asked for.

        Raises:
            SourceInvalid: the folder is an address of an object store.
        """
        if "://" in self.config.folder:
            raise SourceInvalid(
                f"source files: {self.config.folder} is no local folder; copy the files to one, or mount it"
            )
        yield FileSnapshot(os.path.abspath(self.config.folder), datetime.now(UTC))


@dataclass(frozen=True)
class FileSnapshot:
    """The files of each table as they were when it was first asked for; a file that changes after that is an error."""

    folder: str
    closes_at: datetime
    _tables: dict[str, FileTable] = field(default_factory=dict)

    @property
    def held(self) -> str:
        return ""

    def identity(self, contract: TableContract) -> Mapping[str, str]:
        # Links are not resolved: a delivery may be a new folder behind the same link.
        return {"folder": self.folder, "table": contract.table}

    def seen(self, contract: TableContract) -> Seen | None:  # noqa: ARG002  # no table of files can tell
        return None

    def files(self, contract: TableContract) -> Mapping[str, str]:
        """Return a fingerprint of each of the table's files, by name; one that was written again has another.

        Raises:
            SourceInvalid, Retryable: the files cannot be read.
        """
        with self._listed(contract) as table:
            return {file.name: file.fingerprint for file in table.files}

    def columns(self, contract: TableContract) -> tuple[str, ...]:
        """Return the columns of all files; of JSON, the members of each file's first record."""
        with self._listed(contract) as table:
            return tuple(dict.fromkeys(table.names()))

    def changed_days(self, contract: TableContract, unseen_by: Seen) -> frozenset[date]:  # noqa: ARG002
        return frozenset()

    def day_rows(self, contract: TableContract) -> Mapping[date, int]:
        rows: Counter[date] = Counter()
        columns = [contract.column(contract.partition_by or "")]
        with self._listed(contract) as table:
            days = Days(contract, table.schema(columns))
            for _, batch in table.batches(columns):
                for counted in pc.value_counts(days.of(batch).drop_null()):
                    rows[counted["values"].as_py()] += counted["counts"].as_py()
        return rows

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        """Stream the selected rows; all files are looked into before the first row comes.

        Raises:
            SourceInvalid: a file cannot be read, or lacks a column.
            Retryable: a file changed since it was listed.
        """
        columns = [contract.column(name) for name in contract.key] if selection.keys_only else contract.columns
        with self._listed(contract) as table:
            chosen = _selected(contract, selection, table, columns)
            yield Extracted(pa.RecordBatchReader.from_batches(table.schema(columns), chosen))

    @contextmanager
    def _listed(self, contract: TableContract) -> Iterator[FileTable]:
        # One listing for all calls, so that days, fingerprints and rows tell of the same files; until one of them has
        # changed: then the run tries this table again in the same snapshot.
        if contract.table not in self._tables:
            self._tables[contract.table] = FileTable.opened(self.folder, contract.table)
        try:
            yield self._tables[contract.table]
        except Retryable:
            self._tables.pop(contract.table, None)
            raise


def _selected(
    contract: TableContract, selection: Selection, table: FileTable, columns: Sequence[Column]
) -> Iterator[pa.RecordBatch]:
    start = selection.window.start
    if selection.keys_only or selection.extraction is Extraction.WHOLE or start is None or not contract.cursor:
        yield from (batch for _, batch in table.batches(columns))
    elif selection.extraction is Extraction.DAYS:
        yield from _whole_days(contract, selection, table, start)
    else:
        mask = window_mask(contract, table.schema(columns), start)
        yield from _in_window(table, columns, mask, selection.new_files)


def _in_window(
    table: FileTable, columns: Sequence[Column], mask: Mask, new_files: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    for file, batch in table.batches(columns):
        # A file that came late holds rows with cursors of any age.
        yield batch if file.name in new_files else batch.filter(mask(batch))


def _whole_days(
    contract: TableContract, selection: Selection, table: FileTable, start: datetime
) -> Iterator[pa.RecordBatch]:
    names = dict.fromkeys([*contract.cursor, contract.partition_by or ""])
    columns = [contract.column(name) for name in names]
    schema = table.schema(columns)
    mask, days = window_mask(contract, schema, start), Days(contract, schema)
    touched = set(selection.days)
    for batch in _in_window(table, columns, mask, selection.new_files):
        touched.update(days.of(batch).unique().drop_null().to_pylist())
    whole = Days(contract, table.schema(contract.columns))
    for _, batch in table.batches(contract.columns):
        yield batch.filter(whole.mask(batch, touched))
