"""How many rows and keys a table in the lake shows, in all or in some days."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from ownlens_plugins.api import LoadPlan, TouchedSlice
from ownlens_plugins.contracts import Kind, TableContract
from ownlens_plugins.powers import SliceCounts

from .columns import keys_to_lake
from .files import FileTable, Manifest
from .lookup import aliased_schema, key_aliases, key_columns, scan, scratch
from .paths import Layout
from .sql import between, partition_literal, quoted


def count_delta(table: DeltaTable, plan: LoadPlan, layout: Layout | None) -> SliceCounts:
    """Count the rows and keys of this version of a table in the plan's touched days; in all of it without them."""
    return _counted(plan.contract, scan(table, key_columns(plan.contract), _terms(plan, layout)))


def _terms(plan: LoadPlan, layout: Layout | None) -> list[str]:
    touched = plan.touched
    if touched is None:
        return []
    days = between(touched.column, touched.first, touched.last)
    if plan.contract.column(touched.column).type.kind is Kind.DATE:
        return [days]
    terms = [days.replace(quoted(touched.column), f"CAST({quoted(touched.column)} AS DATE)", 1)]
    if layout is not None and layout.source == touched.column:  # lets the query skip the files of other days
        first, last = (partition_literal(layout, layout.value_of(day)) for day in (touched.first, touched.last))
        terms.append(f"{quoted(layout.column)} BETWEEN {first} AND {last}")
    return terms


def count_files(files: FileTable, manifest: Manifest, plan: LoadPlan) -> SliceCounts:
    """Count the rows and keys of a manifest's files in the plan's touched days; in all of them without such."""
    columns = {*plan.contract.key, *([plan.touched.column] if plan.touched else [])}
    batches = files.read(manifest, columns)
    stream = pa.RecordBatchReader.from_batches(aliased_schema(plan.contract), _keys(plan, batches))
    return _counted(plan.contract, stream)


def _keys(plan: LoadPlan, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = aliased_schema(plan.contract)
    for batch in batches:
        touched = batch if plan.touched is None else _within(batch, plan.touched)
        yield pa.RecordBatch.from_arrays(keys_to_lake(plan.contract, touched).columns, schema=schema)


def _within(batch: pa.RecordBatch, touched: TouchedSlice) -> pa.RecordBatch:
    days = batch.column(touched.column).cast(pa.date32())
    first, last = (pa.scalar(day, pa.date32()) for day in (touched.first, touched.last))
    return batch.filter(pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last)))


def _counted(contract: TableContract, shown: pa.RecordBatchReader) -> SliceCounts:
    keys = ", ".join(key_aliases(contract))
    with scratch() as database:
        database.register("shown", shown)
        # Groups spill to disk, which a count of distinct values does not.
        query = f"SELECT coalesce(sum(n), 0), count(*) FROM (SELECT count(*) AS n FROM shown GROUP BY {keys})"
        ((rows, distinct),) = database.execute(query).fetchall()
    return SliceCounts(int(rows), int(distinct))
