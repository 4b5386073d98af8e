"""Steps by which a Delta table comes to fit a contract. Each is one commit of its own that no load can come between."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction

from ownlens_plugins.api import LoadPlan, new_attempt
from ownlens_plugins.contracts import Column
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.faults import reach

from .columns import lake_field
from .config import S3Options
from .datafiles import DataFile
from .evolution import Changes
from .folder import TableFolder
from .foreign import is_mapped, kept_comments, require_constraints_fit
from .identity import WIDENED
from .ledger import announce
from .locating import HeldFile
from .paths import Layout
from .streaming import COMMIT_ONLY
from .widening import needs_rewriting, relax, rewritten, widened_schema


@dataclass(frozen=True)
class Alteration:
    """What changes a table's schema: where its files lie, and how its rows are partitioned."""

    folder: TableFolder
    layout: Layout | None
    options: S3Options

    def step(self, table: DeltaTable, plan: LoadPlan, needed: Changes) -> None:
        """Take one step towards what the contract needs; what is left is found by looking again.

        Raises:
            CommitFailedError: another commit came first. Rejected: another program's hold on the table forbids it.
        """
        _require_alterable(table, plan, needed)
        # Columns leave before others come: a new one may differ from an old one by case alone.
        if needed.dropped or needs_rewriting(table, needed.widened):
            self._rewrite(table, plan, needed.widened, needed.dropped)
        elif needed.widened or needed.relaxed:
            relax(table, needed.widened, needed.relaxed)
        else:
            added = pa.schema([lake_field(column) for column in needed.added])
            # With retries, a rival's columns of the same names would be added once more.
            table.alter.add_columns(
                list(Schema.from_arrow(added).fields),
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=COMMIT_ONLY,
            )

    def _rewrite(self, table: DeltaTable, plan: LoadPlan, columns: Sequence[Column], dropped: Collection[str]) -> None:
        """Write all rows anew in wider types and without columns that left."""
        schema = kept_comments(table, widened_schema(table, columns, dropped))
        marker = announce(self.folder, plan.sequence, new_attempt())
        files = rewritten(table, schema, self.folder, self.layout, self.options, marker)
        reach("before_commit")
        require_present(self.folder, files, plan.table)
        notes = {WIDENED: {**{column.name: str(column) for column in columns}, **dict.fromkeys(dropped, "dropped")}}
        table.create_write_transaction(
            add_actions(files, self.layout),
            "overwrite",
            schema,
            partition_columns(self.layout),
            # With retries it would be rebased on a rival's commit, whose rows it has not read.
            commit_properties=CommitProperties(max_commit_retries=0, custom_metadata=notes),
            post_commithook_properties=COMMIT_ONLY,
        )
        # Only now: when this commit's answer is lost, the marker lets the load find out which files are in use.
        self.folder.delete([marker.name])


def _require_alterable(table: DeltaTable, plan: LoadPlan, needed: Changes) -> None:
    if is_mapped(table):
        raise Rejected(
            f"{plan.table}: the table in s3 maps its columns to other names in files (delta.columnMapping.mode), so "
            f"s3 cannot alter it ({_in_words(needed)}); alter it there, or replace it with --full-refresh"
        )
    if needed.dropped:
        require_constraints_fit(table, plan, needed.dropped)


def _in_words(needed: Changes) -> str:
    names = [column.name for column in (*needed.added, *needed.widened)]
    return ", ".join(map(repr, [*names, *needed.relaxed, *needed.dropped]))


def require_present(folder: TableFolder, files: Sequence[DataFile], table: str) -> None:
    """Check that new files are there in full.

    Raises:
        Retryable: they are not.
    """
    sizes = folder.sizes(file.path for file in files)
    if any(sizes.get(file.path) != file.bytes for file in files):
        raise Retryable(f"{table}: s3 lost new files of this attempt; run the load again")


def remove_actions(files: Sequence[HeldFile], layout: Layout | None) -> list[RemoveAction]:
    """Return what the log says of files that others replace."""
    now = int(time.time() * 1000)
    return [
        RemoveAction(file.path, True, now, file.size, {} if layout is None else {layout.column: file.partition})
        for file in files
    ]


def add_actions(files: Sequence[DataFile], layout: Layout | None) -> list[AddAction | RemoveAction]:
    """Return what the log says of new files."""
    now = int(time.time() * 1000)
    return [
        AddAction(
            file.path, file.bytes, {} if layout is None else {layout.column: file.partition}, now, True, file.stats
        )
        for file in files
    ]


def _values(file: DataFile, layout: Layout | None) -> dict[str, str | None]:
    return {} if layout is None else {layout.column: file.partition}


def partition_columns(layout: Layout | None) -> list[str]:
    """Return the names of the columns by which a table with this layout is partitioned."""
    return [] if layout is None else [layout.column]
