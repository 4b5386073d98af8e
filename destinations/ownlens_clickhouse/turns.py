"""Whose turn it is: the commits of one table follow one another, in this process and between processes.

In a shared store the turn is the table with the staged rows, renamed to a name that only one attempt can take: the one
that follows the last applied sequence. An attempt that is taken over loses the table's name, and with it the power to
change anything, because each of its statements names that table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

from ownlens_plugins.errors import Retryable

from . import settling
from .attempts import PREFIX, Internal
from .client import TABLE_EXISTS, has_code
from .ledger import Standing
from .lives import standing as standing_of
from .target import Leftover, Target

_LOCKS: dict[tuple[str, str, str], threading.Lock] = {}
_LOCKS_GUARD = threading.Lock()


@contextmanager
def turn(target: Target) -> Iterator[None]:
    """Wait until no other thread of this process commits to the table.

    Raises:
        Retryable: it takes longer than `turn_timeout`.
    """
    config = target.store.config
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault((config.place, config.database, target.table), threading.Lock())
    if not lock.acquire(timeout=config.turn_timeout):
        raise settling.busy(target)
    try:
        yield
    finally:
        lock.release()


def take(target: Target, stage: Internal) -> tuple[Internal, Standing]:
    """Take the table's turn for a staged load; the caller has this process's turn already.

    Returns:
        The staged table's name from now on, and how far the target has come. If the load turns out to be applied
        already, the turn is not taken.

    Raises:
        Retryable: the turn did not come in time, or another attempt took the staged table away.
    """
    if target.store.shared:
        return _Claim(target, stage).take()
    # One process writes here, and it has the turn. What dead attempts left only matters if they began a load.
    standing = standing_of(target, stage.sequence)
    return stage, settling.settle(target, stage) if target.survey().begun(standing) else standing


class _Claim:
    """The turn in a store that other processes write to as well."""

    def __init__(self, target: Target, stage: Internal) -> None:
        self._target = target
        self._stage = stage
        self._deadline = time.monotonic() + 2 * target.store.config.turn_timeout
        self._watched: tuple[UUID, float] | None = None

    def take(self) -> tuple[Internal, Standing]:
        while True:
            standing = self._wait()
            if standing.position > self._stage.sequence:
                return self._stage, standing
            if name := self._try(standing):
                return name, standing

    def _wait(self) -> Standing:
        while time.monotonic() < self._deadline:
            standing = settling.settle(self._target, self._stage)
            claims = self._claims()
            if not claims:
                return standing
            if self._is_overdue(claims[0]):
                settling.take_over(self._target, claims[0], self._stage)
            time.sleep(settling.PAUSE)
        raise settling.busy(self._target)

    def _claims(self) -> list[Leftover]:
        return [each for each in self._target.survey().leftovers if each.is_claim]

    def _is_overdue(self, claim: Leftover) -> bool:
        if self._watched is None or self._watched[0] != claim.uuid:
            self._watched = (claim.uuid, time.monotonic())
        return time.monotonic() - self._watched[1] > self._target.store.config.turn_timeout

    def _try(self, standing: Standing) -> Internal | None:
        target, stage = self._target, self._stage
        lock = f"{PREFIX}{stage.key}_lock{standing.position}"
        try:
            if not target.rename(stage.name, lock):
                raise Retryable(f"{target.table}: clickhouse: the staged rows were swept away; run the load again")
        except Exception as error:
            if has_code(error, TABLE_EXISTS):
                return None
            raise
        # The tables first, then the ledger: a claim that has gone in between has left its entry there.
        others = [claim for claim in self._claims() if claim.table != lock]
        now = standing_of(target, stage.sequence)
        if others or (now.life, now.position) != (standing.life, standing.position):
            target.rename(lock, stage.name)
            return None
        claimed = replace(stage, role=f"at{standing.position}")
        return claimed if target.rename(lock, claimed.name) else None
