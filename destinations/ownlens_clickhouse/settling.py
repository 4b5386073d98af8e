"""Finish what a crashed attempt began, and drop what it left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from ownlens_plugins import faults
from ownlens_plugins.api import new_attempt
from ownlens_plugins.errors import CommitUnknown, Retryable

from . import applying, attempts, sql
from .attempts import Internal
from .ledger import Entry, Standing
from .target import Leftover, Target

PAUSE = 0.05


def finish(target: Target, entry: Entry, stage: str) -> Entry:
    """Make a begun load visible, record it, and return its entry in the ledger."""
    applying.apply(target, entry, stage)
    faults.reach("before_ledger")
    done = entry.committed()
    target.ledger.finish(done, target.store.name(stage))
    return done


def settle(target: Target, own: Internal) -> Standing:
    """Finish begun loads and drop what dead attempts left. The caller has this process's turn.

    Returns:
        How far the table has come after that, as seen from the caller's own load.

    Raises:
        Retryable: an earlier load could not be finished now.
    """
    standing = target.standing(own.sequence)
    for leftover in target.leftovers():
        if leftover.label.attempt != own.attempt:
            standing = _settle_one(target, leftover, standing, own)
    return standing


def _settle_one(target: Target, leftover: Leftover, standing: Standing, own: Internal) -> Standing:
    if target.store.shared:
        # Others may be committing: only a claim that was taken over may be finished.
        if is_claim(leftover):
            return take_over(target, leftover, own) if _is_dead(target, leftover) else standing
        if is_garbage(target, leftover, standing):
            target.drop(leftover.table)
        return standing
    # Only this process writes and it has the turn, so every begun load has been given up, also one whose session
    # still looks for the outcome.
    if is_garbage(target, leftover, standing) or leftover.uuid in {entry.stage for entry in standing.begun}:
        return _resolve(target, leftover.table, leftover.uuid, standing, own.sequence)
    return standing


def take_over(target: Target, claim: Leftover, own: Internal) -> Standing:
    """Take a claim away from an attempt that is gone, wait for its last statement, and finish its load.

    The new name belongs to an attempt that is over, so that anybody may go on when this process dies, and so that
    giving up the caller's own load leaves the rows alone.
    """
    taken = replace(own, attempt=new_attempt(), role=f"at{claim.uuid.hex[:8]}")
    if target.rename(claim.table, taken.name):
        _wait_for_silence(target, claim.table)
        standing = target.standing(own.sequence)
        return _resolve(target, taken.name, claim.uuid, standing, own.sequence)
    return target.standing(own.sequence)


def _resolve(target: Target, table: str, uuid: UUID, standing: Standing, sequence: int) -> Standing:
    # After an overwrite was exchanged, the staged rows are the target itself.
    held = {uuid, target.uuid_of(target.table)} if standing.begun else {uuid}
    entry = next((each for each in standing.begun if each.stage in held), None)
    if entry is not None:
        _finish_for_another(target, entry, table)
        standing = target.standing(sequence)
    target.drop(table)
    return standing


def _finish_for_another(target: Target, entry: Entry, stage: str) -> None:
    # Somebody may have dropped the table since; a load cannot be finished into nothing.
    target.store.run(sql.create_target(target.name, target.definition))
    try:
        finish(target, entry, stage)
    except CommitUnknown as error:
        raise Retryable(f"{target.table}: clickhouse has not finished load {entry.load_id}; run it again") from error


def _wait_for_silence(target: Target, table: str) -> None:
    deadline = time.monotonic() + target.store.config.answer_timeout
    query = (
        "SELECT count() FROM system.processes "
        "WHERE position(query, {table:String}) > 0 AND position(query, 'system.processes') = 0"
    )
    while target.store.rows(query, table=table)[0][0]:
        if time.monotonic() > deadline:
            raise busy(target)
        time.sleep(PAUSE)


def sweep(target: Target, standing: Standing) -> None:
    """Drop what attempts left whose loads are applied; leave everything that a begun load may need."""
    for leftover in () if standing.begun else target.leftovers():
        if is_garbage(target, leftover, standing):
            target.drop(leftover.table)


def forget(target: Target, begun: Sequence[Entry], stage: str) -> None:
    """Undo loads that were begun and then lost their staged rows, before the load in `stage` begins."""
    for entry in begun:
        applying.undo_append(target, entry, stage)


def discard(target: Target, attempt: str) -> None:
    """Drop everything that one attempt has made."""
    for leftover in target.leftovers():
        if leftover.label.attempt == attempt:
            target.drop(leftover.table)


def is_garbage(target: Target, leftover: Leftover, standing: Standing) -> bool:
    """Tell whether nobody can need a table or view again, provided that its load was not begun."""
    if target.store.shared and is_claim(leftover):
        return False
    # Whether an attempt on another host runs is unknown, but it cannot land what is behind the newest load.
    elsewhere = leftover.label.host != attempts.host_token()
    overtaken = elsewhere and leftover.label.sequence < standing.position and leftover.label.role != "view"
    return overtaken or _is_dead(target, leftover)


def is_claim(leftover: Leftover) -> bool:
    """Tell whether a table carries, or is about to carry, the right to commit in a shared store."""
    return leftover.label.is_claim or leftover.table != leftover.label.name


def _is_dead(target: Target, leftover: Leftover) -> bool:
    return attempts.is_dead(leftover.label, shared=target.store.shared)


def busy(target: Target) -> Retryable:
    """Say that another load of the table is in the way."""
    return Retryable(
        f"{target.table}: clickhouse: another load of this table has not finished committing; run the load again"
    )
