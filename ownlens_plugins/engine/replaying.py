"""Bring quarantined rows in that fit the contract by now, exactly once, as a staged set of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..api import Window
from ..commands import load_command
from ..contracts import Extraction, Strategy, TableContract, holds_all, parse_type
from ..errors import Retryable, SourceInvalid
from .conforming import Conforming
from .leaving_out import appends, identity
from .manifest import Manifest
from .quarantining import RefusedValues, holds_keys_only, numbers_of, open_rows, refused_values, spans
from .refusals import Origin
from .sources.source import Extracted
from .staging import StagingArea
from .uniqueness import open_duckdb, plain_storage, storage_type
from .windows import StageRequest, since_full_refresh

TRIES = 3
_REPLACING = (Strategy.OVERWRITE, Strategy.REPLACE_PARTITION)
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did. `rows` were staged in `sequences`; `known` have a key that was staged meanwhile."""

    table: str
    sequences: tuple[int, ...] = ()
    rows: int = 0
    known: int = 0
    refused: int = 0
    message: str = ""

    def document(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        values: dict[str, Any] = {"table": self.table, "sequences": list(self.sequences), "rows": self.rows}
        return {**values, "known": self.known, "refused": self.refused, "message": self.message}


@dataclass
class _Fitting:
    """Rows of one origin that fit now, with their places in the quarantines."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


def replay(contract: TableContract, area: StagingArea) -> Replayed:
    """Conform the quarantined rows of a table again, and stage those that fit as its next set or sets.

    However often and from however many processes this is called, a row is staged once: the set's manifest names the
    rows that it brings in, and is published only as the successor of the set that they were chosen by.

    Raises:
        Retryable: other runs staged this table at the same time, again and again; nothing is half done.
        Rejected: the rows break the contract in other ways, more of them than it allows; nothing was staged.
    """
    if told := _not_by_rows(contract):
        refused = sum(map(len, open_rows(area.manifests(contract.table)).values()))
        return Replayed(contract.table, refused=refused, message=told)
    for _ in range(TRIES - 1):
        try:
            return _replayed(contract, area)
        except Retryable:
            continue  # decided anew, from the set that came in between
    return _replayed(contract, area)


def _not_by_rows(contract: TableContract) -> str:
    """Return why single rows of a table are never staged: its sets stand for the whole table or for whole days."""
    if contract.extraction is Extraction.WHOLE:
        return (
            f"{contract.table}: nothing to replay: each load takes the whole table, and these rows with it as soon as "
            f"they fit; run `{load_command(contract.table)}`"
        )
    if contract.extraction is Extraction.DAYS or _strategies(contract) & {*_REPLACING}:
        return (
            f"{contract.table}: not replayed: a set replaces what it covers, and a row would replace its whole day; "
            f"run `{load_command(contract.table, '--full-refresh')}`"
        )
    return ""


def _strategies(contract: TableContract) -> set[Strategy]:
    return {Strategy(contract.options_for(name)["strategy"]) for name in contract.describe()["destinations"]}


def _replayed(contract: TableContract, area: StagingArea) -> Replayed:
    manifests = area.manifests(contract.table)
    still = sum(map(len, open_rows(manifests).values()))
    sequences, rows, known = [], 0, 0
    for origin in (Origin.SOURCE, Origin.TRANSFORM):
        manifest, doubled = _stage(contract, area, origin)
        known += doubled
        if manifest is not None:
            sequences.append(manifest.sequence)
            rows += manifest.rows
            still -= sum(map(len, numbers_of(manifest.replayed).values()))
    return Replayed(contract.table, tuple(sequences), rows, known, still, _told(contract, rows, known, still))


def _told(contract: TableContract, rows: int, known: int, still: int) -> str:
    parts = [f"{contract.table}: {rows:,} rows staged", f"{still:,} still in quarantine"]
    if known:
        parts.append(f"{known:,} left out, because their key was staged meanwhile")
    fix = f"; `{load_command(contract.table)}` brings them into the destinations" if rows else ""
    return ", ".join(parts) + fix


def _stage(contract: TableContract, area: StagingArea, origin: Origin) -> tuple[Manifest | None, int]:
    # Read anew: the set that rows of another origin went into is one that these must follow.
    manifests = area.manifests(contract.table)
    for_all = [each for each in manifests if each.only is None]  # what one destination alone got, the others lack
    found = _fitting(contract, area, for_all, origin)
    newest = _staged_in(contract, area, for_all, found)
    gone = _swept(contract, area, for_all, found)
    chosen = [row for row in range(len(found.places)) if row not in newest and row not in gone]
    if not chosen:
        return None, len(newest)
    rows = pa.Table.from_batches(found.batches, schema=contract.arrow_schema).take(pa.array(chosen, pa.int64()))
    # What a later set brought has overtaken the row; a double of its own set or an earlier one stays refused.
    settled = [row for row, sequence in newest.items() if sequence > found.places[row][0]]
    request = StageRequest(
        Extraction.WINDOW,
        Window(None, None),
        after=manifests[-1].sequence,
        replayed=_spans(found.places[row] for row in [*chosen, *settled, *gone]),
        transformed=origin is Origin.TRANSFORM,
    )
    return area.stage(contract, Extracted(rows.to_reader(), checked=True), request), len(newest)


def _spans(places: Iterator[Place]) -> Any:
    numbers: dict[int, list[int]] = {}
    for sequence, number in places:
        numbers.setdefault(sequence, []).append(number)
    return spans(numbers)


def _fitting(contract: TableContract, area: StagingArea, manifests: Sequence[Manifest], origin: Origin) -> _Fitting:
    found, wanted = _Fitting(), open_rows(manifests)
    for manifest in manifests:
        if numbers := wanted.get(manifest.sequence):
            for held in refused_values(area.address, manifest, numbers):
                if held.origin is origin:
                    _add_fitting(contract, held, found)
    return found


def _add_fitting(contract: TableContract, held: RefusedValues, found: _Fitting) -> None:
    values = _with_nulls(contract, held.values)
    try:
        conformed, bad = Conforming(contract, values.schema, checked=held.checked).batch(values)
    except SourceInvalid:
        return  # as a whole these rows do not fit: a column is missing, or of another type
    found.batches.append(conformed)
    found.places += [(held.sequence, number) for row, number in enumerate(held.numbers) if row not in bad]


def _with_nulls(contract: TableContract, values: pa.RecordBatch) -> pa.RecordBatch:
    """Add the nullable columns that came into the contract after the rows were refused."""
    for column in contract.columns:
        if column.nullable and column.name not in values.schema.names:
            values = values.append_column(column.name, pa.nulls(values.num_rows, column.type.arrow))
    return values


# --- keys that were staged meanwhile


def _staged_in(
    contract: TableContract, area: StagingArea, manifests: Sequence[Manifest], found: _Fitting
) -> dict[int, int]:
    """Return, for rows whose key was staged, the newest set that holds it.

    An append takes a key (and version) once, whatever set it came in. For an upsert what a later set read from the
    source is newer; what another replay staged is not, and versions decide.
    """
    if not found.places:
        return {}
    appended = appends(contract)
    columns = identity(contract) if appended else contract.key
    brought = [each for each in since_full_refresh(manifests) if not holds_keys_only(each)]
    read = [each for each in brought if (appended or not each.replayed) and _tells(contract, columns, each)]
    held = _keys_of(contract, columns, found.batches)
    held = held.append_column("place", pa.array(range(held.num_rows), pa.int64()))
    with closing(open_duckdb()) as database:
        database.register("held", held)
        database.register("staged", _staged_keys(contract, columns, area, read))
        same = " AND ".join(f"held.c{number} IS NOT DISTINCT FROM staged.c{number}" for number in range(len(columns)))
        query = f"SELECT held.place, max(staged.sequence) FROM staged JOIN held ON {same} GROUP BY 1"
        newest = dict(database.execute(query).fetchall())
    return {row: sequence for row, sequence in newest.items() if appended or sequence > found.places[row][0]}


def _swept(contract: TableContract, area: StagingArea, manifests: Sequence[Manifest], found: _Fitting) -> list[int]:
    """Return the rows that are gone from the source: a later set of all its keys lacks theirs."""
    sweeps = [each for each in manifests if holds_keys_only(each) and _tells(contract, contract.key, each)]
    sweep = sweeps[-1] if sweeps else None
    before = [row for row, (sequence, _) in enumerate(found.places) if sweep and sequence < sweep.sequence]
    if sweep is None or not before:
        return []
    held = _keys_of(contract, contract.key, found.batches)
    held = held.append_column("place", pa.array(range(held.num_rows), pa.int64())).take(pa.array(before, pa.int64()))
    keys = ", ".join(f"c{number}" for number in range(len(contract.key)))
    with closing(open_duckdb()) as database:
        database.register("held", held)
        database.register("staged", _staged_keys(contract, contract.key, area, [sweep]))
        gone = database.execute(f"SELECT place FROM held ANTI JOIN staged USING ({keys})").fetchall()
    return [row for (row,) in gone]


def _tells(contract: TableContract, columns: Sequence[str], manifest: Manifest) -> bool:
    """Tell whether a set, which may be of an older contract, holds these columns as what the contract can compare."""
    staged = {name: parse_type(manifest.schema[name])[0] for name in columns if name in manifest.schema}
    return len(staged) == len(columns) and all(holds_all(contract.column(n).type, kind) for n, kind in staged.items())


def _keys_of(contract: TableContract, columns: Sequence[str], batches: Sequence[pa.RecordBatch]) -> pa.Table:
    rows = pa.Table.from_batches(batches, schema=contract.arrow_schema)
    return pa.table({f"c{number}": _plain(rows[name]) for number, name in enumerate(columns)})


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([plain_storage(chunk) for chunk in column.chunks], storage_type(column.type))


def _staged_keys(
    contract: TableContract, columns: Sequence[str], area: StagingArea, manifests: Sequence[Manifest]
) -> pa.RecordBatchReader:
    fields = [(f"c{n}", storage_type(contract.column(name).type.arrow)) for n, name in enumerate(columns)]
    schema = pa.schema([*fields, ("sequence", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for manifest in manifests:
            for part in area.parts(manifest):
                for batch in part.read(columns):
                    # The contract may have widened a key's type since.
                    keys = [
                        plain_storage(batch.column(n)).cast(kind) for n, (_, kind) in zip(columns, fields, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays([*keys, pa.repeat(manifest.sequence, len(batch))], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
