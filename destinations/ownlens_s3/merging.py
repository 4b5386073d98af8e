"""The merge of a staged set into a Delta table: one commit that inserts, updates, moves and deletes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties
from deltalake.exceptions import DeltaError
from deltalake.table import TableMerger

from ownlens_plugins.api import LoadPlan

from .columns import key_schema, to_lake
from .config import S3Options
from .covering import keys_only
from .lookup import Found, find_rows, scratch
from .paths import Layout
from .sql import is_newer, quoted, same_row
from .writer import require_all

# Checkpoints and log cleaning run after the load, so that their failure cannot look like a failed commit.
COMMIT_ONLY = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_GONE = "_ownlens_gone"


def merge(
    table: DeltaTable,
    plan: LoadPlan,
    options: S3Options,
    layout: Layout | None,
    schema: pa.Schema,
    partitions: Sequence[str],
    properties: CommitProperties,
) -> dict[str, int]:
    """Apply a set of an upsert to this very version of the table; return delta-rs's counts.

    `schema` is the table's, `partitions` those of the staged rows. Nothing is committed when nothing changes.

    Raises:
        CommitFailedError: another commit came first; look again.
        Rejected: the parts hold other rows than were staged.
    """
    with scratch() as database:
        # Looked up in the handle that commits. A handle opened in between could hold a rival's rows that the look-up
        # has not seen, and the commit would not conflict with the rival's.
        found = find_rows(database, table, plan, layout, partitions)
        merging = _Merge(plan, options, layout, schema, found)
        return merging.run(table, properties) if merging.rows or found.gone else {}


class _Merge:
    """One merge. The rows that are gone travel as source rows of their own, marked, beside the staged ones."""

    def __init__(
        self, plan: LoadPlan, options: S3Options, layout: Layout | None, schema: pa.Schema, found: Found
    ) -> None:
        self._plan, self._options, self._layout, self._schema, self._found = plan, options, layout, schema, found
        self.rows = 0 if keys_only(plan) else plan.rows

    def run(self, table: DeltaTable, properties: CommitProperties) -> dict[str, int]:
        source = _Source(self._batches())
        merger = table.merge(
            pa.RecordBatchReader.from_batches(self._source_schema, source),
            same_row(self._plan.contract, self._layout, self._found.partitions),
            source_alias="s",
            target_alias="t",
            writer_properties=WriterProperties(compression=_codec(self._options)),
            commit_properties=properties,
            post_commithook_properties=COMMIT_ONLY,
        )
        try:
            return dict(self._steps(merger).execute())
        except DeltaError as error:
            if source.error is not None:  # delta-rs hides the reason why its source ended
                raise source.error from error
            raise

    def _steps(self, merger: TableMerger) -> TableMerger:
        staged = "true"
        if self._found.gone:
            merger, staged = merger.when_matched_delete(f"s.{_GONE}"), f"NOT s.{_GONE}"
        if not self.rows:
            return merger
        newer = is_newer(self._plan.contract, always=self._plan.covers is not None)
        values = {quoted(name): f"s.{quoted(name)}" for name in self._schema.names}
        updating = merger.when_matched_update(values, predicate=f"{staged} AND {newer}")
        return updating.when_not_matched_insert(values, predicate=staged)

    @property
    def _source_schema(self) -> pa.Schema:
        if not self._found.gone:
            return self._schema
        # Rows that are gone have a key and nothing else.
        return pa.schema([*(field.with_nullable(True) for field in self._schema), pa.field(_GONE, pa.bool_())])

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self.rows:
            yield from self._staged()
        if self._found.gone:
            yield from map(self._marked, self._found.gone_keys())

    def _staged(self) -> Iterator[pa.RecordBatch]:
        rows, schema = 0, self._source_schema
        for batch in self._plan.reader():
            rows += batch.num_rows
            columns = [*to_lake(self._plan.contract, batch).columns]
            if self._layout is not None and self._layout.derived:
                columns.append(_partition_values(self._layout, self._layout.numbers(batch)))
            if self._found.gone:
                columns.append(pa.repeat(pa.scalar(False), batch.num_rows))
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
        require_all(self._plan, rows)  # an error here makes the merge fail before it commits

    def _marked(self, keys: pa.RecordBatch) -> pa.RecordBatch:
        names = key_schema(self._plan.contract).names
        columns = [
            keys.column(field.name) if field.name in names else pa.nulls(keys.num_rows, field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(
            [*columns, pa.repeat(pa.scalar(True), keys.num_rows)], schema=self._source_schema
        )


class _Source(Iterator[pa.RecordBatch]):
    """The rows of a merge, and the error that ended them early, if one did."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: Exception | None = None

    def __next__(self) -> pa.RecordBatch:
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise


def _partition_values(layout: Layout, numbers: np.ndarray) -> pa.Array:
    if layout.unit == "day":
        return pa.array(numbers, pa.int32()).cast(pa.date32())
    distinct, places = np.unique(numbers, return_inverse=True)
    return pa.array([layout.value(int(number)) for number in distinct], pa.string()).take(pa.array(places))


def _codec(options: S3Options) -> Any:
    return "UNCOMPRESSED" if options.compression == "none" else options.compression.upper()
