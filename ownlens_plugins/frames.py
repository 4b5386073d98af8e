"""Load rows that the caller holds in memory, exactly once, into the destinations of a profile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from .api import Destination, Window
from .contracts import Extraction, TableContract, read_contracts
from .engine.conforming import check_names, unreadable_name
from .engine.last_loads import LastLoads
from .engine.leaving_out import appends
from .engine.manifest import Manifest
from .engine.outcomes import LoadOutcome, Status
from .engine.positions import Positions, begin
from .engine.quarantining import refused_line
from .engine.running import load_table
from .engine.scrubbing import Scrubber, secrets_of
from .engine.sources.source import Extracted
from .engine.staging import StagingArea
from .engine.windows import StageRequest, bearing, since_refresh
from .engine.workers import Workers
from .errors import OwnLensError, Rejected, SettingsInvalid, SourceInvalid, UnknownName
from .registry import Registry
from .settings import DEFAULT_PROFILE, Profile, load_profile

logger = logging.getLogger("ownlens.load")
_REFRESH = "hand in the whole table {} with full_refresh=True"


class ArrowStream(Protocol):
    """Anything that hands out its rows by the Arrow C stream: pyarrow, pandas, polars, DuckDB, Spark and others.

    A DataFrame of Spark gives its partitions one after the other; memory stays at one batch.
    """

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What became of a frame: the staged set that holds it, and one outcome for each destination.

    `sequence` is None when the frame brought nothing new: it is empty, or, of an append, earlier sets hold its rows.
    `rejected` counts the frame's rows that break the contract; `quarantine` is the address of the file that keeps them,
    with the reasons. Such rows are an error of the report, although the others are loaded.
    """

    table: str
    sequence: int | None
    rows: int
    rejected: int
    quarantine: str | None
    outcomes: tuple[LoadOutcome, ...]
    errors: tuple[OwnLensError, ...]

    def raise_if_failed(self) -> None:
        """Raise what went wrong.

        Raises:
            OwnLensError: the error itself when there is one, or one that joins the messages of several.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise OwnLensError("; ".join(map(str, self.errors)))


def load_frame(
    frame: ArrowStream,
    *,
    table: str,
    destinations: Sequence[str] | None = None,
    profile: str = DEFAULT_PROFILE,
    config: Path | str | None = None,
    full_refresh: bool = False,
) -> FrameReport:
    """Stage a frame as the next set of a table and bring the destinations up to date with it.

    The same content handed in again is the same staged set, so it changes nothing, but completes destinations that
    lack it. Columns that the contract does not name are left out. What a set means follows from the contract: for a
    table that is extracted whole or by days, the frame must hold the whole table or whole days.

    Args:
        frame: The rows, with at least the contract's columns.
        table: The contract's table name.
        destinations: Names or aliases; all destinations of the profile when absent.
        profile: Profile of `ownlens.toml` that names contracts, staging area and connections.
        config: Path of that file, if it is not `ownlens.toml` or named by `OWNLENS_CONFIG`.
        full_refresh: The frame is the whole table: it replaces rows and schema in the destinations.

    Returns:
        The report. A destination's failure stands there and leaves the others; see `raise_if_failed`.

    Raises:
        UnknownName, SettingsInvalid, ContractInvalid, DestinationUnavailable, SourceInvalid: nothing was staged.
        Rejected: rows break the contract, whose `on_bad_value` is `fail`, or more of them than `max_rejected` allows;
            or destinations hold loads of a table of which the staging area has no sets; nothing was staged.
        Retryable: the table was staged by another process at the same time.
    """
    settings = load_profile(profile, file=config)
    contract = _contract(settings, table)
    registry = Registry()
    registry.load_hooks()
    workers = Workers(settings.engine, settings.spark)
    workers.require([contract])
    targets = _targets(settings, destinations, contract, registry)
    area = StagingArea(settings.staging, registry)
    extracted = Extracted(_reader(contract, frame))
    try:
        positions = Positions({destination.name: destination for destination in targets})
        manifest = area.stage(contract, extracted, _request(contract, area, positions, full_refresh=full_refresh))
    except BaseException:
        for destination in targets:
            destination.close()
        raise
    scrubber = Scrubber([*secrets_of(settings), *(secret for d in targets for secret in secrets_of(d.config))])
    errors = [] if manifest is None else [*_refused(manifest, area)]
    outcomes = []
    with closing(workers):
        for destination in targets:
            try:
                outcomes.append(load_table(destination, contract, area, registry, workers))
            except Exception as error:
                outcomes.append(_failed(contract, destination, error, scrubber, errors))
                LastLoads(area).failed(contract.table, destination.name, scrubber.line(error))
            finally:
                destination.close()
    return _report(contract, manifest, area, outcomes, errors)


def _request(contract: TableContract, area: StagingArea, positions: Positions, *, full_refresh: bool) -> StageRequest:
    """Return what a frame is staged as: of an append without the rows that earlier sets hold."""
    manifests = area.log(contract.table)
    above = begin(contract, area, manifests, positions, full_refresh=full_refresh, fix=_REFRESH)
    return StageRequest(
        Extraction.WHOLE if full_refresh else contract.extraction,
        Window(None, None),
        full_refresh,
        once=True,
        after=manifests[-1].sequence if manifests else 0,
        known=since_refresh(bearing(contract, manifests)) if appends(contract) and not full_refresh else (),
        above=above,
    )


def _contract(settings: Profile, table: str) -> TableContract:
    contracts = read_contracts(settings.contracts)
    if table not in contracts:
        raise UnknownName("table", table, contracts)
    return contracts[table]


def _targets(
    settings: Profile, asked: Sequence[str] | None, contract: TableContract, registry: Registry
) -> list[Destination[Any, Any]]:
    connections = {registry.resolve(name): connection for name, connection in settings.destinations.items()}
    names = list(dict.fromkeys(map(registry.resolve, asked if asked is not None else connections)))
    if not names:
        raise SettingsInvalid(f"{contract.table}: no destination to load into; add one to the profile")
    for name in names:
        if name not in connections:
            raise SettingsInvalid(f"{name}: the profile has no connection; add [profiles.NAME.destinations.{name}]")
        registry.options(name, contract)
    return [registry.create(name, connections[name]) for name in names]


def _reader(contract: TableContract, frame: ArrowStream) -> pa.RecordBatchReader:
    kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
    if kind.startswith("pyspark."):
        return _of_spark(contract, frame)
    if not hasattr(frame, "__arrow_c_stream__"):
        raise SourceInvalid(
            f"{contract.table}: a {kind} is no frame; hand in one of pyarrow, pandas, polars, DuckDB, or another "
            "that has __arrow_c_stream__"
        )
    try:
        reader = pa.RecordBatchReader.from_stream(frame)
        check_names(contract, reader.schema)
    except UnicodeDecodeError:
        raise unreadable_name(contract) from None
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceInvalid(
            f"{contract.table}: a column of this {kind} has no Arrow type; convert it before"
        ) from error
    _check_columns(contract, reader.schema.names)
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(contract, reader))


def _of_spark(contract: TableContract, frame: Any) -> pa.RecordBatchReader:
    from .spark import frames

    if not frames.is_dataframe(frame):
        raise SourceInvalid(
            f"{contract.table}: a {type(frame).__module__}.{type(frame).__qualname__} is no DataFrame; hand in a "
            "DataFrame, of pandas on Spark what its to_spark() returns"
        )
    _check_columns(contract, frame.columns)
    reader = frames.reader(contract.table, frames.narrowed(frame, contract.column_names))
    check_names(contract, reader.schema)
    return reader


def _check_columns(contract: TableContract, names: Sequence[str]) -> None:
    wrong = [name for name in contract.column_names if names.count(name) != 1]
    if wrong:
        near = UnknownName("column", wrong[0], names)
        raise SourceInvalid(
            f"{contract.table}: the frame lacks column {', '.join(map(repr, wrong))}, or has it twice ({near}); "
            "rename or add it in the frame, or take it out of the contract"
        )


def _batches(contract: TableContract, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except (pa.ArrowException, OSError) as error:  # the frame computes its rows only now
        raise SourceInvalid(
            f"{contract.table}: the frame broke off while it was read; check what it computes"
        ) from error


def _failed(
    contract: TableContract,
    destination: Destination[Any, Any],
    error: Exception,
    scrubber: Scrubber,
    errors: list[OwnLensError],
) -> LoadOutcome:
    line = scrubber.line(error)
    logger.error("%s: not loaded into %s: %s", contract.table, destination.name, scrubber.trace(error))
    errors.append(error if isinstance(error, OwnLensError) else OwnLensError(f"{destination.name}: {line}"))
    return LoadOutcome(contract.table, destination.name, Status.FAILED, error=line)


def _refused(manifest: Manifest, area: StagingArea) -> Iterator[OwnLensError]:
    if manifest.rejected:
        yield Rejected(refused_line(manifest, area.address(manifest.quarantine or "")))


def _report(
    contract: TableContract,
    manifest: Manifest | None,
    area: StagingArea,
    outcomes: Sequence[LoadOutcome],
    errors: Sequence[OwnLensError],
) -> FrameReport:
    if manifest is None:
        return FrameReport(contract.table, None, 0, 0, None, tuple(outcomes), tuple(errors))
    return FrameReport(
        table=contract.table,
        sequence=manifest.sequence,
        rows=manifest.rows,
        rejected=manifest.rejected,
        quarantine=None if manifest.quarantine is None else area.address(manifest.quarantine),
        outcomes=tuple(outcomes),
        errors=tuple(errors),
    )
