"""What a destination implements and what the engine hands it. Everything here is public and stable."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from .commands import refresh_options
from .contracts.contract import TableContract
from .contracts.presets import Strategy
from .errors import Rejected, StagedSetChanged
from .storage import read_parquet

API_VERSION = "1.0"
ROWS_PER_BATCH = 65_536


class StrictModel(BaseModel):
    """Base of configuration and options: unknown keys are errors, and errors never print the input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DestinationOptions(StrictModel):
    """A contract's `destinations.<name>` block. Destinations subclass it with options of their own."""

    strategy: Strategy
    retention_days: int | None = Field(
        default=None, ge=1, description="Days after partition_by when maintenance deletes a row here."
    )

    def problems(self, contract: TableContract) -> Iterator[str]:  # noqa: ARG002
        """Yield what of a contract stands against these options, with the fix; `ownlens contracts check` tells it."""
        return iter(())


@dataclass(frozen=True, slots=True)
class StagedPart:
    """One immutable Parquet file of a staged set.

    `uri` is a local path or an `s3://` address; `sha256` (hex) and `bytes` describe the file.
    """

    part_id: str
    uri: str
    rows: int
    bytes: int
    sha256: str

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the part's rows as they were staged, at most `ROWS_PER_BATCH` rows a batch.

        A contract that changed since is the plan's matter: writers read by `LoadPlan.read_part`.
        """
        return read_parquet(self.uri, columns=columns, rows_per_batch=ROWS_PER_BATCH)


@dataclass(frozen=True, slots=True)
class Window:
    """The cursor values that a staged set was looked for in: from `start` on, None being unbounded.

    `end` is the source's moment at which it was asked. Rows stamped with a later moment are in the set as well.
    """

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Covers:
    """The part of the source table that a staged set holds completely.

    What a destination has in that part, and the set has not, is gone from the source and leaves with the load. `days`
    are values of the date column `column`, and None means the whole table. With `keys_only` the parts hold nothing but
    the key columns: rows of these keys stay as they are.
    """

    column: str | None = None
    days: tuple[date, ...] | None = None
    keys_only: bool = False


@dataclass(frozen=True, slots=True)
class TouchedSlice:
    """The range of `partition_by` days, both ends included, in which a staged set has rows."""

    column: str
    first: date
    last: date


@dataclass(frozen=True)
class LoadPlan:
    """One staged set going to one destination. Pure data: picklable, and free of secrets.

    With `covers`, an upsert deletes what the set shows to be gone; overwrite and replace_partition do so anyway. Rows
    of a set that covers the whole table or whole days win over any version that the destination holds: the set is what
    the source holds now. With `full_refresh`, an overwrite replaces the table's schema too: the contract's columns, and
    no others, whatever the table had before and whatever `schema_policy` says.
    """

    contract: TableContract
    destination: str
    strategy: Strategy
    options: DestinationOptions
    sequence: int
    digest: str
    parts: tuple[StagedPart, ...]
    window: Window = Window(None, None)
    touched: TouchedSlice | None = None
    rejected: int = 0
    covers: Covers | None = None
    full_refresh: bool = False

    @property
    def table(self) -> str:
        return self.contract.table

    @property
    def load_id(self) -> str:
        """Identity of this load in every destination: table and sequence of the staged set."""
        return f"{self.contract.table}/{self.sequence:08d}"

    @property
    def schema(self) -> pa.Schema:
        return self.contract.arrow_schema

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    def reader(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream all parts in order as one reader with the contract's schema (or the named columns of it)."""
        batches = (batch for part in self.parts for batch in self.read_part(part, columns))
        return pa.RecordBatchReader.from_batches(self._schema_of(columns), batches)

    def replay(self, sequence: int, digest: str, counts: Mapping[str, int]) -> LoadResult:
        """Return what a ledger's entry means for this load: it is done, or a newer load has overtaken it.

        `sequence` and `digest` are the entry's, `counts` the fields of `LoadResult` that it holds. A load that was
        overtaken has 0 rows.

        Raises:
            StagedSetChanged: the entry is this load's, with another digest.
        """
        if sequence != self.sequence:
            return LoadResult(self.load_id, self.digest, rows=0, inserted=0, replayed=True)
        if digest != self.digest:
            raise StagedSetChanged(
                f"{self.table}: {self.destination} holds {self.load_id} with another digest, so it was loaded from "
                f"other staged sets; fill all destinations anew with {refresh_options(self.table)}"
            )
        return LoadResult(self.load_id, digest, replayed=True, **counts)  # type: ignore[arg-type]

    def read_part(self, part: StagedPart, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Stream one part with the contract's schema, which may be newer than the part: see `aligned`."""
        schema = self._schema_of(columns)
        return (aligned(batch, schema) for batch in part.read(columns))

    def _schema_of(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])


def aligned(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a staged batch in a contract's schema, which may be newer than the set.

    A column that came into the contract since is null, one that left it is dropped, and one of a wider type is cast.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit; the engine plans no set of which one could not.
    """
    # By a dictionary: a look at the batch's schema for each column takes the square of their number.
    there = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.RecordBatch.from_arrays([_aligned(there, field, batch.num_rows) for field in schema], schema=schema)


def _aligned(there: Mapping[str, pa.Array], field: pa.Field, rows: int) -> pa.Array:
    staged = there.get(field.name)
    if staged is None:
        return pa.nulls(rows, field.type)
    # A safe cast: a value that the new type does not hold exactly ends the load, and is never rounded.
    return staged if staged.type == field.type else staged.cast(field.type)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a writer made one part durable and still invisible. `payload` is JSON, private to the destination."""

    part_id: str
    rows: int
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one committed load changed, as the destination counted it.

    `rows` is the number of staged rows that the load applied. `inserted`, `updated`, `unchanged` and `deleted`
    count rows of the destination table; `rejected` counts staged rows that this destination refused and kept aside.
    For strategies that replace rows wholesale (overwrite of files, replace_partition), `inserted` counts the rows
    written. `released` counts rows of earlier loads that were kept aside there and came back with this one; they are
    among the inserted, updated and unchanged ones too. `spared` counts rows that are gone from the source and stay,
    because rows of other tables still reference them; they go by `release` once they can. `replayed` says that the
    load was found committed and nothing was done.
    """

    load_id: str
    digest: str
    rows: int
    inserted: int
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    released: int = 0
    spared: int = 0
    replayed: bool = False
    committed_at: datetime | None = None


class PartWriter(Protocol):
    """Writes parts. Picklable and without open connections: may run on any worker, and twice for one part."""

    def write(self, part: StagedPart) -> Receipt:
        """Make one part durable and invisible.

        Raises:
            Retryable: the part was not written; the same call may succeed later.
            Rejected: the destination refuses the rows.
        """
        ...


@dataclass(frozen=True, slots=True)
class StagedWriter:
    """The writer of a destination that reads the staged files in its commit: names parts, and writes nothing."""

    def write(self, part: StagedPart) -> Receipt:
        return Receipt(part.part_id, part.rows)


class LoadSession(ABC):
    """One attempt to load one plan. A context manager that lives on the driver."""

    @property
    @abstractmethod
    def writer(self) -> PartWriter:
        """The object that workers call, once per part or more."""

    @abstractmethod
    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        """Make all parts and the load's marker visible in one step.

        Called once, with exactly one receipt for every part of the plan.

        Raises:
            Retryable, Rejected: it is certain that nothing became visible.
            CommitUnknown: the outcome is not known. Any other exception means the same.
        """

    @abstractmethod
    def abort(self) -> None:
        """Discard the attempt. Only called when nothing can have landed."""

    def close(self) -> None:  # noqa: B027  # nothing to release is a good answer
        """Release connections. Called last, also after an error; must not raise."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


ConfigT = TypeVar("ConfigT", bound=BaseModel)
OptionsT = TypeVar("OptionsT", bound=DestinationOptions)


class Destination(ABC, Generic[ConfigT, OptionsT]):
    """A store that tables are loaded into. Cheap to construct: nothing connects before a method needs it.

    `strategies` is a claim that the conformance suite proves. Methods may be called from several threads at once.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[str] = ">=1,<2"
    config_type: ClassVar[type[BaseModel]]
    options_type: ClassVar[type[DestinationOptions]] = DestinationOptions
    strategies: ClassVar[frozenset[Strategy]]
    # True when rows without their parent row are refused: loads then wait for the tables they reference.
    enforces_references: ClassVar[bool] = False
    # True when an upsert heeds `LoadPlan.covers`; without it, tables whose deletes follow can only be overwritten here.
    follows_deletes: ClassVar[bool] = False

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        """Return the result of this load if it is visible here, else None.

        A load that a newer load of the same table has overtaken counts as visible, with 0 rows if it was skipped.

        Raises:
            StagedSetChanged: the load id is recorded with another digest.
            Retryable: the store cannot be asked now.
        """

    @abstractmethod
    def open(self, plan: LoadPlan) -> LoadSession:
        """Start or restart an attempt: create the table if absent, and clear what a crashed attempt left.

        Raises:
            Rejected: the contract, its options or the existing table make the load impossible.
            Retryable: the store cannot be reached now.
        """

    @abstractmethod
    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        """Stream the table's visible rows, in contract types and column order, in no particular row order.

        A table that no load has made yet has no rows.
        """

    def require_strategy(self, plan: LoadPlan) -> None:
        """Refuse a plan by a strategy that this destination does not claim; for `open`.

        Raises:
            Rejected: it does not.
        """
        if plan.strategy not in self.strategies:
            known = ", ".join(sorted(self.strategies))
            raise Rejected(f"{plan.table}: {self.name} has no strategy {plan.strategy}; use {known}")

    def close(self) -> None:
        """Release pooled connections. The destination may be used again afterwards."""


def new_attempt() -> str:
    """Return an unguessable suffix for the names that one attempt creates (16 hex digits)."""
    return secrets.token_hex(8)
