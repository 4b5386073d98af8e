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
CLEANED_EVERY = 100


class Handle(DeltaTable):
    """A Delta table that can be read on, and that looks for application transactions in its newest commit first.

    There every load leaves those that the next one asks for. delta-rs reads all commits since the newest checkpoint,
    and the checkpoint, for each that it is asked for.
    """

    def __init__(self, folder: TableFolder) -> None:
        super().__init__(folder.uri, storage_options=folder.storage_options)
        self._folder = folder
        self._marks: dict[tuple[int, str], int | None] = {}
        self._read_newest()

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
        if self.version() == self._read and _digest(self._folder, self._read + 1) is None:
            return True  # delta-rs would list the log, which in a local folder means all of its files
        self.update_incremental()
        self._read_newest()
        return True

    def checkpoint(self, *, every: int = CHECKPOINT_EVERY) -> bool:
        """Write a checkpoint if this many versions came since the newest one; tell whether they did.

        Each open, look and commit reads the log from the newest checkpoint on. Versions are counted from it, as other
        programs' commits may lie on every round number. Expired log files go less often, and with each maintenance:
        to find them means to list the whole log.
        """
        content = self._folder.read(f"{LOG}/_last_checkpoint")
        newest = 0 if content is None else int(json.loads(content)["version"])
        if self.version() - newest < every:
            return False
        self.create_checkpoint()
        if self.version() // CLEANED_EVERY > newest // CLEANED_EVERY:
            self.cleanup_metadata()
        return True

    def _read_newest(self) -> None:
        """Read the newest commit, unless it was cleared away: its digest and its application transactions."""
        self._read = self.version()
        content = _commit(self._folder, self._read)
        self._head = None if content is None else hashlib.sha256(content).digest()
        self._marks = {(self._read, app): mark for app, mark in _transactions(content or b"")}


def _transactions(commit: bytes) -> Iterator[tuple[str, int]]:
    for line in commit.splitlines():
        if line.startswith(b'{"txn":'):  # as delta-rs and OwnLens write it; else delta-rs is asked
            found = json.loads(line)["txn"]
            yield found["appId"], int(found["version"])


def _commit(folder: TableFolder, version: int) -> bytes | None:
    return folder.read(f"{LOG}/{version:020d}.json")


def _digest(folder: TableFolder, version: int) -> bytes | None:
    content = _commit(folder, version)
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
