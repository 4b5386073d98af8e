"""A Delta table and the one step that makes a load visible in it together with its marker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Schema,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected, Retryable

from .altering import add_actions, partition_columns, remove_actions, require_present
from .columns import from_lake, lake_schema
from .config import S3Options
from .covering import holds_all
from .datafiles import DataFile
from .evolution import require_distinct_names
from .folder import LocalFolder, TableFolder
from .foreign import kept_comments, require_writable
from .handles import Handle, Handles
from .identity import estrangement
from .ledger import (
    Attempt,
    LedgerEntry,
    as_document,
    sweep,
    with_metrics,
)
from .marks import Marks
from .merging import merge
from .patching import Patched, can_patch, patch
from .paths import LOG, Layout, layout_of
from .reading import read_rows
from .recording import Records
from .replacing import replace_all
from .shape import Shape
from .stats import count_rows
from .streaming import COMMIT_ONLY, write_rows

_PREPARE_TRIES = 10
# Maintenance deletes the files of versions that are older than a week, so older entries of the log are of no use, and
# in a local folder each open lists them all. Whoever wants them sets the property to more; it is not set again.
LOG_RETENTION, LOG_KEPT_DAYS = "delta.logRetentionDuration", 7


@dataclass(frozen=True)
class DeltaLake:
    """One contract's Delta table.

    Every commit of a load carries the application transactions of `marks.Marks`.
    """

    folder: TableFolder
    contract: TableContract
    options: S3Options
    handles: Handles = field(default_factory=Handles, compare=False, repr=False)

    @property
    def layout(self) -> Layout | None:
        return layout_of(self.contract, self.options)

    @property
    def shape(self) -> Shape:
        """How the table has to look for a load."""
        return Shape(self.folder, self.contract, self.options, self.layout)

    @property
    def _partition_columns(self) -> list[str]:
        return partition_columns(self.layout)

    @property
    def schema(self) -> pa.Schema:
        """The table's schema: the contract's columns in lake types, then a derived partition column."""
        own = lake_schema(self.contract)
        return own if self.layout is None or not self.layout.derived else own.append(self.layout.field)

    def open(self) -> Handle | None:
        """Return the table at its newest version, for the caller alone, or None when there is none."""
        return self.handles.take(self.folder)

    def exists(self) -> bool:
        return self.folder.has_files(LOG)

    def row_count(self) -> int:
        """Return the number of visible rows; 0 when there is no table."""
        with self.handles.lent(self.folder) as table:
            return 0 if table is None else count_rows(table)

    def position(self) -> int | None:
        """Return the highest sequence that was applied, or None."""
        with self.handles.lent(self.folder) as table:
            found = None if table is None else table.transaction_version(self._app)
            return None if found is None else int(found)

    @property
    def _app(self) -> str:
        return f"ownlens/{self.contract.table}"

    # -- before data moves ------------------------------------------------------------------------------------------

    def prepare(self, plan: LoadPlan) -> Handle:
        """Create the table, or alter it step by step, until a plan can be loaded into it.

        A full refresh alters nothing: its commit replaces the schema together with the rows.

        Raises:
            Rejected: the contract does not fit the table, or the table is not what its loads left.
        """
        require_distinct_names(self.contract)
        table = self.open()
        for attempt in range(_PREPARE_TRIES):
            try:
                table = table or self._create()
                self.require_own(table, plan)
                before = table.version()
                if self.shape.is_ready(table, plan, table.transaction_version(self._app)):
                    return table
                self.make_durable(table, before)
            except CommitFailedError:  # another process creates or alters the table in this moment: look again
                time.sleep(0.02 * (attempt + 1))
            table = self.handles.newest(self.folder, table)
        raise Retryable(f"{self.contract.table}: s3 table is being altered by others; run it again")

    def _create(self) -> Handle:
        try:
            DeltaTable.create(
                self.folder.uri,
                schema=self.schema,
                mode="error",
                partition_by=self._partition_columns,
                name=self.contract.table,
                description=self.contract.description or None,
                storage_options=self.folder.storage_options,
                configuration={LOG_RETENTION: f"interval {LOG_KEPT_DAYS} days"},
                # With retries a second creation would be rebased and replace the first one's metadata.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except DeltaError as error:
            if "already exists" in str(error):
                raise CommitFailedError("another process created the table") from error
            raise
        return Handle(self.folder)

    def require_own(self, table: DeltaTable, plan: LoadPlan) -> None:
        """Refuse to add rows to a table that is not what its loads left; to replace all of its rows is no harm.

        Raises:
            Rejected: it is another table, another program took rows of loads back, or the table forbids the load.
        """
        require_writable(table, plan)
        if plan.strategy is not Strategy.OVERWRITE and (reason := self.estrangement(table)):
            raise Rejected(f"{self.contract.table}: {reason}, or replace it with --full-refresh")

    def estrangement(self, table: DeltaTable) -> str | None:
        """Return in words why the table is not what its loads left, or None when it is."""
        return estrangement(self.folder, table, table.transaction_version(self._app))

    # -- what is committed ------------------------------------------------------------------------------------------

    def marks(self, table: DeltaTable) -> Marks:
        """Return what this version of the table says of its loads."""
        return Marks(table, self._app)

    def is_done(self, table: DeltaTable, sequence: int) -> bool:
        """Tell whether a load is in, or was overtaken by an overwrite."""
        return self.marks(table).is_done(sequence)

    def recorded(self, table: DeltaTable, plan: LoadPlan) -> LoadResult | None:
        """Return the result of a load that this version of the table holds, or None.

        Raises:
            StagedSetChanged: the load id is recorded with another digest.
            Rejected: the ledger knows the load, and the log has lost its mark.
        """
        return None if self.estrangement(table) else self._records(table).recorded(plan)

    def complete(self, table: DeltaTable) -> None:
        """Enter the newest load in the ledger if a crash prevented it, before another load takes its mark."""
        self._records(table).complete()

    def _records(self, table: DeltaTable) -> Records:
        return Records(self.folder, self.contract, table, self.marks(table))

    def is_blank(self) -> bool:
        """Tell whether the table was created and never got a file."""
        with self.handles.lent(self.folder) as table:
            return table is None or not self.referenced(table)

    def clear_attempts(self) -> list[Attempt]:
        """Clear what finished attempts left; return the attempts that may still be alive."""
        with self.handles.lent(self.folder) as table:
            return [] if table is None else self.clear_attempts_of(table)

    def clear_attempts_of(self, table: DeltaTable, *, own: Attempt | None = None) -> list[Attempt]:
        """Clear what attempts left that are finished in this version of the table; return those that may be alive.

        `own` is an attempt that clears up behind itself.
        """
        return sweep(self.folder, lambda number: self.is_done(table, number), lambda: self.referenced(table), own=own)

    def is_empty(self, table: DeltaTable) -> bool:
        return not table.file_uris()

    def referenced(self, table: DeltaTable) -> set[str]:
        """Return the paths of all files that this version or a retained older one refers to."""
        current = table.get_add_actions(flatten=True).column("path")
        older = table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
        return {str(path) for path in current.to_pylist()} | set(older)

    # -- the commit -------------------------------------------------------------------------------------------------

    def append(
        self, table: DeltaTable, plan: LoadPlan, files: Sequence[DataFile] | None, entry: LedgerEntry
    ) -> LedgerEntry:
        """Add the rows of these files; without files, those of the staged parts, which delta-rs then checks."""
        if files is None:
            self._stream(table, plan, entry, "append", replaces=holds_all(plan))
        else:
            self._commit_files(table, plan, files, entry, "append", replaces=holds_all(plan))
        return entry

    def overwrite(
        self, table: DeltaTable, plan: LoadPlan, files: Sequence[DataFile] | None, entry: LedgerEntry
    ) -> LedgerEntry:
        """Put the rows of these files in the place of all others; without files, those of the staged parts."""
        entry = replace(entry, deleted=entry.deleted + count_rows(table))
        if files is None:
            self._stream(table, plan, entry, "overwrite", replaces=True)
        elif self.shape.reshapes(table, plan):
            properties = self._properties(table, plan, entry, replaces=True)
            schema = kept_comments(table, Schema.from_arrow(self.schema))
            replace_all(
                table, self.folder, add_actions(files, self.layout), schema, self._partition_columns, properties
            )
        else:
            self._commit_files(table, plan, files, entry, "overwrite", replaces=True)
        return entry

    def _stream(
        self,
        table: DeltaTable,
        plan: LoadPlan,
        entry: LedgerEntry,
        mode: Literal["append", "overwrite"],
        *,
        replaces: bool,
    ) -> None:
        reshapes = self.shape.reshapes(table, plan)
        schema = pa.schema(kept_comments(table, Schema.from_arrow(self.schema)).to_arrow()) if reshapes else self.schema
        properties = self._properties(table, plan, entry, replaces=replaces)
        before = table.version()
        write_rows(table, plan, self.options, self.layout, schema, mode=mode, reshapes=reshapes, properties=properties)
        if table.version() == before:
            # No rows to write is no commit for delta-rs; the marker still has to be there.
            self._commit_files(table, plan, (), entry, mode, replaces=replaces)

    def _commit_files(
        self,
        table: DeltaTable,
        plan: LoadPlan,
        files: Sequence[DataFile],
        entry: LedgerEntry,
        mode: str,
        *,
        replaces: bool,
    ) -> None:
        table.create_write_transaction(
            add_actions(files, self.layout),
            mode,
            table.schema(),
            self._partition_columns,
            commit_properties=self._properties(table, plan, entry, replaces=replaces),
            post_commithook_properties=COMMIT_ONLY,
        )

    def _properties(self, table: DeltaTable, plan: LoadPlan, entry: LedgerEntry, *, replaces: bool) -> CommitProperties:
        note = {name: value for name, value in as_document(entry).items() if name != "columns"}
        return self.marks(table).properties(plan, note, replaces=replaces)

    def merge(
        self,
        table: DeltaTable,
        plan: LoadPlan,
        partitions: Sequence[str],
        entry: LedgerEntry,
        marker: Attempt,
        written: set[str],
    ) -> tuple[LedgerEntry, set[str]]:
        """Insert new keys, update older rows, and delete what the set shows to be gone; equal rows are left alone.

        `written` gets the paths of new files, also of those that are not committed.

        Returns:
            The entry with its counts, and the paths of `written` that are committed.
        """
        if can_patch(table, plan):
            patched = patch(
                table, plan, self.options, self.layout, self.schema, self.folder, marker, partitions, written
            )
            if patched is not None:
                return self._commit_patch(table, plan, patched, entry), {file.path for file in patched.files}
        return self._merge(table, plan, partitions, entry), set()

    def _commit_patch(self, table: DeltaTable, plan: LoadPlan, patched: Patched, entry: LedgerEntry) -> LedgerEntry:
        """Replace files, in one commit with the marker, in the very version in which the keys were looked up."""
        require_present(self.folder, patched.files, self.contract.table)
        entry = replace(entry, inserted=patched.inserted, updated=patched.updated, unchanged=patched.unchanged)
        properties = self._properties(table, plan, entry, replaces=False)
        # With retries it would be rebased on a commit of another program, whose rows were not looked at.
        properties.max_commit_retries = 0
        table.create_write_transaction(
            [*remove_actions(patched.removed, self.layout), *add_actions(patched.files, self.layout)],
            "append",
            table.schema(),
            self._partition_columns,
            commit_properties=properties,
            post_commithook_properties=COMMIT_ONLY,
        )
        return entry

    def _merge(self, table: DeltaTable, plan: LoadPlan, partitions: Sequence[str], entry: LedgerEntry) -> LedgerEntry:
        before = table.version()

        def properties(left: int) -> CommitProperties:
            return self._properties(table, plan, replace(entry, unchanged=left), replaces=holds_all(plan))

        metrics, left = merge(table, plan, self.options, self.layout, self.schema, partitions, properties)
        merged = with_metrics(replace(entry, unchanged=left), metrics)
        if table.version() == before:
            # A merge that changes nothing commits nothing; the marker still has to be there.
            self._commit_files(table, plan, (), merged, "append", replaces=holds_all(plan))
        return merged

    # -- reading and keeping ----------------------------------------------------------------------------------------

    def read(self, table: DeltaTable) -> Iterator[pa.RecordBatch]:
        """Stream the visible rows in contract types."""
        for batch in read_rows(table, self.folder, self.schema, self.layout):
            yield from_lake(self.contract, batch)

    def make_durable(self, table: DeltaTable, before: int) -> None:
        """Let the commits after version `before` survive a power failure, which delta-rs leaves to the system."""
        if isinstance(self.folder, LocalFolder):
            table.update_incremental()
            self.folder.sync(f"{LOG}/{version:020d}.json" for version in range(before + 1, table.version() + 1))

    def remove(self) -> None:
        """Delete the table's files and its log, newest version first, so that no crash leaves a broken one."""
        table = self.open()
        if table is not None:
            self.folder.delete(sorted(self.referenced(table)))
        logs = [entry.name for entry in self.folder.entries(LOG)]
        self.folder.delete([name for name in logs if name.endswith("_last_checkpoint")])
        for name in sorted((name for name in logs if not name.endswith("_last_checkpoint")), reverse=True):
            self.folder.delete([name])
