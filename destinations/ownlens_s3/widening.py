"""Columns of a Delta table that must hold more, or leave: by the schema alone where files allow it, else by new files.

delta-rs cannot change a column's type, so its rows are written anew. They are streamed: memory is bounded.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema

from ownlens_plugins.contracts import Column

from .columns import TAG, lake_field, lake_type, tag
from .config import S3Options
from .datafiles import DataFile, FileKind, PartitionedFiles
from .folder import TableFolder
from .ledger import Attempt
from .paths import Layout, data_file_name
from .streaming import COMMIT_ONLY


def needs_rewriting(table: DeltaTable, columns: Sequence[Column]) -> bool:
    """Tell whether one of the columns gets another type in the files, and not only in the schema."""
    there = pa.schema(table.schema().to_arrow())
    return any(str(there.field(column.name).type) != str(lake_type(column.type)) for column in columns)


def relax(table: DeltaTable, columns: Sequence[Column], left: Collection[str] = ()) -> None:
    """Let columns be null, and note their logical types, in commits of their own that change no file.

    `left` are the names of columns that are to be null from now on, as no contract names them.

    Raises:
        CommitFailedError: another commit came first; what was done stays, and the rest is done by the next call.
    """
    fields = {field.name: field for field in table.schema().fields}
    alone = CommitProperties(max_commit_retries=0)
    for name in left:
        table.alter.drop_column_not_null(name, alone, COMMIT_ONLY)
    for column in columns:
        field = fields[column.name]
        if column.nullable and not field.nullable:
            table.alter.drop_column_not_null(column.name, alone, COMMIT_ONLY)
        if field.metadata.get(TAG) != tag(column.type):
            noted = {**field.metadata, TAG: tag(column.type)}
            table.alter.set_column_metadata(
                column.name, noted, commit_properties=alone, post_commithook_properties=COMMIT_ONLY
            )


def widened_schema(table: DeltaTable, columns: Sequence[Column], dropped: Collection[str] = ()) -> Schema:
    """Return the table's schema with the contract's types for some columns, and without those that are dropped.

    None of them loses the right to be null.
    """
    fields = {field.name: field for field in table.schema().fields if field.name not in dropped}
    for column in columns:
        nullable = column.nullable or fields[column.name].nullable
        wanted = pa.schema([lake_field(column).with_nullable(nullable)])
        fields[column.name] = Schema.from_arrow(wanted).fields[0]
    return Schema(list(fields.values()))


def rewritten(
    table: DeltaTable, schema: Schema, folder: TableFolder, layout: Layout | None, options: S3Options, marker: Attempt
) -> list[DataFile]:
    """Write all rows of this version of the table into new files, which nothing refers to yet."""
    kind = FileKind(options.format, options.compression, (), _in_files(schema, layout))
    files = PartitionedFiles(folder, kind, layout, namer("widened", marker, kind, layout))
    try:
        shown = QueryBuilder().register("lake", table).execute("SELECT * FROM lake")
        for batch in pa.RecordBatchReader.from_stream(shown):
            arrays = [batch.column(field.name).cast(field.type) for field in kind.schema]
            rows = pa.RecordBatch.from_arrays(arrays, schema=kind.schema)
            files.add(rows, None if layout is None else layout.numbers(batch))
        written = files.finish()
    except BaseException:
        files.drop()
        raise
    return written


def _in_files(schema: Schema, layout: Layout | None) -> pa.Schema:
    there = pa.schema(schema.to_arrow())
    return pa.schema([field for field in there if layout is None or field.name != layout.column])


def namer(word: str, marker: Attempt, kind: FileKind, layout: Layout | None) -> Callable[[str | None, int], str]:
    """Return what names the files that an attempt writes beside those of staged parts; `word` says what for."""

    def path(partition: str | None, index: int) -> str:
        detail = f"{word}-{secrets.token_hex(4)}-{index:04d}"
        name = data_file_name(marker.sequence, marker.attempt, detail, kind.suffix)
        return name if layout is None or partition is None else f"{layout.folder(partition)}/{name}"

    return path
