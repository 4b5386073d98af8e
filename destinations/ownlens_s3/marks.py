"""The application transactions that say which loads a Delta table holds: a bounded number, however many loads came.

Sets come in order, so those that are in form a run of numbers, which each load prolongs:

- `ownlens/<table>`: the highest sequence so far. Every load writes it, so two commits from one snapshot conflict.
- `…/newest`: the last set of the run, with 32 bits of its digest's hash.
- `…/run`: the first set of the run, and the newest set of the whole table, below which older ones are pointless.
- `…/before/<first>`: first and last set of the run before, where numbers were left out.
- `…/<sequence>`: a set that came after a newer one, and each set of a table that an older OwnLens wrote.
- `…/replaced`: for an older OwnLens, which reads it as a set of the whole table, and so takes no set of a run for one
  that never came.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction

from ownlens_plugins.api import LoadPlan

_DIGEST_BITS = 32
_SEQUENCE_BITS = 31
# Where `delta.setTransactionRetentionDuration` is set, delta-rs hides marks that are older, and Spark's checkpoints
# drop them and all that have no date. A load that is in stays in, so its mark gets the last day of the calendar.
_NEVER = 253_402_214_400_000


def mark_of(digest: str) -> int:
    """Return 60 bits of a digest's hash: the number that the mark of a late load carries."""
    return int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8]) >> 4


def _short(digest: str) -> int:
    return mark_of(digest) & ((1 << _DIGEST_BITS) - 1)


def _pair(packed: int | None, bits: int) -> tuple[int, int]:
    return (packed or 0) >> bits, (packed or 0) & ((1 << bits) - 1)


@dataclass(frozen=True)
class Marks:
    """What one version of a table says of its loads. `app` is `ownlens/<table>`."""

    table: DeltaTable
    app: str

    def _of(self, name: str) -> int | None:
        return self.table.transaction_version(f"{self.app}/{name}")

    @property
    def position(self) -> int:
        """The highest sequence that is in; 0 when none is."""
        return self.table.transaction_version(self.app) or 0

    @property
    def last(self) -> int:
        """The last set of the run; 0 when no run was begun."""
        return self._newest[0]

    @property
    def _newest(self) -> tuple[int, int]:
        return _pair(self._of("newest"), _DIGEST_BITS)

    @property
    def _run(self) -> tuple[int, int]:
        return _pair(self._of("run"), _SEQUENCE_BITS)

    @property
    def whole(self) -> int:
        """The newest set of the whole table; 0 when there was none."""
        _, whole = self._run
        # An older OwnLens came after the run, or no other was here yet: then `replaced` means what it says.
        theirs = (self._of("replaced") or 0) if self.position > self.last else 0
        return max(whole, theirs if theirs > self.last else 0)

    def is_done(self, sequence: int) -> bool:
        """Tell whether a load is in, or was overtaken by a set of the whole table."""
        return sequence <= self.position and (self.holds(sequence) or sequence <= self.whole)

    @property
    def has_gaps(self) -> bool:
        """Whether a set below the newest one may still come: a number was left out since the whole table was set."""
        return self.last != self.position or self._run[0] > self.whole + 1

    def holds(self, sequence: int) -> bool:
        """Tell whether this very load is in."""
        if sequence > self.position:
            return False
        return self._in_run(sequence) or self._of(f"{sequence:08d}") is not None

    def _in_run(self, sequence: int) -> bool:
        last = self.last
        if not last or sequence > last:
            return False
        first, _ = self._run
        while first and sequence < first:
            first, last = _pair(self._of(f"before/{first:08d}"), _SEQUENCE_BITS)
        return bool(first) and sequence <= last

    def differs(self, sequence: int, digest: str) -> bool:
        """Tell whether the log says that a load was made from other bytes; of most older ones only the ledger knows."""
        last, short = self._newest
        if sequence == last:
            return short != _short(digest)
        own = self._of(f"{sequence:08d}")
        return own is not None and own != mark_of(digest)

    def properties(self, plan: LoadPlan, note: dict[str, Any], *, replaces: bool) -> CommitProperties:
        """Return what a load's commit carries: its marks, and a note for people.

        `replaces` says that the set holds the whole table.
        """
        marks = [
            Transaction(f"{self.app}{name}", version, _NEVER) for name, version in self._after(plan, replaces).items()
        ]
        return CommitProperties(app_transactions=marks, custom_metadata={"ownlens": note})

    def _after(self, plan: LoadPlan, replaces: bool) -> dict[str, int]:
        number, there = plan.sequence, self.position
        whole = max(self.whole, number if replaces else 0)
        if number > there:
            newest = number << _DIGEST_BITS | _short(plan.digest)
            return {"": number, "/newest": newest, "/replaced": number, **self._prolonged(number, whole)}
        first, before = self._run
        late = {"": there, f"/{number:08d}": mark_of(plan.digest)}
        return late if whole == before else {**late, "/run": first << _SEQUENCE_BITS | whole}

    def _prolonged(self, number: int, whole: int) -> dict[str, int]:
        """Return the run that a set goes on with, or the one that it begins, with the way back to the one before."""
        first, last = self._run[0], self.last
        if first and last == number - 1:
            return {"/run": first << _SEQUENCE_BITS | whole}
        begun = {"/run": number << _SEQUENCE_BITS | whole}
        # Below a set of the whole table every load is done, so no way back is needed, and none is left to pile up.
        needed = bool(first) and last > whole
        return {**begun, f"/before/{number:08d}": first << _SEQUENCE_BITS | last} if needed else begun
