"""The redo record of a load that is about to become visible.

It is the comment of the table that holds the staged rows. It is written when they are all there and counted, before
the first becomes visible. From then on the load can only be finished, by whoever comes next, and the record goes where
the rows go.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from uuid import UUID

from ownlens_plugins.contracts import Strategy

from .ledger import NO_TABLE, Entry, Standing, entry_of

_SIGN = "ownlens load "


@dataclass(frozen=True, slots=True)
class Redo:
    """A begun load: its entry, and how its rows become visible.

    `exchanges` says that the staged table becomes the target. The target's partitions of the ids `replaced` are to
    hold what the staged table has in them, or nothing; its other staged partitions are added.
    """

    entry: Entry
    exchanges: bool
    replaced: tuple[str, ...] = ()

    def text(self, note: str = "") -> str:
        """Return the record as it is written into the comment, behind the note that the table's owner wrote there."""
        record = {**asdict(self.entry), "exchanges": self.exchanges, "replaced": self.replaced}
        return (f"{note}\n" if note else "") + _SIGN + json.dumps(record, default=str)

    def is_for(self, target: UUID | None, standing: Standing) -> bool:
        """Tell whether the load is still to be applied to the table of this UUID.

        A table that was dropped takes the loads along that were begun for it: finishing one into the table that was
        made since would put that load's rows where the ones before it are missing.
        """
        entry = self.entry
        here = target is not None and entry.target in {NO_TABLE, target}
        return here and entry.life == standing.life and entry.sequence >= standing.position

    def is_shown_by(self, target: UUID | None, standing: Standing) -> bool:
        """Tell whether the table of this UUID is the staged one, exchanged and not recorded yet."""
        entry = self.entry
        shown = self.exchanges and entry.stage == target
        return shown and entry.life == standing.life and entry.sequence >= standing.position


def note_of(comment: str) -> str:
    """Return what a table's owner wrote into its comment."""
    return comment.rpartition(_SIGN)[0].removesuffix("\n") if _SIGN in comment else comment


def read_redo(comment: str) -> Redo | None:
    """Return the load that a table's comment records as begun; None when it records none."""
    _, sign, record = comment.rpartition(_SIGN)
    if not sign:
        return None
    values = json.loads(record)
    # Records of older versions have neither: an overwrite was the only load that exchanged.
    exchanges = bool(values.pop("exchanges", values["strategy"] == Strategy.OVERWRITE))
    replaced = tuple(values.pop("replaced", ()))
    return Redo(entry_of(values), exchanges, replaced)
