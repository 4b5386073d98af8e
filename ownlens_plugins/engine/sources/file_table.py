"""All files of a table as one stream of batches in one schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from ...contracts import Column
from ...errors import SourceInvalid, UnknownName
from .file_formats import column_types, explained_file, file_batches, first_members
from .file_listing import SourceFile, list_files
from .file_names import shown


@dataclass(frozen=True)
class FileTable:
    """A table's files as they were listed, with the columns of each; None for JSON."""

    table: str
    folder: str
    files: tuple[SourceFile, ...]
    schemas: tuple[pa.Schema | None, ...]

    @staticmethod
    def opened(folder: str, table: str) -> FileTable:
        """List a table's files and look into each.

        Raises:
            SourceInvalid: something lies there that cannot be read as a part of the table.
            Retryable: a file changed or vanished meanwhile.
        """
        files = list_files(folder, table)
        schemas = []
        for file in files:
            with explained_file(table, file):
                schemas.append(column_types(file))
        return FileTable(table, folder, files, tuple(schemas))

    def names(self) -> Iterator[str]:
        """Yield the columns of each file; of JSON, the members of its first record."""
        for file, schema in zip(self.files, self.schemas, strict=True):
            with explained_file(self.table, file):
                yield from first_members(file) if schema is None else schema.names

    def schema(self, columns: Sequence[Column]) -> pa.Schema:
        """Return the types in which the columns of all files fit without a change.

        Raises:
            SourceInvalid: a file lacks a column, or has it twice, or types differ.
        """
        held = [self._held(file, schema, columns) for file, schema in zip(self.files, self.schemas, strict=True)]
        types = {column.name: [schema.field(column.name).type for schema in held] for column in columns}
        widest = {name: _widest(given) for name, given in types.items()}
        if differing := [name for name, wide in widest.items() if wide is None]:
            raise self._differ(differing)
        return pa.schema(list(widest.items()))

    def _held(self, file: SourceFile, schema: pa.Schema | None, columns: Sequence[Column]) -> pa.Schema:
        if schema is None:
            return pa.schema([(column.name, pa.string()) for column in columns])
        self._check_columns(file, schema.names, columns)
        parts = [schema.field(c.name) if c.name in schema.names else pa.field(c.name, pa.string()) for c in columns]
        return pa.schema(parts)

    def _check_columns(self, file: SourceFile, names: list[str], columns: Sequence[Column]) -> None:
        known = [*names, *(name for name, _ in file.partition if name not in names)]
        wrong = [column.name for column in columns if known.count(column.name) != 1]
        if not wrong:
            return
        twice, missing = ([name for name in wrong if (name in known) is there] for there in (True, False))
        causes = [f"has column {', '.join(map(repr, twice))} twice"] if twice else []
        if missing:
            causes.append(f"lacks column {', '.join(map(repr, missing))} ({_near(missing[0], known)})")
        raise SourceInvalid(
            f"{self.table}: {shown(file.name)} in {self.folder} {' and '.join(causes)}; correct the file, "
            "or take the column out of the contract"
        )

    def _differ(self, names: Sequence[str]) -> SourceInvalid:
        columns = f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
        return SourceInvalid(
            f"{self.table}: the files in {self.folder} hold {columns} in types that differ; write them alike"
        )

    def batches(self, columns: Sequence[Column]) -> Iterator[tuple[SourceFile, pa.RecordBatch]]:
        """Stream all rows, with the file that each batch is from.

        Raises:
            SourceInvalid: a file cannot be read.
            Retryable: a file changed since it was listed.
        """
        wanted = self.schema(columns)
        for file, schema in zip(self.files, self.schemas, strict=True):
            with explained_file(self.table, file):
                for batch in file_batches(file, columns, [] if schema is None else schema.names):
                    if schema is None:
                        self._check_columns(file, batch.schema.names, columns)
                    yield file, self._aligned(batch, wanted)

    def _aligned(self, batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
        batch = batch.select(wanted.names)
        if batch.schema.types == wanted.types:
            return pa.RecordBatch.from_arrays(batch.columns, schema=wanted)
        try:
            return batch.cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            names = [field.name for field, given in zip(wanted, batch.schema.types, strict=True) if field.type != given]
            raise self._differ(names) from error


def _widest(types: list[pa.DataType]) -> pa.DataType | None:
    distinct = list(dict.fromkeys(types))
    if len(distinct) == 1:
        return distinct[0]
    try:
        return _wider([_plain(given) for given in distinct])
    except pa.ArrowException:
        return None


def _near(name: str, known: Sequence[str]) -> str:
    if len(known) == 1 and (sign := next((sign for sign in ";\t|" if sign in known[0]), None)):
        return f"its fields are separated by {sign!r}; write commas, or tabs in a file .tsv"
    return str(UnknownName("column", name, known))


def _plain(given: pa.DataType) -> pa.DataType:
    if pt.is_dictionary(given):
        return _plain(given.value_type)
    if pt.is_large_string(given) or given == pa.string_view():
        return pa.string()
    if pt.is_large_binary(given) or given == pa.binary_view():
        return pa.binary()
    return given


def _wider(types: list[pa.DataType]) -> pa.DataType:
    """Return a type that holds every value of the given ones unchanged.

    Raises:
        pa.ArrowException: there is none.
    """
    wide = _common(types)
    lossy = pt.is_floating(wide) and any(pt.is_decimal(given) for given in types)
    # Text is no bytes, and a struct's new member would be a null that the source does not have.
    other = pt.is_binary(wide) and any(pt.is_string(given) for given in types)
    if lossy or other or pt.is_nested(wide):
        raise pa.ArrowInvalid("no common type")
    return wide


def _common(types: list[pa.DataType]) -> pa.DataType:
    if all(pt.is_timestamp(given) and given.tz for given in types):
        # The same moment, written in another zone.
        types = [pa.timestamp(given.unit, "UTC") for given in types]
    schemas = [pa.schema([("column", given)]) for given in types]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
