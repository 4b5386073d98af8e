"""The merge of a staged set into a Delta table: one commit that inserts, updates, moves and deletes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, WriterProperties
from deltalake.table import TableMerger

from ownlens_plugins.api import LoadPlan

from .columns import key_schema
from .config import S3Options
from .covering import keys_only
from .lookup import Found, find_rows, scratch
from .paths import Layout
from .sql import is_newer, quoted, same_row
from .streaming import COMMIT_ONLY, Source, codec, staged_batches

_GONE = "_ownlens_gone"


def merge(
    table: DeltaTable,
    plan: LoadPlan,
    options: S3Options,
    layout: Layout | None,
    schema: pa.Schema,
    partitions: Sequence[str],
    properties: Callable[[int], CommitProperties],
) -> tuple[dict[str, int], int]:
    """Apply a set of an upsert to this very version of the table.

    `schema` is the table's, `partitions` those of the staged rows. `properties` are made from the number of keys that a
    sweep leaves. Nothing is committed when nothing changes.

    Returns:
        delta-rs's counts, and the number of keys that a sweep leaves; 0 for any other set.

    Raises:
        CommitFailedError: another commit came first; look again.
        Rejected: the parts hold other rows than were staged.
    """
    with scratch() as database:
        # Looked up in the handle that commits. A handle opened in between could hold a rival's rows that the look-up
        # has not seen, and the commit would not conflict with the rival's.
        found = find_rows(database, table, plan, layout, partitions)
        merging = _Merge(plan, options, layout, schema, found)
        left = found.there if keys_only(plan) else 0
        return (merging.run(table, properties(left)) if merging.rows or found.gone else {}), left


class _Merge:
    """One merge. The rows that are gone travel as source rows of their own, marked, beside the staged ones."""

    def __init__(
        self, plan: LoadPlan, options: S3Options, layout: Layout | None, schema: pa.Schema, found: Found
    ) -> None:
        self._plan, self._options, self._layout, self._schema, self._found = plan, options, layout, schema, found
        self.rows = 0 if keys_only(plan) else plan.rows

    def run(self, table: DeltaTable, properties: CommitProperties) -> dict[str, int]:
        source = Source(self._batches())
        merger = table.merge(
            pa.RecordBatchReader.from_batches(self._source_schema, source),
            same_row(self._plan.contract, self._layout, self._found.partitions),
            source_alias="s",
            target_alias="t",
            writer_properties=WriterProperties(compression=codec(self._options)),
            commit_properties=properties,
            post_commithook_properties=COMMIT_ONLY,
        )
        with source.judged(table, self._plan):
            return dict(self._steps(merger).execute())

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
            yield from staged_batches(self._plan, self._layout, self._source_schema)
        if self._found.gone:
            yield from map(self._marked, self._found.gone_keys())

    def _marked(self, keys: pa.RecordBatch) -> pa.RecordBatch:
        names = key_schema(self._plan.contract).names
        columns = [
            keys.column(field.name) if field.name in names else pa.nulls(keys.num_rows, field.type)
            for field in self._schema
        ]
        return pa.RecordBatch.from_arrays(
            [*columns, pa.repeat(pa.scalar(True), keys.num_rows)], schema=self._source_schema
        )
