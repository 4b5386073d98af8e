"""How far destinations have come in a table's log, where the log itself cannot tell: it is new, lost, or another one.

A destination takes a set whose number is below its newest load for one that was overtaken, and changes nothing. So a
log that begins anew goes on above all that its destinations hold, and a destination that is further than its log is
refused, rather than passed over in silence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..api import Destination
from ..commands import refresh_options
from ..contracts import TableContract
from ..errors import Rejected, Retryable
from ..powers import SupportsPosition
from .manifest import Manifest
from .staged_log import StagedLog

logger = logging.getLogger("ownlens.load")
Destinations = Mapping[str, Destination[Any, Any]]


class Positions:
    """The destinations of a profile, asked for the newest load of a table. Safe to use from several threads.

    `chosen` are those that a run loads into, and `others` makes the remaining ones, which only a full refresh asks. One
    that does not answer is passed over for good, and the run goes on without its word: when it is loaded into, its
    position is looked at again.
    """

    def __init__(self, chosen: Destinations, others: Callable[[], Destinations] = dict) -> None:
        self._chosen, self._make_others = chosen, others
        self._others: Destinations | None = None
        self._silent: set[str] = set()
        self._lock = threading.Lock()

    def pass_over(self, name: str) -> None:
        """Do not ask a destination that cannot be reached."""
        self._silent.add(name)

    def of_chosen(self, contract: TableContract) -> dict[str, int]:
        """Return the newest load of a table in each destination of the run that answers, 0 being none."""
        return self._asked(self._chosen, contract)

    def of_all(self, contract: TableContract) -> dict[str, int]:
        """Return the newest load of a table in each destination of the profile that answers."""
        with self._lock:
            if self._others is None:
                self._others = self._make_others()
        return self._asked({**self._others, **self._chosen}, contract)

    def _asked(self, destinations: Destinations, contract: TableContract) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, destination in destinations.items():
            if name in self._silent or not isinstance(destination, SupportsPosition):
                continue
            try:
                found[name] = destination.position(contract)
            except Exception as error:
                self.pass_over(name)
                logger.warning(
                    "%s: %s does not say how far it has come: %s", contract.table, name, type(error).__name__
                )
        return found

    def close(self) -> None:
        """Release the connections of the destinations that the run does not load into."""
        for destination in (self._others or {}).values():
            destination.close()


NOBODY = Positions({})


def begin(
    contract: TableContract,
    log: StagedLog,
    manifests: Sequence[Manifest],
    positions: Positions,
    *,
    full_refresh: bool,
    fix: str | None = None,
) -> int:
    """Return the load above which the next set is numbered: the newest that a destination holds; 0 where it goes on.

    Raises:
        Rejected: the log is empty, and a destination holds loads of the table: rows of a first set would be doubled.
        Retryable: another run has begun the log meanwhile.
    """
    if full_refresh:
        return max(positions.of_all(contract).values(), default=0)
    found = {} if manifests else positions.of_chosen(contract)
    if not any(found.values()):
        return 0
    if log.latest(contract.table) is not None:
        raise Retryable(f"{contract.table}: another run staged its first set at the same time; run it again")
    raise lost(contract, log, found, fix)


def lost(contract: TableContract, log: StagedLog, found: Mapping[str, int], fix: str | None = None) -> Rejected:
    """Return the error for a table of which destinations hold loads (their newest ones), and the log no sets."""
    held = ", ".join(f"{name} (load {position})" for name, position in found.items() if position)
    return Rejected(
        f"{contract.table}: {log.uri} has no staged sets of this table, and these destinations hold loads of it: "
        f"{held}; the sets are lost, or belong to another profile: {_fix(contract.table, fix)}"
    )


def _fix(table: str, said: str | None) -> str:
    return f"stage it anew with {refresh_options(table)}" if said is None else said.format(table)


def refuse_if_ahead(
    destination: Destination[Any, Any],
    contract: TableContract,
    log: StagedLog,
    newest: Manifest,
    position: int | None = None,
) -> None:
    """Refuse a destination that seems to hold the newest set, because its loads of other sets have greater numbers.

    It is asked for its newest load, unless that `position` is given.

    Raises:
        Rejected: it was loaded from another log, which this one cannot bring up to date.
    """
    if position is None:
        if not isinstance(destination, SupportsPosition):
            return
        position = destination.position(contract)
    if position <= newest.sequence:
        return
    latest = log.latest(contract.table)
    if latest is None or position > latest.sequence:  # else a rival has staged and loaded since
        raise Rejected(
            f"{contract.table}: {destination.name} holds load {position}, and the newest staged set in {log.uri} is "
            f"{newest.sequence}: it was loaded from other staged sets; fill all destinations anew with "
            f"{refresh_options(contract.table)}"
        )
