"""Ledger entries of loads whose staged sets are gone: the ledger forgets them, and still answers that they are in.

The floor is written before an entry goes. In another order, a crash in between would leave a load that is marked in the
log, that no entry tells of, and whose counts the next run would look for in the whole log.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from .folder import TableFolder
from .ledger import LEDGER
from .paths import PRIVATE

_FLOOR = f"{PRIVATE}/floor.json"


def floor_of(folder: TableFolder) -> int:
    """Return the highest sequence whose entry may have been forgotten; 0 when none was."""
    content = folder.read(_FLOOR)
    return 0 if content is None else int(json.loads(content)["sequence"])


def forgotten(folder: TableFolder, position: int, settled: int) -> Sequence[str]:
    """Return the entries that may go: those up to `settled`, but never the newest, which says whose table this is."""
    below = min(settled, position - 1)
    return [entry.name for entry in folder.entries(LEDGER) if 0 < _sequence(entry.name) <= below]


def forget(folder: TableFolder, going: Collection[str]) -> None:
    """Let entries go. Their loads are answered as done from the marks in the log, without counts."""
    highest = max(map(_sequence, going), default=0)
    if not highest:
        return
    if highest > floor_of(folder):
        folder.put(_FLOOR, json.dumps({"sequence": highest}).encode())
    folder.delete(going)


def _sequence(name: str) -> int:
    stem, _, suffix = name.rsplit("/", 1)[-1].partition(".")
    return int(stem) if stem.isdigit() and suffix == "json" else 0
