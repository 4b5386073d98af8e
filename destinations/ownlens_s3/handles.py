"""Open Delta tables that are kept between the steps of a load, and between loads: a log is read on, never anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from .folder import LocalFolder, TableFolder
from .paths import LOG

# Each commit since the newest checkpoint is read by each step; a checkpoint costs as much as a few of them.
CHECKPOINT_EVERY = 10


class Handle(DeltaTable):
    """A Delta table that can be read on, and that asks its log for each application transaction once a version.

    delta-rs reads all commits since the newest checkpoint whenever it is asked for a transaction.
    """

    def __init__(self, folder: TableFolder) -> None:
        super().__init__(folder.uri, storage_options=folder.storage_options)
        self._folder = folder
        self._marks: dict[tuple[int, str], int | None] = {}
        self._head = self._newest_commit()

    def transaction_version(self, app_id: str) -> int | None:
        place = (self.version(), app_id)
        if place not in self._marks:
            self._marks = {known: mark for known, mark in self._marks.items() if known[0] == place[0]}
            self._marks[place] = super().transaction_version(app_id)
        return self._marks[place]

    def catch_up(self) -> bool:
        """Read on to the newest version; tell whether this is still the same log.

        Another log may lie in its place by now, or the same one without its newest commits. Commits are never changed,
        so the log is the same as long as the newest one that was read is there, byte by byte.
        """
        if self._head is None or self._head != _digest(self._folder, self._read):
            return False
        self.update_incremental()
        self._head = self._newest_commit()
        return True

    def checkpoint(self, *, every: int = CHECKPOINT_EVERY) -> bool:
        """Write a checkpoint and drop expired log files if this many versions came since; tell whether they did.

        Each open, look and commit reads the log from the newest checkpoint on. Versions are counted from it, as other
        programs' commits may lie on every round number.
        """
        newest = self._folder.read(f"{LOG}/_last_checkpoint")
        due = self.version() - (0 if newest is None else int(json.loads(newest)["version"])) >= every
        if due:
            self.create_checkpoint()
            self.cleanup_metadata()
        return due

    def _newest_commit(self) -> bytes | None:
        self._read = self.version()
        return _digest(self._folder, self._read)


def _digest(folder: TableFolder, version: int) -> bytes | None:
    content = folder.read(f"{LOG}/{version:020d}.json")
    return None if content is None else hashlib.sha256(content).digest()


class Handles:
    """The handles of one destination. Each is lent to one step at a time.

    Two steps that share a handle could move it under each other: a rival's load would come in between a look and its
    commit, and the commit would not conflict with it.
    """

    def __init__(self) -> None:
        self._idle: dict[str, Handle] = {}

    def take(self, folder: TableFolder) -> Handle | None:
        """Return the table at its newest version, for the caller alone; None when there is none."""
        return self.newest(folder, self._idle.pop(folder.uri, None))

    def give(self, folder: TableFolder, handle: Handle | None) -> None:
        """Take a handle back whose last use was no failure."""
        if handle is not None:
            self._idle[folder.uri] = handle

    @contextmanager
    def lent(self, folder: TableFolder) -> Iterator[Handle | None]:
        """Lend the table at its newest version for one step."""
        handle = self.take(folder)
        yield handle
        self.give(folder, handle)  # not after a failure

    def newest(self, folder: TableFolder, handle: Handle | None) -> Handle | None:
        """Return this handle at the newest version, or another one if another table lies there."""
        try:
            if handle is not None and handle.catch_up():
                return handle
        except DeltaError:
            pass  # its log goes on in a way that cannot be read on; a new handle can, or says why not
        return _opened(folder)

    def clear(self) -> None:
        self._idle.clear()


def _opened(folder: TableFolder) -> Handle | None:
    if isinstance(folder, LocalFolder) and not folder.has_files(LOG):
        return None  # delta-rs would leave an empty folder behind
    try:
        return Handle(folder)
    except TableNotFoundError:
        return None
