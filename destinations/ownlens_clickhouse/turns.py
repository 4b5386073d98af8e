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
from .lives import Look, look
from .target import Leftover, Survey, Target

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


def take(target: Target, stage: Internal) -> tuple[Internal, Look]:
    """Take the table's turn for a staged load; the caller has this process's turn already.

    Returns:
        The staged table's name from now on, and how far the target has come. If the load turns out to be applied
        already, the turn is not taken. What was seen has the staged table under its former name.

    Raises:
        Retryable: the turn did not come in time, or another attempt took the staged table away.
    """
    if target.store.shared:
        return _Claim(target, stage).take()
    # One process writes here, and it has the turn. What dead attempts left only matters if they began a load.
    seen = look(target, stage.sequence, columns=True)
    return stage, settling.settled(target, stage) if seen.survey.begun(seen.standing) else seen


class _Claim:
    """The turn in a store that other processes write to as well."""

    def __init__(self, target: Target, stage: Internal) -> None:
        self._target = target
        self._stage = stage
        self._deadline = time.monotonic() + 2 * target.store.config.turn_timeout
        self._watched: tuple[UUID, float] | None = None

    def take(self) -> tuple[Internal, Look]:
        while True:
            seen = self._wait()
            if seen.standing.position > self._stage.sequence:
                return self._stage, seen
            if name := self._try(seen):
                return name, seen

    def _wait(self) -> Look:
        while time.monotonic() < self._deadline:
            seen = settling.settled(self._target, self._stage)
            claims = [each for each in seen.survey.leftovers if each.is_claim]
            if not claims:
                return seen
            if self._is_overdue(claims[0]):
                settling.take_over(self._target, claims[0], self._stage)
            time.sleep(settling.PAUSE)
        raise settling.busy(self._target)

    def _is_overdue(self, claim: Leftover) -> bool:
        if self._watched is None or self._watched[0] != claim.uuid:
            self._watched = (claim.uuid, time.monotonic())
        return time.monotonic() - self._watched[1] > self._target.store.config.turn_timeout

    def _try(self, seen: Look) -> Internal | None:
        target, stage, position = self._target, self._stage, seen.standing.position
        lock = f"{PREFIX}{stage.key}_lock{position}"
        try:
            if not target.rename(stage.name, lock):
                raise Retryable(f"{target.table}: clickhouse: the staged rows were swept away; run the load again")
        except Exception as error:
            if has_code(error, TABLE_EXISTS):
                return None
            raise
        # The tables first, then the ledger: a claim that has gone in between has left its entry there.
        survey = target.survey()
        others = any(each.is_claim and each.table != lock for each in survey.leftovers)
        if others or not self._is_still(seen, survey):
            target.rename(lock, stage.name)
            return None
        claimed = replace(stage, role=f"at{position}")
        return claimed if target.rename(lock, claimed.name) else None

    def _is_still(self, seen: Look, survey: Survey) -> bool:
        """Tell whether the table stands where it stood before the lock was taken."""
        if self._target.ledger.newest(self._target.table) == seen.newest and survey.uuid == seen.survey.uuid:
            return True
        now = look(self._target, self._stage.sequence).standing
        return (now.life, now.position) == (seen.standing.life, seen.standing.position)
