"""Keeping a table small: old rows leave, small files become few, and what nobody can need any more is deleted.

Loads may run at the same time, and each step may be killed: a step is one commit of the table, or deletes what no
version and no attempt names. The next maintenance does what is left.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import CommitFailedError

from ownlens_plugins.contracts import Kind
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.powers import Chore, Upkeep

from .compacting import Compaction
from .delta import DeltaLake
from .files import FileTable
from .folder import TableFolder
from .forgetting import forget, forgotten
from .handles import Handle
from .ledger import clear_drafts, leftovers
from .paths import Layout
from .sql import partition_literal, quoted

# Delta's own rule: readers and writers of older versions get a week.
_KEPT_HOURS = 168
# With delta-rs's own drafts of such files, which a kill leaves in a local folder.
_DELTA_FILE = re.compile(r"(?:[^/]+=[^/]+/)?part-[^/]+\.parquet(?:#\d+)?")


def maintain_files(table: FileTable, upkeep: Upkeep) -> Iterator[Chore]:
    """Clear what attempts left of a Parquet or JSON table, and let its ledger forget. Each load replaces the rest."""
    position = table.position() or 0
    gone = leftovers(table.folder, lambda number: number <= position, table.referenced)
    if not upkeep.dry_run:
        clear_drafts(table.folder)
        table.clear_attempts()
    yield from _leftovers(table.folder, gone)
    yield from _forget(table.folder, position, upkeep)


def maintain_delta(lake: DeltaLake, upkeep: Upkeep) -> Iterator[Chore]:
    """Do what a Delta table needs, rows first: what leaves the table in one step is not rewritten in the next."""
    if lake.position() is None:
        return  # no table, or another program's
    _require_known(lake)
    yield from _Retention(lake, upkeep).chores()
    yield from _compact(lake, upkeep)
    if not upkeep.dry_run:
        with lake.handles.lent(lake.folder) as table:
            if table is not None:
                table.checkpoint(every=1)
                table.cleanup_metadata()
    yield from _cleaned(lake, upkeep)
    yield from _forget(lake.folder, lake.position() or 0, upkeep)


def _require_known(lake: DeltaLake) -> None:
    """Leave a table alone that is not what its loads left: the next load says what to do, and needs what is there.

    Raises:
        Rejected: another program replaced the table or took it back, or it is partitioned in another way.
    """
    with lake.handles.lent(lake.folder) as table:
        if table is not None:
            if reason := lake.estrangement(table):
                raise Rejected(f"{lake.contract.table}: {reason}, or replace it with --full-refresh")
            lake.shape.require_layout(table)


def _compact(lake: DeltaLake, upkeep: Upkeep) -> Sequence[Chore]:
    compaction = Compaction(lake.folder, lake.handles, lake.contract, lake.options, lake.layout)
    if not upkeep.dry_run:
        return compaction.run()
    oldest = None if upkeep.oldest_kept is None or lake.layout is None else lake.layout.value_of(upkeep.oldest_kept)
    with lake.handles.lent(lake.folder) as table:
        return () if table is None else compaction.planned(table, oldest)


@dataclass(frozen=True)
class _Retention:
    """Rows that are older than the contract keeps them. A month stays as long as one of its days does."""

    lake: DeltaLake
    upkeep: Upkeep

    def chores(self) -> Iterator[Chore]:
        oldest = self.upkeep.oldest_kept
        if oldest is None:
            return
        with self.lake.handles.lent(self.lake.folder) as table:
            if table is None:
                return
            found = self._partitions(table, self.lake.layout, oldest) if self.lake.layout else self._rows(table, oldest)
        if found.rows or found.files:
            yield found

    def _partitions(self, table: Handle, layout: Layout, oldest: date) -> Chore:
        value = layout.value_of(oldest)
        files = pa.table(table.get_add_actions(flatten=True))
        old = files.filter(pc.less(files[f"partition.{layout.column}"].cast(pa.string()), value))
        if old.num_rows and not self.upkeep.dry_run:
            self._delete(table, f"{quoted(layout.column)} < {partition_literal(layout, value)}")
        rows, size = (pc.sum(old[name]).as_py() or 0 for name in ("num_records", "size_bytes"))
        return Chore("retention", rows, old.num_rows, size)

    def _rows(self, table: Handle, oldest: date) -> Chore:
        """Find the rows of a table without partitions, whose files then hold old and new ones side by side."""
        name = self.upkeep.contract.partition_by
        assert name is not None  # `oldest_kept` needs it
        is_date = self.upkeep.contract.column(name).type.kind is Kind.DATE
        where = f"{quoted(name) if is_date else f'CAST({quoted(name)} AS DATE)'} < DATE '{oldest}'"
        rows = _count(table, where)
        if rows and not self.upkeep.dry_run:
            self._delete(table, where)
        return Chore("retention", rows)

    def _delete(self, table: Handle, predicate: str) -> None:
        try:
            table.delete(predicate)
        except CommitFailedError as error:
            raise Retryable(
                f"{self.upkeep.contract.table}: s3 table changed while old rows were deleted; run maintenance again"
            ) from error


def _count(table: DeltaTable, predicate: str) -> int:
    query = f"SELECT count(*) AS number FROM lake WHERE {predicate}"
    found = QueryBuilder().register("lake", table).execute(query).read_all()
    return int(pa.table(found)["number"][0].as_py())


def clean(lake: DeltaLake) -> int:
    """Delete files that left the table, or never came into it, more than a week ago; return how many.

    The week spares readers of older versions and every load that is still running. Only files in the table's own
    folder and partition folders are looked at: other tables may lie in folders below.
    """
    with lake.handles.lent(lake.folder) as table:
        if table is None:
            return 0
        expired, orphans = _expired(table), _orphans(lake, table)
        if expired:
            table.vacuum(retention_hours=_KEPT_HOURS, dry_run=False)
        lake.folder.delete(orphans)
    return len(expired) + len(orphans)


def _cleaned(lake: DeltaLake, upkeep: Upkeep) -> Iterator[Chore]:
    with lake.handles.lent(lake.folder) as table:
        if table is None:
            return
        expired, orphans = _expired(table), _orphans(lake, table)
        left = leftovers(lake.folder, lambda number: lake.is_done(table, number), lambda: lake.referenced(table))
        found = [_sized("vacuum", lake.folder, expired), _sized("leftovers", lake.folder, {*orphans, *left})]
        if not upkeep.dry_run:
            clear_drafts(lake.folder)
            lake.clear_attempts_of(table)
    if not upkeep.dry_run:
        clean(lake)
    yield from (chore for chore in found if chore.files)


def _leftovers(folder: TableFolder, names: Iterable[str]) -> Iterator[Chore]:
    chore = _sized("leftovers", folder, names)
    if chore.files:
        yield chore


def _sized(name: str, folder: TableFolder, names: Iterable[str]) -> Chore:
    sizes = folder.sizes(names)
    return Chore(name, files=len(sizes), bytes=sum(sizes.values()))


def _expired(table: DeltaTable) -> list[str]:
    return table.vacuum(retention_hours=_KEPT_HOURS, dry_run=True)


def _orphans(lake: DeltaLake, table: DeltaTable) -> list[str]:
    horizon = time.time() - _KEPT_HOURS * 3600
    files = (entry for entry in lake.folder.entries() if _DELTA_FILE.fullmatch(entry.name))
    known = lake.referenced(table)
    return [entry.name for entry in files if entry.modified < horizon and entry.name not in known]


def _forget(folder: TableFolder, position: int, upkeep: Upkeep) -> Iterator[Chore]:
    going = forgotten(folder, position, upkeep.settled)
    chore = _sized("ledger", folder, going)
    if not upkeep.dry_run:
        forget(folder, going)
    if chore.files:
        yield chore
