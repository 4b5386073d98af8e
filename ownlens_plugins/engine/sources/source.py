"""What the engine asks of a source: one consistent snapshot, and a table's rows from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import pyarrow as pa

from ...api import Window
from ...contracts import Extraction, TableContract

# A text column of this name holds, where it is not null, what the source has in the column <rest of the name> and
# could not give as a value.
REFUSED_PREFIX = "_ownlens_refused_"


@dataclass(frozen=True, slots=True)
class Seen:
    """Which transactions a snapshot of a database has seen: all below `xmin`, none from `xmax` on.

    No transaction had a number from `next` on yet; one between `xmax` and `next` was running. The snapshot was taken
    when the database's log had reached a position between `wal_from` and `wal_to`, in bytes. Numbers and positions are
    comparable within one `system` and `timeline` only. `tables` are the database's own numbers of the table and of all
    tables below it. `taken` is the moment by the clock of a primary; a standby has none of its own.
    """

    system: str
    timeline: int
    xmin: int
    xmax: int
    next: int
    wal_from: int
    wal_to: int
    tables: tuple[int, ...] = ()
    taken: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a table to extract.

    WHOLE takes all, WINDOW those whose cursor is at or above `window.start`, DAYS all rows of the days in which WINDOW
    finds one, and of `days`. With `unseen_by`, WINDOW and DAYS leave out rows that this earlier snapshot has surely
    seen as they are now. Rows without a cursor belong to every window, as do all rows of `new_files`, which are names
    from `Snapshot.files`. `keys_only` asks for the key columns alone.
    """

    extraction: Extraction
    window: Window
    unseen_by: Seen | None = None
    days: frozenset[date] = frozenset()
    keys_only: bool = False
    new_files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Extracted:
    """Rows as the source gives them, not yet conformed.

    `checked` says that the source's own types already guarantee valid JSON and text without NUL.
    """

    reader: pa.RecordBatchReader
    checked: bool = False


class Snapshot(Protocol):
    """A consistent view of all tables, good while its context is open. Used from several threads at once."""

    @property
    def closes_at(self) -> datetime:
        """The source's moment of this snapshot: rows stamped before it may still appear, but only late."""
        ...

    @property
    def held(self) -> str:
        """One line on what has kept windows of this source from moving on for long; empty when nothing does."""
        ...

    def identity(self, contract: TableContract) -> Mapping[str, str]:
        """Return the place that the table's rows come from, by names such as database, schema and table."""
        ...

    def seen(self, contract: TableContract) -> Seen | None:
        """Return what later snapshots can be compared with; None when this table cannot tell which rows are new."""
        ...

    def files(self, contract: TableContract) -> Mapping[str, str]:
        """Return a fingerprint of each file that holds the table, by name; empty when it does not lie in files."""
        ...

    def columns(self, contract: TableContract) -> tuple[str, ...]:
        """Return the names of all columns that the source's table has, in its order.

        Raises:
            SourceInvalid, Retryable: the table is missing, or cannot be read.
        """
        ...

    def day_rows(self, contract: TableContract) -> Mapping[date, int]:
        """Return the rows of each day of `partition_by`, for tables that are extracted by days."""
        ...

    def changed_days(self, contract: TableContract, unseen_by: Seen) -> frozenset[date]:
        """Return the days in which a row is not surely as this earlier snapshot has seen it, whatever its cursor."""
        ...

    def read(self, contract: TableContract, selection: Selection) -> AbstractContextManager[Extracted]:
        """Stream the selected rows with at least the contract's columns, or its key columns.

        Raises:
            SourceInvalid: the table or a column is missing, or has a type the contract cannot take.
            Retryable: the source cannot be reached.
        """
        ...


class Source(Protocol):
    """A place that tables are extracted from."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open a consistent view of all tables."""
        ...
