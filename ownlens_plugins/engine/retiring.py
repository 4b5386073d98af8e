"""Which staged sets nobody needs any more, and how they leave the staging area.

A set goes when every destination of the profile has applied it, it is old enough, and no later extraction can read its
rows again. The newest one always stays: the next set is decided from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..contracts import Extraction, TableContract
from ..storage import ObjectFolder, object_folder
from .leaving_out import appends
from .manifest import Manifest
from .newest_first import Log
from .progress import Progress, reached
from .quarantining import open_rows
from .staged_log import folder_of, manifest_name
from .staging import StagingArea
from .windows import bearing, bound_of, may_repeat, since_refresh

_SET_FOLDER = re.compile(r"([0-9]{8})-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class KeepFor:
    """How long staged sets stay that every destination has applied, and the refused rows of such sets."""

    sets: timedelta
    quarantine: timedelta


@dataclass(frozen=True, slots=True)
class Retiring:
    """Sets that go whole, and sets whose parts go while their refused rows stay. Oldest first."""

    whole: tuple[Manifest, ...] = ()
    parts: tuple[Manifest, ...] = ()

    @property
    def rows(self) -> int:
        return sum(manifest.rows for manifest in (*self.whole, *self.parts) if not manifest.retired)

    @property
    def files(self) -> int:
        return sum(len(manifest.parts) for manifest in (*self.whole, *self.parts))

    @property
    def bytes(self) -> int:
        return sum(manifest.bytes for manifest in (*self.whole, *self.parts) if not manifest.retired)

    def settled(self, manifests: Sequence[Manifest]) -> int:
        """Return the number up to which no set is staged any more, once these are gone."""
        gone = {manifest.sequence for manifest in (*self.whole, *self.parts)}
        staged = [one.sequence for one in manifests if one.sequence not in gone and not one.retired]
        return min(staged) - 1 if staged else 0


def to_retire(
    contract: TableContract,
    manifests: Sequence[Manifest],
    noted: Progress | None,
    *,
    applied: int,
    keep: KeepFor,
    now: datetime,
) -> Retiring:
    """Return what may go of a table's staged sets.

    Args:
        contract: The table's contract.
        manifests: All its sets, oldest first.
        noted: What the last run without news has noted.
        applied: The newest set that every destination has applied; 0 when one has applied none.
        keep: How long sets and refused rows stay.
        now: The moment that they are counted from.
    """
    needed = first_needed(contract, manifests, noted)
    refused = open_rows(manifests)
    # Not the newest applied one either: by it a destination is known to lack nothing between it and the sets that wait.
    old = [
        manifest
        for manifest in manifests[:-1]
        if manifest.sequence < applied and manifest.sequence < needed and manifest.staged_at < now - keep.sets
    ]
    # Numbers of quarantined rows are told by the manifest, so it stays with them.
    keeping = [one for one in old if one.sequence in refused and one.staged_at >= now - keep.quarantine]
    return Retiring(
        whole=tuple(one for one in old if one not in keeping),
        parts=tuple(one for one in keeping if not one.retired),
    )


def first_needed(contract: TableContract, manifests: Sequence[Manifest], noted: Progress | None) -> int:
    """Return the oldest set that an extraction from now on may read: its rows, or what its snapshot had seen."""
    log = Log.of(manifests).for_all()
    if not log:
        return 0
    newest = log[-1].sequence
    base = reached(log, noted)
    if base is None:  # frames only: an append knows each by its set
        return manifests[0].sequence if appends(contract) else newest
    # Frames and replays do not say how far the source was read.
    told = next((one.sequence for one in reversed(log) if one.window.end is not None), newest)
    if contract.extraction is not Extraction.WINDOW:
        return min(told, newest)
    bound = bound_of(contract, base, log)
    met = since_refresh(bearing(contract, manifests))
    read_again = (one.sequence for one in met if may_repeat(one, bound.start))
    return min(newest, told, bound.told_by or newest, *read_again)


def retire(area: StagingArea, contract: TableContract, retiring: Retiring) -> None:
    """Delete what is to go, oldest first. A crash leaves folders of no set, which the next call finds and deletes."""
    store, table = object_folder(area.uri), contract.table
    if retiring.whole or retiring.parts:
        # Before they go: of a set without a note, a destination that lacks it must be filled anew.
        area.remember(table, (*retiring.whole, *retiring.parts))
    for manifest in retiring.whole:
        # The manifest first: a set is there as long as it is, and then its parts must be too.
        store.delete(manifest_name(table, manifest.sequence))
    for manifest in retiring.parts:
        left = replace(manifest, parts=(), retired=True)
        store.put(manifest_name(table, manifest.sequence), left.to_json())
        for part in manifest.parts:
            store.delete(part.uri)
    for name in left_over(store, area, table):
        store.remove(f"{folder_of(table)}/{name}")
    if retiring.whole or retiring.parts:
        area.note_gone(table)


def left_over(store: ObjectFolder, area: StagingArea, table: str) -> list[str]:
    """Return the folders of sets that are staged no longer."""
    known = {manifest.sequence for manifest in area.manifests(table)}
    found = ((name, _SET_FOLDER.fullmatch(name)) for name in store.folders(folder_of(table)))
    # A folder above the newest set may be that of an attempt which is about to publish.
    newest = max(known, default=0)
    return [name for name, match in found if match and int(match[1]) < newest and int(match[1]) not in known]
