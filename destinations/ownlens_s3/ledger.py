"""What the lake keeps beside a table's rows: one ledger entry per load, one marker per running attempt.

Neither decides anything. The Delta log or the manifest says what is committed; the ledger repeats it for people, and
for counts that outlive the log. Markers say which files a crash may have left.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.errors import StagedSetChanged

from .covering import keys_only
from .folder import TableFolder
from .paths import LOG, MANIFESTS, PRIVATE, attempt_of

logger = logging.getLogger("ownlens.s3")
LEDGER = f"{PRIVATE}/ledger"
ATTEMPTS = f"{PRIVATE}/attempts"
# Longer than any load runs: an attempt that old is dead even if its load never came back.
DEAD_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One committed load of one table. `bytes` counts the staged parts, `committed_at` is UTC in ISO form.

    `deleted` counts the rows of before that are no longer there, also those that an overwrite replaced. `table_id` is
    the id of the Delta table that was loaded, `table_version` the version of it that the load looked at.
    """

    load_id: str
    sequence: int
    digest: str
    strategy: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    bytes: int
    attempt: str
    fingerprint: str
    committed_at: str
    version: str
    columns: Mapping[str, str]
    # Entries of before 0.3 lack what follows.
    deleted: int = 0
    table_id: str = ""
    table_version: int | None = None
    # The columns that told the rows apart; entries of before 0.4 lack it.
    key: Sequence[str] = ()

    @property
    def result(self) -> LoadResult:
        return LoadResult(
            load_id=self.load_id,
            digest=self.digest,
            rows=self.rows,
            inserted=self.inserted,
            updated=self.updated,
            unchanged=self.unchanged,
            deleted=self.deleted,
            committed_at=datetime.fromisoformat(self.committed_at),
        )


_FIELDS = frozenset(field.name for field in fields(LedgerEntry))
MERGED = "num_target_rows_inserted"  # a metric that only a merge of delta-rs has
_CHANGES = ("inserted", "updated", "deleted")


def new_entry(plan: LoadPlan, attempt: str) -> LedgerEntry:
    """Return the entry of a load that inserts all its rows; merges replace the counts once they know them."""
    return LedgerEntry(
        load_id=plan.load_id,
        sequence=plan.sequence,
        digest=plan.digest,
        strategy=plan.strategy.value,
        rows=plan.rows,
        inserted=0 if keys_only(plan) else plan.rows,
        updated=0,
        unchanged=0,
        bytes=plan.bytes,
        attempt=attempt,
        fingerprint=plan.contract.fingerprint,
        committed_at=datetime.now(UTC).isoformat(),
        version=_version(),
        columns={column.name: str(column) for column in plan.contract.columns},
        key=plan.contract.key,
    )


@cache
def _version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "source"


def as_document(entry: LedgerEntry) -> dict[str, Any]:
    return asdict(entry)


def from_document(document: Mapping[str, Any]) -> LedgerEntry:
    return LedgerEntry(**{name: value for name, value in document.items() if name in _FIELDS})


def with_metrics(entry: LedgerEntry, metrics: Mapping[str, Any]) -> LedgerEntry:
    """Return a new entry with the counts of its merge; staged rows that changed nothing are `unchanged`.

    A sweep stages no rows, and has counted the keys that it leaves.
    """
    inserted, updated, deleted = (int(metrics.get(f"num_target_rows_{what}", 0)) for what in _CHANGES)
    unchanged = entry.unchanged or max(0, entry.inserted - inserted - updated)
    return replace(entry, inserted=inserted, updated=updated, unchanged=unchanged, deleted=deleted)


def write_entry(folder: TableFolder, entry: LedgerEntry) -> None:
    content = json.dumps(as_document(entry), indent=2, ensure_ascii=False)
    folder.put(f"{LEDGER}/{entry.sequence:08d}.json", content.encode())


def keep_entry(folder: TableFolder, entry: LedgerEntry) -> None:
    """Write an entry that a crash has prevented, if it is missing."""
    if read_entry(folder, entry.sequence) is None:
        write_entry(folder, entry)


def read_entry(folder: TableFolder, sequence: int) -> LedgerEntry | None:
    content = folder.read(f"{LEDGER}/{sequence:08d}.json")
    return None if content is None else from_document(json.loads(content))


def set_changed(plan: LoadPlan) -> StagedSetChanged:
    """Return the error for a load id that is recorded with other bytes."""
    return StagedSetChanged(
        f"{plan.table}: s3 holds load {plan.sequence} with another digest, so it was loaded from other staged sets; "
        f"fill all destinations anew with {refresh_options(plan.table)}"
    )


def overtaken(plan: LoadPlan) -> LoadResult:
    """Return the result of a load that a newer overwrite made pointless: nothing of it is applied."""
    return LoadResult(load_id=plan.load_id, digest=plan.digest, rows=0, inserted=0, replayed=True)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A marker in the attempts folder: some process wrote, or writes, files for this load."""

    sequence: int
    attempt: str
    started: datetime

    @property
    def name(self) -> str:
        return f"{ATTEMPTS}/{self.sequence:08d}-{self.attempt}-{int(self.started.timestamp())}"


def announce(folder: TableFolder, sequence: int, attempt: str) -> Attempt:
    """Leave a marker before the first data file, so that a crash is seen without listing the whole table."""
    marker = Attempt(sequence, attempt, datetime.now(UTC))
    folder.put(marker.name, b"")
    return marker


def attempts(folder: TableFolder) -> list[Attempt]:
    found = []
    for entry in folder.entries(ATTEMPTS):
        parts = entry.name.rsplit("/", 1)[-1].split("-")
        if len(parts) == 3 and parts[0].isdigit() and parts[2].isdigit():
            found.append(Attempt(int(parts[0]), parts[1], datetime.fromtimestamp(int(parts[2]), UTC)))
    return found


def sweep(
    folder: TableFolder,
    is_done: Callable[[int], bool],
    kept: Callable[[], Collection[str]],
    *,
    own: Attempt | None = None,
) -> list[Attempt]:
    """Delete the files of finished and dead attempts that no reader can need; return the attempts that remain.

    An attempt is finished once its load is committed, whoever committed it: it can never commit any more. Attempts of
    loads that are still open may be alive and stay. `kept` names the files that the table refers to; it is only asked
    for, and the folder only listed, when there is a marker of a finished attempt other than `own`.
    """
    folder.clear_drafts([ATTEMPTS])
    marks = [mark for mark in attempts(folder) if own is None or mark.name != own.name]
    if over := _over(marks, is_done):
        clear_drafts(folder)
        folder.delete(_left_by(folder, over, kept))
        folder.delete([mark.name for mark in over])
    return [mark for mark in marks if mark not in over]


def clear_drafts(folder: TableFolder) -> None:
    """Delete drafts that crashes left of ledger, log and manifests, once they are a day old."""
    folder.clear_drafts([LEDGER, ATTEMPTS, MANIFESTS, LOG])


def leftovers(folder: TableFolder, is_done: Callable[[int], bool], kept: Callable[[], Collection[str]]) -> list[str]:
    """Return the files that `sweep` would delete."""
    return _left_by(folder, _over(attempts(folder), is_done), kept)


def _over(marks: Sequence[Attempt], is_done: Callable[[int], bool]) -> list[Attempt]:
    horizon = datetime.now(UTC) - DEAD_AFTER
    return [mark for mark in marks if is_done(mark.sequence) or mark.started < horizon]


def _left_by(folder: TableFolder, over: Sequence[Attempt], kept: Callable[[], Collection[str]]) -> list[str]:
    if not over:
        return []
    return sorted(_files_of(folder, {(mark.sequence, mark.attempt) for mark in over}) - set(kept()))


def discard(folder: TableFolder, marker: Attempt) -> None:
    """Delete everything that one attempt wrote. Only for attempts of which nothing was committed."""
    folder.delete(sorted(_files_of(folder, {(marker.sequence, marker.attempt)})))
    folder.delete([marker.name])


def _files_of(folder: TableFolder, owners: set[tuple[int, str]]) -> set[str]:
    return {entry.name for entry in folder.entries() if attempt_of(entry.name) in owners}
