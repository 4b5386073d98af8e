"""Commits in which delta-rs writes the staged rows itself: it alone checks constraints and maps column names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.errors import Rejected

from .columns import to_lake
from .config import S3Options
from .foreign import constraints, how_to_drop
from .paths import Layout
from .writer import require_all

# Checkpoints and log cleaning run after the load, so that their failure cannot look like a failed commit.
COMMIT_ONLY = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_BROKEN = re.compile(r"(\d+) rows failed validation check", re.IGNORECASE)


def write_rows(
    table: DeltaTable,
    plan: LoadPlan,
    options: S3Options,
    layout: Layout | None,
    schema: pa.Schema,
    *,
    mode: Literal["append", "overwrite"],
    reshapes: bool,
    properties: CommitProperties,
) -> None:
    """Append the staged rows to this very version of the table, or put them in the place of all others.

    `schema` is that of the rows, with a derived partition column. `reshapes` makes it the table's.

    Raises:
        CommitFailedError: another commit came first; look again.
        Rejected: rows break a constraint of the table, or the parts hold other rows than were staged.
    """
    source = Source(staged_batches(plan, layout, schema))
    with source.judged(table, plan):
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(schema, source),
            mode=mode,
            schema_mode="overwrite" if reshapes else None,
            partition_by=[] if layout is None else [layout.column],
            writer_properties=WriterProperties(compression=codec(options)),
            commit_properties=properties,
            post_commithook_properties=COMMIT_ONLY,
        )


def staged_batches(plan: LoadPlan, layout: Layout | None, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Stream the staged rows in lake types, with a derived partition column; other columns of `schema` are false.

    Raises:
        Rejected: after the last batch, when there were fewer or more rows than were staged.
    """
    rows = 0
    for batch in plan.reader():
        rows += batch.num_rows
        columns = [*to_lake(plan.contract, batch).columns]
        if layout is not None and layout.derived:
            columns.append(_partition_values(layout, layout.numbers(batch)))
        columns.extend(pa.repeat(pa.scalar(False), batch.num_rows) for _ in range(len(columns), len(schema)))
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
    require_all(plan, rows)  # an error here makes the write fail before it commits


class Source(Iterator[pa.RecordBatch]):
    """The rows of a commit, and the error that ended them early, if one did."""

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

    @contextmanager
    def judged(self, table: DeltaTable, plan: LoadPlan) -> Iterator[None]:
        """Turn what delta-rs says of a write that failed into the reason.

        Raises:
            Rejected: rows break a constraint of the table.
        """
        try:
            yield
        except DeltaError as error:
            if self.error is not None:  # delta-rs hides the reason why its source ended
                raise self.error from error
            if found := _BROKEN.search(str(error)):
                # Without its cause, which shows the rows.
                raise _broken(table, plan, int(found[1])) from None
            raise


def _broken(table: DeltaTable, plan: LoadPlan, rows: int) -> Rejected:
    held = constraints(table)
    named = ", ".join(sorted(held)) or "not null"
    return Rejected(
        f"{plan.table}: {rows} staged rows or more break a constraint of the table in s3 ({named}); correct them in "
        f"the source, or {how_to_drop(table, held)}"
    )


def _partition_values(layout: Layout, numbers: np.ndarray) -> pa.Array:
    if layout.unit == "day":
        return pa.array(numbers, pa.int32()).cast(pa.date32())
    distinct, places = np.unique(numbers, return_inverse=True)
    return pa.array([layout.value(int(number)) for number in distinct], pa.string()).take(pa.array(places))


def codec(options: S3Options) -> Any:
    """Return the name of a contract's compression in the words of delta-rs."""
    return "UNCOMPRESSED" if options.compression == "none" else options.compression.upper()
