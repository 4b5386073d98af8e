"""Where a table stands in a destination: how far it has come in the log of staged sets, and what validations said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from ..api import Destination
from ..contracts import TableContract
from ..registry import Registry
from .manifest import Manifest
from .planning import plan_load
from .positions import refuse_if_ahead
from .quarantining import open_rows
from .staging import StagingArea
from .verdicts import Verdict, Verdicts

# A destination that lacks more sets than these is not asked for each of them.
_MOST_SETS = 50
PASSED, FAILED, OWED, NONE = "passed", "failed", "owed", "none"


@dataclass(frozen=True, slots=True)
class Standing:
    """One table in one destination. `newest` and `position` are sets, 0 being none; `behind` counts sets.

    `validation` is passed, failed, owed (no validation has seen all that is there) or none (there is nothing to see, or
    the profile does not validate). `refused` counts the rows in quarantine: neither replayed nor corrected.
    """

    table: str
    destination: str
    newest: int = 0
    position: int = 0
    behind: int = 0
    validation: str = NONE
    refused: int = 0
    reason: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is left to do here."""
        return not (self.reason or self.behind) and self.validation in (PASSED, NONE)

    def document(self) -> dict[str, Any]:
        """Return the standing as JSON values."""
        return asdict(self)


def standing(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagingArea,
    registry: Registry,
    *,
    validates: bool,
) -> Standing:
    """Ask a destination where it stands in a table's log, newest set first.

    Raises:
        Retryable: the destination or the staging area cannot be asked now.
        Rejected, StagedSetChanged: the destination holds what the staged sets do not explain.
    """
    log = area.log(contract.table).those(lambda manifest: manifest.is_for(destination.name))
    position, behind = _position(destination, contract, area, registry, log)
    verdict = Verdicts(area).read(contract.table, destination.name)
    validation = _validation(verdict, position) if validates else NONE
    return Standing(
        contract.table,
        destination.name,
        newest=log[-1].sequence if log else 0,
        position=position,
        behind=behind,
        validation=validation,
        refused=sum(map(len, open_rows(log).values())),
        reason=verdict.reason if validation == FAILED else "",
    )


def _position(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagingArea,
    registry: Registry,
    log: Sequence[Manifest],
) -> tuple[int, int]:
    """Return the newest set that a destination holds, and how many it lacks."""
    for behind, manifest in enumerate(islice(reversed(log), _MOST_SETS)):
        if destination.find_commit(plan_load(destination, contract, manifest, area, registry)):
            if not behind:
                refuse_if_ahead(destination, contract, area, manifest)
            return manifest.sequence, behind
    return 0, len(log)


def _validation(verdict: Verdict, position: int) -> str:
    if not position:
        return NONE
    if verdict.passed >= position:
        return PASSED
    return FAILED if verdict.failed >= position else OWED
