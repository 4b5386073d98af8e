"""Read one file of a table: Parquet as it is, CSV as text, JSON as text."""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ...contracts import Column
from ...errors import Retryable, SourceInvalid
from .file_listing import SourceFile
from .file_names import shown
from .json_lines import first_names, read_json_lines

# A row may span two blocks, not three. Arrow holds up to 32, so greater ones are tried only when a row needs them.
_BLOCKS = (1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30)
# Beyond, Arrow holds one block at a time.
_LARGEST_AHEAD = 1 << 24
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_CHUNK = 1 << 20


@contextmanager
def explained_file(table: str, file: SourceFile) -> Iterator[None]:
    """Translate errors of reading a file, and see at the end that it is still the file that was listed.

    Raises:
        SourceInvalid: it cannot be read; rows are not quoted.
        Retryable: it changed meanwhile, so that what was read may be half of two versions.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if not file.unchanged:
            raise _changed(table, file) from error
        cause, fix = _reason(error)
        raise SourceInvalid(f"{table}: cannot read {shown(file.name)}: {cause}; {fix}") from error
    if not file.unchanged:
        raise _changed(table, file)


def _changed(table: str, file: SourceFile) -> Retryable:
    return Retryable(
        f"{table}: {shown(file.name)} changed while the run read the table; run it again, and let files be written "
        "under a hidden name (.name) and renamed when they are complete"
    )


_REASONS = {
    "straddling object": (f"a row is longer than {_BLOCKS[-1] >> 20:,} MiB", "shorten it, or write Parquet"),
    "Truncated compressed stream": ("its compressed content ends too early", "write it again, or remove it"),
    "[Ii]nvalid UTF8|codec can't decode": ("it is not UTF-8 text", "write it in UTF-8, or remove it"),
    "Empty CSV file": ("it has no line with the names of the columns", "write one, or remove the file"),
}


def _reason(error: Exception) -> tuple[str, str]:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    for sign, (cause, fix) in _REASONS.items():
        if re.search(sign, text):
            place = re.match("behind row [0-9,]+: ", text)
            return f"{place[0] if place else ''}{cause}", fix
    if isinstance(error, PermissionError):
        return "its rights do not allow it", "give the right to read it"
    # Arrow goes on to quote the row that does not parse.
    return re.sub(r"(Expected \d+ columns, got \d+).*", r"\1", text), "repair or remove the file"


def column_types(file: SourceFile) -> pa.Schema | None:
    """Return the columns that a file holds, in order; None for JSON, whose records tell it one by one.

    Raises:
        pa.ArrowException, OSError, UnicodeError: the file is not of its format, or half written.
    """
    if file.format == "parquet":
        return pq.read_schema(file.path)
    with _opened(file) as content:
        _check_encoding(content.read(4))
    if file.format == "json":
        return None
    return pa.schema([(name, pa.string()) for name in _csv_names(file)])


def _check_encoding(head: bytes) -> None:
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise pa.ArrowInvalid("invalid UTF8 data")  # it is UTF-16 or UTF-32


def file_batches(file: SourceFile, columns: Sequence[Column], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Stream the wanted columns of a file. `names` are those of `column_types`, empty for JSON.

    Raises:
        pa.ArrowException, OSError, UnicodeError: the file is not of its format, or half written.
    """
    if file.format == "json":
        with _lines(file) as lines:
            yield from read_json_lines(lines, columns, dict(file.partition))
        return
    wanted = [column.name for column in columns if column.name in names]
    read = _parquet_batches(file, wanted) if file.format == "parquet" else _csv_batches(file, names, wanted)
    for batch in read:
        yield _with_partition(batch, file, columns)


@contextmanager
def _lines(file: SourceFile) -> Iterator[TextIO]:
    with (
        _opened(file) as content,
        io.TextIOWrapper(io.BufferedReader(content, _CHUNK), encoding="utf-8-sig") as lines,
    ):
        yield lines


def first_members(file: SourceFile) -> list[str]:
    """Return the names of a JSON file's first record, none when it has no records.

    Raises:
        pa.ArrowException, OSError, UnicodeError: the file is not of its format, or half written.
    """
    with _lines(file) as lines:
        return first_names(lines)


def _with_partition(batch: pa.RecordBatch, file: SourceFile, columns: Sequence[Column]) -> pa.RecordBatch:
    values = dict(file.partition)
    for column in columns:
        if column.name in values and column.name not in batch.schema.names:
            said = pa.repeat(pa.scalar(values[column.name], pa.string()), batch.num_rows)
            batch = batch.append_column(column.name, said)
    return batch


def _parquet_batches(file: SourceFile, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    # By expression: a plain name with a dot would be looked for inside a struct.
    scanner = ds.dataset(file.path, format="parquet").scanner(columns={name: ds.field(name) for name in wanted})
    yield from scanner.to_batches()


@contextmanager
def _opened(file: SourceFile) -> Iterator[pa.NativeFile]:
    # Arrow reads CSV in threads of its own. A file of Python's would have them call into an interpreter that may be
    # ending, and the process would abort.
    with pa.OSFile(file.path) as content:
        if file.codec is None:
            yield content
        else:
            with pa.CompressedInputStream(content, file.codec) as unpacked:
                yield unpacked


def _csv_names(file: SourceFile) -> list[str]:
    for block in _BLOCKS:
        try:
            with _opened(file) as content, pacsv.open_csv(content, **_options(file, block)) as reader:
                return list(reader.schema.names)
        except pa.ArrowInvalid as error:
            _raise_unless_longer(error, block)
    raise AssertionError


def _options(file: SourceFile, block: int) -> dict[str, Any]:
    return {
        "read_options": pacsv.ReadOptions(block_size=block, use_threads=block <= _LARGEST_AHEAD),
        "parse_options": pacsv.ParseOptions(delimiter=_DELIMITERS[file.format], newlines_in_values=True),
    }


def _raise_unless_longer(error: pa.ArrowInvalid, block: int, rows: int = 0) -> None:
    # A line of names that does not fit into a block is "empty" to Arrow.
    longer = re.search("straddling object|Empty CSV file", str(error))
    if not longer or block == _BLOCKS[-1]:
        raise type(error)(f"behind row {rows:,}: {error}") if longer and rows else error


def _csv_batches(file: SourceFile, names: Sequence[str], wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    given = 0
    for block in _BLOCKS:
        start = 0
        try:
            for batch in _parsed(file, names, wanted, block):
                # With a greater block all is read again; what was handed out before is skipped.
                yield batch.slice(min(max(0, given - start), batch.num_rows))
                start += batch.num_rows
                given = max(given, start)
            return
        except pa.ArrowInvalid as error:
            _raise_unless_longer(error, block, given)


def _parsed(file: SourceFile, names: Sequence[str], wanted: Sequence[str], block: int) -> Iterator[pa.RecordBatch]:
    shown_columns = list(dict.fromkeys([*wanted, names[-1]]))
    last = ""
    with (
        _opened(file) as content,
        pacsv.open_csv(content, convert_options=_as_text(shown_columns), **_options(file, block)) as reader,
    ):
        for batch in reader:
            last = batch.column(names[-1])[-1].as_py() if batch.num_rows else last
            yield batch
    if _may_be_open(file, names, last or ""):
        _check_quotes(file, names, block)


def _as_text(names: Sequence[str]) -> pacsv.ConvertOptions:
    # Everything is read as text and cast by the contract: type guessing would turn '007' into 7 and 'NA' into null.
    # An empty field that is not quoted is null; '""' is the empty text.
    return pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        include_columns=list(names),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _may_be_open(file: SourceFile, names: Sequence[str], last: str) -> bool:
    """Tell whether the last field of a CSV file may be one whose quote does not end."""
    if "\n" in last or "\r" in last or names.count(names[-1]) > 1:
        return True
    if file.codec is not None:
        return False
    with open(file.path, "rb") as content:
        content.seek(-1, os.SEEK_END)
        return content.read() not in b"\r\n"


def _check_quotes(file: SourceFile, names: Sequence[str], block: int) -> None:
    # Arrow takes the rest of a file for one value when a quote does not end, and says nothing. So the file is read
    # again with one more line, which comes out as the last row, or is swallowed as well.
    mark = secrets.token_hex(8)
    line = _DELIMITERS[file.format].join([mark] * len(names))
    last = None
    with _opened(file) as content:
        ended = _WithLastLine(content, f"\n{line}\n".encode())
        with pacsv.open_csv(ended, convert_options=_as_text(names[:1]), **_options(file, block)) as reader:
            # To the end, whatever comes: see _opened.
            for batch in reader:
                last = batch.column(0)[-1].as_py() if batch.num_rows else last
    if last != mark:
        raise pa.ArrowInvalid("a quoted field does not end")


class _WithLastLine(io.RawIOBase):
    """A file with one more line at its end."""

    def __init__(self, content: pa.NativeFile, line: bytes) -> None:
        self._content, self._line = content, line

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece: bytes = self._content.read(size)
        if not piece:
            piece, self._line = self._line, b""
        return piece
