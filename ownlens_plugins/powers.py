"""Optional powers of a destination: small protocols, each of which the engine uses where it finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from .api import DestinationOptions, LoadPlan, LoadResult, PartWriter
from .contracts import TableContract


@runtime_checkable
class SupportsCheck(Protocol):
    """A destination that can say whether it is reachable, before any data moves."""

    def check(self) -> None:
        """Connect and return.

        Raises:
            Retryable: not reachable now. Rejected: reached and refused (credentials, missing database).
        """
        ...


@runtime_checkable
class SupportsPosition(Protocol):
    """A destination that knows how far a table has come without being asked for a certain load."""

    def position(self, contract: TableContract) -> int:
        """Return the highest sequence that the ledger holds of a table, by one bounded read; 0 when it holds none.

        Raises:
            Retryable: not reachable now. Rejected: reached and refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class TableState:
    """What a destination knows of a table without being asked for a certain load.

    `position` is the highest sequence in its ledger, 0 being none, and `digest` that load's, empty when unknown.
    `loaded_at`, `rows` (staged rows that it applied) and `seconds` tell of that load, and `bytes` is what the table's
    visible rows take in the store. `is_sure` says that this is the table that its loads filled, with the rows that
    they left: then every set up to `position` is applied here, and nobody need ask for each. `trouble` says in one
    line, with the fix, why a load that does not replace the whole table would be refused.
    """

    position: int = 0
    digest: str = ""
    loaded_at: datetime | None = None
    rows: int | None = None
    seconds: float | None = None
    bytes: int | None = None
    is_sure: bool = False
    trouble: str = ""


@runtime_checkable
class SupportsOverview(Protocol):
    """A destination that can tell where many tables stand at once, with few requests and little reading."""

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        """Return the state of each table by name; only a table without loads may lack. Nothing is changed.

        What is read must not grow with the number of past loads.

        Raises:
            Retryable: not reachable now. Rejected: reached and refused.
        """
        ...


@runtime_checkable
class SupportsSpreading(Protocol):
    """A session whose own writer leaves the work to the commit, and that has another one for workers elsewhere."""

    def spread(self) -> PartWriter:
        """Return the writer for workers of other processes, at many parts at once; `commit` takes its receipts.

        Raises:
            Retryable: not reachable now. Rejected: the destination refuses.
        """
        ...


@runtime_checkable
class KnowsItsReach(Protocol):
    """A destination that can say that only this process reaches it. Without this power, workers elsewhere do too."""

    def out_of_reach(self) -> str:
        """Return why workers of other processes cannot write here; empty when they can."""
        ...


@runtime_checkable
class SupportsQuarantine(Protocol):
    """A destination that keeps rows aside until the rows that they reference are there, or spares rows for others."""

    def release(self, plan: LoadPlan) -> LoadResult | None:
        """Bring the rows of a table that can be loaded by now back from the quarantine, in one step with their counts.

        Rows that a load has spared go in the same step, once nothing references them. Called when there is nothing new
        to load: `open` and `commit` do the same by themselves.

        Args:
            plan: A load of the table that is committed here.

        Returns:
            What changed, with 0 `rows`; None when that is nothing.

        Raises:
            Retryable: calling again brings back what is still aside, each row once.
            Rejected: the destination refuses.
        """
        ...


@runtime_checkable
class SupportsKeptRows(Protocol):
    """A destination that shows the rows that it keeps aside, with the reasons."""

    def kept_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the rows kept aside by table and reason.

        Raises:
            Retryable: not reachable now.
        """
        ...

    def kept_rows(self, table: str) -> pa.RecordBatchReader:
        """Stream a table's rows that are kept aside, oldest first: text columns `reason`, `row` and `load_id`.

        `row` is JSON: an object of the contract's columns, each as the destination prints its value, or null.

        Raises:
            Retryable: not reachable now.
        """
        ...


@dataclass(frozen=True, slots=True)
class SqlValidationTarget:
    """Where a validation finds the rows that a load touched, in SQL.

    `url` is an `sqlalchemy.URL` (its string form masks the password). `relation` names a table or view in `schema`;
    `dialect` is `postgresql` or `clickhouse`. `null_flags` says, by column, which boolean column of the relation is
    true where the column has no value, for stores whose arrays cannot be NULL.
    """

    url: Any
    schema: str | None
    relation: str
    dialect: str
    null_flags: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class SupportsSqlValidation(Protocol):
    """A destination whose rows can be validated where they are."""

    def validation_target(self, plan: LoadPlan) -> SqlValidationTarget:
        """Return a relation that shows the current rows (newest versions only) of the touched slice."""
        ...

    def release_validation_target(self, target: SqlValidationTarget) -> None:
        """Drop what `validation_target` made."""
        ...


@runtime_checkable
class SupportsSliceReading(Protocol):
    """A destination that can read a few columns of the touched days without reading the whole table."""

    def read_slice(self, plan: LoadPlan, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Stream the named columns of the visible rows, in contract types; rows outside of `plan.touched` may lack."""
        ...


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """What a destination shows of a slice: visible rows, distinct keys among them.

    `aside` counts further keys of which it keeps a row aside, and `spared` the rows among `rows` that are gone from
    the source and stay for others.
    """

    rows: int
    keys: int
    aside: int = 0
    spared: int = 0


@runtime_checkable
class SupportsCounting(Protocol):
    """A destination that can count what it shows, so that stores can be compared with one another after a run."""

    def count(self, plan: LoadPlan) -> SliceCounts:
        """Count the rows and keys of the plan's table in `plan.touched`; in the whole table when that is None.

        Raises:
            Retryable: not reachable now.
        """
        ...

    def kept_since(self, plan: LoadPlan) -> date | None:
        """Return the oldest day that retention leaves in this store; None when it keeps everything."""
        ...


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What one maintenance of a table in a destination may do, and what it is told.

    Every set up to `settled` is applied here and staged no longer: the ledger may forget their entries, as long as it
    still answers each of them as done. Rows whose `partition_by` lies before `oldest_kept` go; so does what nobody
    needs. With `dry_run`, nothing changes, and the chores say what would.
    """

    contract: TableContract
    options: DestinationOptions
    settled: int
    today: date
    dry_run: bool = False

    @property
    def oldest_kept(self) -> date | None:
        """The oldest day whose rows stay, so that `retention_days` days with today stay; None keeps all."""
        days = self.options.retention_days
        return None if days is None or self.contract.partition_by is None else self.today - timedelta(days=days - 1)


@dataclass(frozen=True, slots=True)
class Chore:
    """One thing that maintenance did to a table, or would do: what went, in rows, files (or parts) and bytes.

    `name` is retention, compaction, checkpoint, vacuum, leftovers, ledger, quarantine or statistics, or a word of the
    destination's own. For a compaction, `files` are those that were merged.
    """

    name: str
    rows: int = 0
    files: int = 0
    bytes: int = 0


@runtime_checkable
class SupportsMaintenance(Protocol):
    """A destination whose tables can be kept small. Loads may run at the same time; either may be killed anywhere."""

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Do what the contract asks for and the table needs; return what was done, without chores that had no work.

        No row goes that `retention_days` keeps, and no load is lost, doubled or taken for one that never came.

        Raises:
            Retryable: calling again goes on where this call stopped.
            Rejected: the destination refuses, or the options ask for what the table cannot do.
        """
        ...


@runtime_checkable
class SupportsAdoption(Protocol):
    """A destination that can take rows that are there for those of a load, when its ledger knows of none."""

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        """Mark a load as applied, in one step, and touch no row.

        The table and its rows stay as they are, and later loads go on from this one. A call that is repeated after it
        was done changes nothing.

        Args:
            plan: The load whose rows, or those of its predecessors, are in the table.
            rows: The visible rows that were compared before.

        Raises:
            Rejected: the ledger knows other loads of the table, or the table is not there, or shows another number of
            rows by now.
            Retryable: nothing was marked.
        """
        ...
