"""One attempt to load one plan: a Delta table commits through its log, a file table by its manifest."""

from __future__ import annotations

import logging
import random
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

from deltalake.exceptions import CommitFailedError

from ownlens_plugins.api import LoadPlan, LoadResult, LoadSession, PartWriter, Receipt
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_plugins.faults import reach

from .config import S3Config
from .datafiles import DataFile, data_file
from .delta import DeltaLake
from .failures import cause_of, explain
from .files import FileTable
from .folder import TableFolder
from .formats import AnyTable
from .handles import Handle
from .identity import table_id
from .ledger import Attempt, LedgerEntry, discard, new_entry, overtaken, write_entry
from .writer import FileWriter, MergeWriter, require_all

logger = logging.getLogger("ownlens.s3")
# Loads of one table take turns: each loser of a race looks again and commits on top of the winner.
_TURNS = 40
_LONGEST_PAUSE = 0.5


class LakeSession(LoadSession):
    """What both kinds of table share: the writer, the receipts' files, and clearing up.

    `others` says that attempts of other processes were seen, dead or alive; `replaced` is this table in another
    format, removed once the load is visible.
    """

    def __init__(
        self,
        config: S3Config,
        plan: LoadPlan,
        folder: TableFolder,
        marker: Attempt,
        *,
        others: bool,
        replaced: AnyTable | None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.marker = marker
        self._others = others
        self._replaced = replaced
        self._files_writer = FileWriter(config, plan, marker.attempt, marker.name)
        self._sent = False
        self._used: set[str] | None = None

    @property
    def writer(self) -> PartWriter:
        return self._files_writer

    @abstractmethod
    def _commit(self, receipts: Sequence[Receipt]) -> LedgerEntry | LoadResult:
        """Make the load visible and return its entry, or the result of whoever did so before."""

    @abstractmethod
    def _look(self) -> LoadResult | None:
        """Ask the store whether the load is visible."""

    @abstractmethod
    def _clear_table(self, own: Attempt | None) -> None:
        """Delete what the commit replaced, and what finished attempts left; `own` has cleared up behind itself."""

    @abstractmethod
    def _referenced(self) -> set[str]:
        """Return the paths of the files that the table refers to."""

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        """Commit, then write the ledger entry and clear up; neither of the last two can undo the load."""
        reach("before_commit")
        done = self._judged(receipts)
        if isinstance(done, LedgerEntry):
            reach("after_commit")
            entry = done
            self._tolerate("write the ledger entry", lambda: self._record(entry))
            done = entry.result
        self._tolerate("clear what is left over", lambda: self._clear(receipts))
        return done

    def _judged(self, receipts: Sequence[Receipt]) -> LedgerEntry | LoadResult:
        try:
            done = self._commit(receipts)
            reach("commit_sent")
        except Retryable:
            # Another attempt of this load may have committed and cleared these files after the last look.
            if there := self._look():
                return replace(there, replayed=True)
            raise
        except OwnLensError:
            raise
        except Exception as error:
            return self._after_failure(error)
        return done

    def _after_failure(self, error: Exception) -> LoadResult:
        """Decide what a failed commit means: only the store knows whether it landed."""
        meaning = explain(error, self.plan.table, "commit the load")
        if not self._sent:
            raise meaning from cause_of(error)
        try:
            done = self._look()
        except OwnLensError:
            raise
        except Exception as second:
            raise CommitUnknown(f"{self.plan.table}: s3 does not say whether the load landed; run it again") from second
        if done is not None:
            return done
        if isinstance(meaning, Rejected):
            raise meaning from cause_of(error)
        raise CommitUnknown(f"{self.plan.table}: s3 gave no answer to the commit; run it again") from cause_of(error)

    def _new_entry(self) -> LedgerEntry:
        entry = new_entry(self.plan, self.marker.attempt)
        return entry if self._replaced is None else replace(entry, deleted=self._replaced.row_count())

    def _record(self, entry: LedgerEntry) -> None:
        reach("before_ledger")
        write_entry(self.folder, entry)

    def _clear(self, receipts: Sequence[Receipt]) -> None:
        reach("cleanup")
        if self._replaced is not None:
            self._replaced.remove()
        written = self._files_writer.written
        if all_known := _paths(receipts) <= written:  # no need to list the folder for this attempt's files
            unused = written - (self._referenced() if self._used is None else self._used) if written else set()
            self.folder.delete(sorted(unused))
        self._clear_table(own=self.marker if all_known else None)
        # Last, because the marker is what tells the next run that something is left to do.
        self.folder.delete([self.marker.name])

    def _tolerate(self, doing: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # the load is visible: what is left over is done by the next one
            logger.warning("%s", explain(error, self.plan.table, doing))

    def abort(self) -> None:
        """Delete the attempt's files, unless a commit that may still land has named them."""
        reach("abort")
        if not self._sent:
            self._tolerate("clear the attempt", lambda: discard(self.folder, self.marker))

    def _files(self, receipts: Sequence[Receipt]) -> list[DataFile]:
        """Return the receipts' files, all of them present in full.

        Raises:
            Rejected: they hold other rows than were staged. Retryable: a file is missing or has another size.
        """
        files = [data_file(document) for receipt in receipts for document in receipt.payload.get("files", ())]
        require_all(self.plan, sum(file.rows for file in files))
        sizes = self.folder.sizes(file.path for file in files)
        if lost := sum(sizes.get(file.path) != file.bytes for file in files):
            raise Retryable(f"{self.plan.table}: s3 lost {lost} of {len(files)} new files; run it again")
        return files


class DeltaSession(LakeSession):
    """Commits through the very snapshot in which the load was found missing, so that a rival commit conflicts."""

    def __init__(
        self,
        config: S3Config,
        plan: LoadPlan,
        lake: DeltaLake,
        table: Handle,
        marker: Attempt,
        *,
        streams: bool,
        others: bool,
        replaced: AnyTable | None,
    ) -> None:
        super().__init__(config, plan, lake.folder, marker, others=others, replaced=replaced)
        self._lake = lake
        self._handle: Handle | None = table
        self._streams = streams

    @property
    def writer(self) -> PartWriter:
        return MergeWriter(self.plan) if self._streams else super().writer

    def _commit(self, receipts: Sequence[Receipt]) -> LedgerEntry | LoadResult:
        for turn in range(_TURNS):
            table = self._table()
            if done := self._lake.recorded(table, self.plan):
                return replace(done, replayed=True)
            self._lake.require_own(table, self.plan)
            self._lake.shape.require_fitting(table, self.plan)
            self._lake.complete(table)
            try:
                return self._commit_on(table, receipts)
            except CommitFailedError:  # someone else committed, or this commit's answer was lost: look again
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.01 * 2**turn)))
        raise CommitUnknown(f"{self.plan.table}: s3 had too many concurrent commits to this table; run it again")

    def _commit_on(self, table: Handle, receipts: Sequence[Receipt]) -> LedgerEntry:
        before = table.version()
        entry = replace(self._new_entry(), table_id=table_id(table), table_version=before)
        files = None if self._streams else self._files(receipts)
        if files is not None and self._lake.shape.streams(table, self.plan):
            raise Retryable(f"{self.plan.table}: the table in s3 got constraints during the load; run it again")
        self._sent = True
        merges = self.plan.strategy is Strategy.UPSERT and (files is None or not self._lake.is_empty(table))
        if merges:
            entry, self._used = self._lake.merge(
                table, self.plan, _partitions(receipts), entry, self.marker, self._files_writer.written
            )
        elif self.plan.strategy is Strategy.OVERWRITE:
            entry = self._lake.overwrite(table, self.plan, files, entry)
        else:
            entry = self._lake.append(table, self.plan, files, entry)
        if not merges:
            self._used = {file.path for file in files or ()}
        self._lake.make_durable(table, before)
        return entry

    def _look(self) -> LoadResult | None:
        return self._lake.recorded(self._table(), self.plan)

    def _clear_table(self, own: Attempt | None) -> None:
        table = self._table()
        if self._others or own is None:
            self._lake.clear_attempts_of(table, own=own)
        # After a checkpoint a new handle is cheaper: this one would go on reading every commit since it was opened.
        if not table.checkpoint():
            self._lake.handles.give(self.folder, table)
        self._handle = None  # it is lent to others from here on

    def _referenced(self) -> set[str]:
        return self._lake.referenced(self._table())

    def _table(self) -> Handle:
        """Return the newest version of the table, in the one handle of this session.

        Called before each look that a commit relies on, and never between that look and the commit.
        """
        self._handle = self._lake.handles.newest(self.folder, self._handle)
        if self._handle is None:
            raise Retryable(f"{self.plan.table}: the table in s3 was removed during the load; run it again")
        return self._handle


def _paths(receipts: Sequence[Receipt]) -> set[str]:
    return {file["path"] for receipt in receipts for file in receipt.payload.get("files", ())}


def _partitions(receipts: Sequence[Receipt]) -> list[str]:
    listed = {value for receipt in receipts for value in receipt.payload.get("partitions", ())}
    written = {file["partition"] for receipt in receipts for file in receipt.payload.get("files", ())}
    return sorted(value for value in listed | written if value is not None)


class FileSession(LakeSession):
    """Commits by creating the load's manifest."""

    def __init__(
        self,
        config: S3Config,
        plan: LoadPlan,
        table: FileTable,
        marker: Attempt,
        *,
        others: bool,
        replaced: AnyTable | None,
    ) -> None:
        super().__init__(config, plan, table.folder, marker, others=others, replaced=replaced)
        self._table = table

    def _commit(self, receipts: Sequence[Receipt]) -> LedgerEntry | LoadResult:
        if done := self._table.recorded(self.plan):
            return replace(done, replayed=True)
        entry = self._new_entry()
        entry = replace(entry, deleted=entry.deleted + self._table.row_count())
        files = self._files(receipts)
        self._sent = True
        if not self._table.publish(files, entry):
            return self._whoever_did(entry)
        # A newer load may have published since the look. It may clear this one away at any moment and note it as
        # replaced, so this one counts as what it looks like: applied, and replaced at once.
        self._used = {file.path for file in files} if self._table.position() == self.plan.sequence else set()
        return entry

    def _whoever_did(self, entry: LedgerEntry) -> LedgerEntry | LoadResult:
        there = self._table.manifest(self.plan.sequence)
        if there is not None and there.entry.attempt == entry.attempt:
            return there.entry  # an earlier try of the same put landed and its answer was lost
        done = self._look()
        return overtaken(self.plan) if done is None else replace(done, replayed=True)

    def _look(self) -> LoadResult | None:
        return self._table.recorded(self.plan)

    def _clear_table(self, own: Attempt | None) -> None:
        if self._others or own is None:
            self._table.clear_attempts()
        else:
            self._table.clear_replaced()

    def _referenced(self) -> set[str]:
        return self._table.referenced()
