"""Read tables from a folder of Parquet, CSV or JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds

from ...contracts import Extraction, Kind, TableContract
from ...errors import SourceInvalid, UnknownName
from ...settings import FileSourceConfig
from .source import Extracted, Selection

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")


@dataclass(frozen=True)
class FileSource:
    """Files of a folder: `<table>.<suffix>`, or every such file of the folder `<table>/`.

    Windows close when the snapshot opens. A file that changes while it is read is not detected.
    """

    config: FileSourceConfig

    @contextmanager
    def snapshot(self) -> Iterator[FileSnapshot]:
        yield FileSnapshot(Path(self.config.folder), datetime.now(UTC))


@dataclass(frozen=True)
class FileSnapshot:
    folder: Path
    closes_at: datetime

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        """Stream a table's files; a window filters on the cursor after reading it as the contract's type."""
        batches = self._batches(contract)
        first = next(batches, None)
        schema = _checked(contract, pa.schema([]) if first is None else first.schema, self.folder)
        if selection.extraction is Extraction.DAYS and selection.window.start is not None:
            chosen = self._whole_days(contract, selection, schema)
        else:
            chosen = _selected(contract, selection, schema, self._batches(contract))
        yield Extracted(pa.RecordBatchReader.from_batches(schema, chosen))

    def _whole_days(self, contract: TableContract, selection: Selection, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        day = contract.partition_by or ""
        touched = _selected(contract, selection, schema, self._batches(contract))
        days = pa.array({value for batch in touched for value in batch.column(day).to_pylist()}, schema.field(day).type)
        for batch in self._batches(contract):
            chosen = batch.select(schema.names).cast(schema)
            yield chosen.filter(pc.is_in(chosen.column(day), days))

    def _batches(self, contract: TableContract) -> Iterator[pa.RecordBatch]:
        for file in self._files(contract):
            yield from _read(file, contract)

    def _files(self, contract: TableContract) -> list[Path]:
        single = [self.folder / f"{contract.table}{suffix}" for suffix in SUFFIXES]
        inner = sorted(path for path in (self.folder / contract.table).glob("*") if path.suffix in SUFFIXES)
        files = [path for path in single if path.is_file()] + inner
        if not files:
            raise SourceInvalid(
                f"{contract.table}: no file {contract.table}{'|'.join(SUFFIXES)} in {self.folder}; "
                "put one there, or leave the table out with --tables"
            )
        return files


def _read(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    try:
        if file.suffix == ".csv":
            yield from _read_csv(file, contract)
        elif file.suffix == ".parquet":
            yield from ds.dataset(file, format="parquet").to_batches()
        else:
            yield from _read_json(file, contract)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise SourceInvalid(
            f"{contract.table}: cannot read {file.name}: {reason}; repair or remove the file"
        ) from error


def _read_csv(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    # Everything is read as text and cast by the contract: type guessing would turn '007' into 7 and 'NA' into null.
    # An empty field that is not quoted is null; '""' is the empty text.
    options = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in contract.column_names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(file, convert_options=options, parse_options=parsing) as reader:
        yield from reader


def _read_json(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    from .json_lines import read_json_lines

    yield from read_json_lines(file, contract)


def _checked(contract: TableContract, schema: pa.Schema, folder: Path) -> pa.Schema:
    missing = [name for name in contract.column_names if name not in schema.names]
    if missing:
        near = UnknownName("column", missing[0], schema.names)
        raise SourceInvalid(
            f"{contract.table}: the files in {folder} lack column {', '.join(map(repr, missing))} ({near}); "
            "add it there, or take it out of the contract"
        )
    return pa.schema([schema.field(name) for name in contract.column_names])


def _selected(
    contract: TableContract, selection: Selection, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        chosen = batch.select(schema.names).cast(schema)
        mask = None if selection.extraction is Extraction.WHOLE else _inside(contract, selection, chosen)
        yield chosen if mask is None else chosen.filter(mask)


def _inside(contract: TableContract, selection: Selection, batch: pa.RecordBatch) -> pa.Array | None:
    if contract.cursor is None or (selection.window.start is None and selection.window.end is None):
        return None
    column = contract.column(contract.cursor)
    try:
        values = batch.column(contract.cursor).cast(column.type.arrow)
    except pa.ArrowInvalid as error:
        raise SourceInvalid(
            f"{contract.table}: cursor {contract.cursor!r} holds a value that is not a {column.type}; correct the file"
        ) from error
    mask = pc.is_valid(values)
    if selection.window.start is not None:
        mask = pc.and_(mask, pc.greater_equal(values, _bound(selection.window.start, column.type.kind)))
    if selection.window.end is not None:
        mask = pc.and_(mask, pc.less(values, _bound(selection.window.end, column.type.kind)))
    # A null cursor cannot be placed in any window; staging it now sends the row to quarantine instead of losing it.
    return pc.or_(pc.fill_null(mask, False), pc.is_null(values))


def _bound(bound: datetime, kind: Kind) -> pa.Scalar:
    if kind is Kind.TIMESTAMPTZ:
        return pa.scalar(bound, pa.timestamp("us", tz="UTC"))
    naive = bound.astimezone(UTC).replace(tzinfo=None)
    return pa.scalar(naive, pa.timestamp("us")) if kind is Kind.TIMESTAMP else pa.scalar(naive.date(), pa.date32())
