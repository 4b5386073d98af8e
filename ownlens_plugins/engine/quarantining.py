"""The quarantine of a table: which refused rows are news, how they are kept, and which are still refused."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from ..commands import quarantine_command
from ..contracts import Extraction, TableContract
from ..errors import Rejected
from ..storage import filesystem
from .manifest import Manifest, Spans
from .newest_first import Log
from .refusals import Origin, RefusedRow, commonest

FILE = "quarantine.parquet"
CHECKED = b"ownlens.checked"
_SCHEMA = pa.schema(
    [
        ("reason", pa.string()),
        ("row", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("origin", pa.string()),
        ("digest", pa.binary(16)),
    ]
)
_ROWS_PER_BATCH = 1_000
Address = Callable[[str], str]
Numbers = dict[int, set[int]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refused rows of one extraction.

    `news` goes into the new set's quarantine; `standing` names the rows, by set, that older quarantines hold already.
    """

    news: list[RefusedRow]
    standing: Spans = ()


def newly_refused(address: Address, manifests: Sequence[Manifest], refused: Sequence[RefusedRow]) -> Refusals:
    """Tell refused rows that are news from those that a published quarantine holds with the same reasons and text.

    Rows that were brought in since by a replay, or that a later set of the whole table no longer refused, are news.

    Args:
        address: Returns where an object of the staging area is.
        manifests: The table's published sets, oldest first.
        refused: All rows that this extraction refused.
    """
    news = defaultdict(list)
    for row in refused:
        news[row.digest].append(row)
    standing: Numbers = {}
    for manifest, numbers in _open_quarantines(manifests) if news else ():
        for number, digest in _digests(address, manifest, numbers):
            if news.get(digest):
                news[digest].pop()
                standing.setdefault(manifest.sequence, set()).add(number)
    left = {id(row) for rows in news.values() for row in rows}
    return Refusals([row for row in refused if id(row) in left], spans(standing))


def _open_quarantines(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, set[int]]]:
    log = Log.of(manifests)
    for sequence, numbers in sorted(open_rows(log).items()):
        if (manifest := log.numbered(sequence)) is not None:  # else its refused rows are kept no longer
            yield manifest, numbers


def open_rows(manifests: Sequence[Manifest]) -> Numbers:
    """Return the rows of the quarantines that are still refused, by set: neither replayed nor settled by a later set.

    A set of the whole table settles what it does not refuse again.
    """
    later: list[Manifest] = []
    found: Numbers = {}
    for manifest in reversed(Log.of(manifests)):
        if manifest.unsettled is not None:
            found = numbers_of(manifest.unsettled)
            break
        later.append(manifest)
    for manifest in reversed(later):
        found = open_after(found, manifest)
    return found


def open_after(before: Numbers, manifest: Manifest) -> Numbers:
    """Return the rows that are still refused after a set, given those that were before it.

    A set for some destinations says nothing of the others: what it brings in, they lack, and what it refuses, they may
    hold.
    """
    if manifest.only is not None:
        return before
    is_whole = manifest.extraction == Extraction.WHOLE.value and not holds_keys_only(manifest)
    found = numbers_of(manifest.standing) if is_whole else {**before}
    if manifest.quarantine is not None:
        found[manifest.sequence] = set(range(manifest.rejected))
    for sequence, numbers in numbers_of((*manifest.replayed, *manifest.settled)).items():
        found[sequence] = found.get(sequence, set()) - numbers
    return {sequence: numbers for sequence, numbers in found.items() if numbers}


def holds_keys_only(manifest: Manifest) -> bool:
    """Tell whether a set names the keys of the whole table, and brings no rows."""
    return manifest.covers is not None and manifest.covers.keys_only


def spans(numbers: Mapping[int, Iterable[int]]) -> Spans:
    """Return row numbers by set in their compact form: (set, first row, last row)."""
    found: list[tuple[int, int, int]] = []
    for sequence in sorted(numbers):
        for number in sorted(numbers[sequence]):
            if found and found[-1][0] == sequence and found[-1][2] == number - 1:
                found[-1] = (sequence, found[-1][1], number)
            else:
                found.append((sequence, number, number))
    return tuple(found)


def numbers_of(found: Spans) -> Numbers:
    """Return the row numbers by set that spans stand for."""
    numbers: Numbers = {}
    for sequence, first, last in found:
        numbers.setdefault(sequence, set()).update(range(first, last + 1))
    return numbers


def _digests(address: Address, manifest: Manifest, numbers: set[int]) -> Iterator[tuple[int, bytes]]:
    number = 0
    for batch in _batches(address(manifest.quarantine or ""), ["digest"]):
        for digest in batch.column("digest").to_pylist() if "digest" in batch.schema.names else ():
            if number in numbers:
                yield number, digest
            number += 1


def _batches(uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    where, path = filesystem(uri)
    with where.open_input_file(path) as source, pq.ParquetFile(source) as file:
        # Older files have `reason` and `row` only.
        known = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
        yield from file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=known)


# --- files


def write_quarantine(refused: Sequence[RefusedRow], folder: Path) -> None:
    """Write refused rows for people (`quarantine.parquet`) and, as they came, for a replay (`refused-*.arrow`).

    Row n of the one is the next row of its origin in the other: the order must stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("wb") as target:
        with pq.ParquetWriter(target, _SCHEMA, compression="zstd") as writer:
            for start in range(0, len(refused), _ROWS_PER_BATCH):
                writer.write_batch(_readable(refused[start : start + _ROWS_PER_BATCH]))
        _sync(target)
    for origin in {row.held.origin for row in refused}:
        _write_values([row for row in refused if row.held.origin is origin], folder / values_name(origin))


def values_name(origin: str) -> str:
    """Return the name of the file beside the quarantine that holds the rows of an origin as they came."""
    return f"refused-{origin}.arrow"


def _readable(rows: Sequence[RefusedRow]) -> pa.RecordBatch:
    columns = [
        [row.reason for row in rows],
        [row.row for row in rows],
        [list(row.reasons) for row in rows],
        [row.held.origin.value for row in rows],
        [row.digest for row in rows],
    ]
    arrays = [pa.array(cells, field.type) for cells, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _write_values(rows: Sequence[RefusedRow], file: Path) -> None:
    held = rows[0].held
    schema = held.values.schema.with_metadata({CHECKED: str(held.checked).encode()})
    options = ipc.IpcWriteOptions(compression="zstd")
    with file.open("wb") as target:
        with ipc.new_stream(target, schema, options=options) as writer:
            for _, group in groupby(rows, key=lambda row: id(row.held)):
                writer.write_batch(_chosen([*group]))
        _sync(target)


def _chosen(rows: Sequence[RefusedRow]) -> pa.RecordBatch:
    values = rows[0].held.values
    if len(rows) == values.num_rows:
        return values
    return pa.concat_batches([values.slice(row.index, 1) for row in rows])


def _sync(target: Any) -> None:
    target.flush()
    os.fsync(target.fileno())


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A refused row as it is kept. `text` is JSON: an object of columns, each the source's own text, or null."""

    sequence: int | None
    number: int
    reasons: tuple[str, ...]
    text: str


def kept_rows(uri: str, numbers: set[int] | None, sequence: int | None) -> Iterator[KeptRow]:
    """Stream rows of a quarantine file; all of them when `numbers` is None. `sequence` is None for unpublished rows."""
    number = 0
    for batch in _batches(uri):
        for values in batch.to_pylist():
            if numbers is None or number in numbers:
                reasons = values.get("reasons") or [values["reason"]]
                yield KeptRow(sequence, number, tuple(reasons), values["row"])
            number += 1


def refused_values(
    address: Address,
    manifest: Manifest,
    numbers: set[int],
    origins: Sequence[Origin] = (Origin.SOURCE, Origin.TRANSFORM),
) -> Iterator[RefusedValues]:
    """Stream the numbered rows of a set's quarantine as they came from the source.

    Rows of other origins are left out, and so are those of older versions, which kept no values.
    """
    places = _places(address, manifest, numbers)
    for origin in origins:
        if origin in places:
            uri = address(manifest.quarantine or "").removesuffix(FILE) + values_name(origin)
            yield from _values(uri, manifest.sequence, origin, places[origin])


def _places(address: Address, manifest: Manifest, numbers: set[int]) -> dict[str, dict[int, int]]:
    """Return, by origin, the place of each wanted row in the origin's file, and its number in the quarantine."""
    places: dict[str, dict[int, int]] = defaultdict(dict)
    seen: dict[str, int] = defaultdict(int)
    number = 0
    for batch in _batches(address(manifest.quarantine or ""), ["origin"]):
        for origin in batch.column("origin").to_pylist() if "origin" in batch.schema.names else ():
            if number in numbers:
                places[origin][seen[origin]] = number
            seen[origin] += 1
            number += 1
    return places


@dataclass(frozen=True, slots=True)
class RefusedValues:
    """Refused rows of one set as they came; `numbers` are theirs in the quarantine."""

    sequence: int
    origin: Origin
    values: pa.RecordBatch
    numbers: tuple[int, ...]
    checked: bool


def _values(uri: str, sequence: int, origin: Origin, places: Mapping[int, int]) -> Iterator[RefusedValues]:
    where, path = filesystem(uri)
    start = 0
    with where.open_input_stream(path) as source, ipc.open_stream(source) as reader:
        checked = (reader.schema.metadata or {}).get(CHECKED) == b"True"
        for batch in reader:
            rows = [row for row in range(batch.num_rows) if start + row in places]
            if rows:
                chosen = pa.concat_batches([batch.slice(row, 1) for row in rows])
                yield RefusedValues(sequence, origin, chosen, tuple(places[start + row] for row in rows), checked)
            start += batch.num_rows


# --- limits and messages


def refuse_if_failing(contract: TableContract, refused: Sequence[RefusedRow], kept: int, where: str) -> None:
    """Refuse a set whose contract takes no refused row, or fewer.

    Args:
        contract: The table's contract.
        refused: The refused rows that count: all of a whole table or of whole days, else those that are news.
        kept: Rows that fit.
        where: Where the refused rows are kept.

    Raises:
        Rejected: with table, number, share, the commonest reasons, the place and the fix.
    """
    if not is_failing(contract, len(refused), kept):
        return
    share = f"{len(refused):,} of {rows_text(len(refused) + kept)}"
    found = f"{share} break the contract: {reasons_text(commonest(refused))} (they are kept in {where})"
    if contract.on_bad_value == "fail":
        fix = "correct them in the source, or set on_bad_value: quarantine"
    else:
        fix = (
            f"more than max_rejected: {contract.max_rejected:g}; see them with "
            f"`{quarantine_command('show', contract.table)}`, correct the source or the contract, or raise max_rejected"
        )
    raise Rejected(f"{contract.table}: nothing was published, {found}; {fix}")


def is_failing(contract: TableContract, refused: int, kept: int) -> bool:
    """Tell whether a set with so many refused rows stays unpublished."""
    if not refused:
        return False
    return contract.on_bad_value == "fail" or refused > contract.max_rejected * (refused + kept)


def reasons_text(reasons: Mapping[str, int], most: int = 3) -> str:
    """Return the commonest reasons in one line, with their numbers of rows."""
    shown = [f"{reason} ({rows_text(rows)})" for reason, rows in [*reasons.items()][:most]]
    more = len(reasons) - len(shown)
    return ", ".join(shown) + (f", and {more} more reasons" if more > 0 else "")


def rows_text(rows: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def refused_line(manifest: Manifest, where: str) -> str:
    """Return the line that tells people of a set's refused rows."""
    where_not, fix = "to no destination", f"`{quarantine_command('replay', manifest.table)}`"
    if manifest.only is not None:  # a replay is for all, and the others may hold these rows
        where_not, fix = "not to " + ", ".join(manifest.only), "this command again"
    return (
        f"{manifest.table}: {rows_text(manifest.rejected)} refused, which went {where_not}: "
        f"{reasons_text(manifest.reasons)}; correct the source, or the contract and then run "
        f"{fix} (they are kept in {where})"
    )
