"""Read tables from a folder of Parquet, CSV or JSON files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as ds

from ...contracts import Extraction, Kind, TableContract
from ...errors import SourceInvalid, UnknownName
from ...settings import FileSourceConfig
from ..conforming import cast_bisecting, caster_for
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

    def identity(self, contract: TableContract) -> dict[str, str]:
        return {"kind": "files", "folder": str(self.folder.absolute()), "table": contract.table}

    def seen(self, contract: TableContract) -> None:  # noqa: ARG002
        return None

    def day_rows(self, contract: TableContract) -> dict[date, int]:
        schema = _checked(contract, next(self._batches(contract)).schema, self.folder)
        held: dict[date, int] = {}
        for batch in self._aligned(contract, schema):
            days = batch.column(contract.partition_by or "").cast(pa.date32())
            for item in pc.value_counts(days).to_pylist():
                held[item["values"]] = held.get(item["values"], 0) + item["counts"]
        return held

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        """Stream a table's files; a window filters on the cursor after reading it as the contract's type."""
        schema = _checked(contract, next(self._batches(contract)).schema, self.folder)
        if selection.extraction is Extraction.DAYS and selection.window.start is not None:
            chosen = self._whole_days(contract, selection, schema)
        else:
            chosen = self._selected(contract, selection, schema)
        yield Extracted(pa.RecordBatchReader.from_batches(schema, chosen))

    def _whole_days(self, contract: TableContract, selection: Selection, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        day = contract.partition_by or ""
        touched = (pc.unique(batch.column(day)) for batch in self._selected(contract, selection, schema))
        days = pa.chunked_array(touched, schema.field(day).type).unique()
        for batch in self._aligned(contract, schema):
            yield batch.filter(pc.is_in(batch.column(day), days))

    def _selected(self, contract: TableContract, selection: Selection, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._aligned(contract, schema):
            mask = None if selection.extraction is Extraction.WHOLE else _inside(contract, selection, batch)
            yield batch if mask is None else batch.filter(mask)

    def _aligned(self, contract: TableContract, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._batches(contract):
            _checked(contract, batch.schema, self.folder)
            try:
                yield batch.select(schema.names).cast(schema)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SourceInvalid(
                    f"{contract.table}: the files in {self.folder} have columns of differing types; write them alike"
                ) from error

    def _batches(self, contract: TableContract) -> Iterator[pa.RecordBatch]:
        for file in self._files(contract):
            yield from _read(file, contract)

    def _files(self, contract: TableContract) -> list[Path]:
        is_name = Path(contract.table).name == contract.table != ".."
        files = self._named(contract.table) if is_name else []
        if not files:
            raise SourceInvalid(
                f"{contract.table}: no file {contract.table}{'|'.join(SUFFIXES)} in {self.folder}; "
                "put one there, or leave the table out with --tables"
            )
        return files

    def _named(self, table: str) -> list[Path]:
        single = [self.folder / f"{table}{suffix}" for suffix in SUFFIXES]
        inner = sorted(path for path in (self.folder / table).glob("*") if path.suffix in SUFFIXES)
        return [path for path in single if path.is_file()] + inner


def _read(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    try:
        if file.suffix == ".csv":
            yield from _read_csv(file)
        elif file.suffix == ".parquet":
            rows = ds.dataset(file, format="parquet")
            yield _no_rows(rows.schema)
            yield from rows.to_batches()
        else:
            yield from _read_json(file, contract)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise SourceInvalid(
            f"{contract.table}: cannot read {file.name}: {_reason(error)}; repair or remove the file"
        ) from error


def _reason(error: Exception) -> str:
    # Arrow goes on to quote the row that does not parse.
    return re.sub(r"(Expected \d+ columns, got \d+).*", r"\1", str(error).splitlines()[0])


def _read_csv(file: Path) -> Iterator[pa.RecordBatch]:
    # Everything is read as text and cast by the contract: type guessing would turn '007' into 7 and 'NA' into null.
    # An empty field that is not quoted is null; '""' is the empty text.
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(file, parse_options=parsing) as reader:
        names = reader.schema.names
    options = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with pacsv.open_csv(file, convert_options=options, parse_options=parsing) as reader:
        yield _no_rows(reader.schema)
        yield from reader


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Return an empty batch, so that a file without rows still shows its columns."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _read_json(file: Path, contract: TableContract) -> Iterator[pa.RecordBatch]:
    from .json_lines import read_json_lines

    yield from read_json_lines(file, contract)


def _checked(contract: TableContract, schema: pa.Schema, folder: Path) -> pa.Schema:
    missing = [name for name in contract.column_names if schema.names.count(name) != 1]
    if missing:
        near = UnknownName("column", missing[0], schema.names)
        raise SourceInvalid(
            f"{contract.table}: the files in {folder} lack column {', '.join(map(repr, missing))}, or have it twice "
            f"({near}); correct them, or take it out of the contract"
        )
    return pa.schema([schema.field(name) for name in contract.column_names])


def _inside(contract: TableContract, selection: Selection, batch: pa.RecordBatch) -> pa.Array | None:
    if not contract.cursor or (selection.window.start is None and selection.window.end is None):
        return None
    column = contract.column(contract.cursor[0])
    given = batch.column(contract.cursor[0])
    cast = caster_for(contract, column, given.type, checked=False)
    values = cast_bisecting(given, cast, column.type.arrow, {})
    mask = pc.is_valid(values)
    if selection.window.start is not None:
        mask = pc.and_(mask, pc.greater_equal(values, _bound(selection.window.start, column.type.kind)))
    # No window holds a null or a value that is no moment; such a row goes to quarantine now, instead of being lost.
    return pc.or_(pc.fill_null(mask, False), pc.is_null(values))


def _bound(bound: datetime, kind: Kind) -> pa.Scalar:
    if kind is Kind.TIMESTAMPTZ:
        return pa.scalar(bound, pa.timestamp("us", tz="UTC"))
    naive = bound.astimezone(UTC).replace(tzinfo=None)
    return pa.scalar(naive, pa.timestamp("us")) if kind is Kind.TIMESTAMP else pa.scalar(naive.date(), pa.date32())
