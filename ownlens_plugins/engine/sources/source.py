"""What the engine asks of a source: one consistent snapshot, and a table's rows from it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from ...api import Window
from ...contracts import Extraction, TableContract

# A boolean column of this name marks rows whose value in the column <rest of the name> the source could not give.
REFUSED_PREFIX = "_ownlens_refused_"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a table to extract: the whole table, a window of cursor values, or the days touched by one."""

    extraction: Extraction
    window: Window


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
        """The end of this run's windows: no row below it can still appear in the source."""
        ...

    def read(self, contract: TableContract, selection: Selection) -> AbstractContextManager[Extracted]:
        """Stream the selected rows with at least the contract's columns.

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
