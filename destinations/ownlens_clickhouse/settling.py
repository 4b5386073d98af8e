"""Finish what a crashed attempt began, and drop what it left."""

from __future__ import annotations

import time
from dataclasses import replace

from clickhouse_connect.driver.exceptions import ClickHouseError

from ownlens_plugins import faults
from ownlens_plugins.api import new_attempt
from ownlens_plugins.errors import CommitUnknown, Rejected, Retryable

from . import applying, attempts, restaging, sql
from .attempts import Internal
from .client import ACCESS_DENIED, UNLIKE, has_code
from .failures import may_pass
from .ledger import Entry, Standing
from .lives import Look, look
from .redo import Redo
from .target import Leftover, Survey, Tally, Target

PAUSE = 0.05


def finish(target: Target, redo: Redo, stage: str, tally: Tally | None = None) -> Entry:
    """Make a begun load visible, record it, and return its entry in the ledger; `tally` as in `applying.apply`.

    Raises:
        CommitUnknown: it is not visible as a whole. Rejected: the table was changed so that it never can be.
    """
    try:
        shown = applying.apply(target, redo, stage, tally)
    except ClickHouseError as error:
        if not has_code(error, *UNLIKE) or redo.exchanges:
            raise
        redo = restaging.anew(target, redo, stage)
        shown = applying.apply(target, redo, stage)
    faults.reach("before_ledger")
    done = redo.entry.committed(shown)
    target.ledger.record(done, target.store.name(stage))
    return done


def settle(target: Target, own: Internal) -> Standing:
    """Finish begun loads and drop what dead attempts left. The caller has this process's turn.

    Returns:
        How far the table has come after that, as seen from the caller's own load.

    Raises:
        Retryable: an earlier load could not be finished now.
    """
    return settled(target, own).standing


def settled(target: Target, own: Internal) -> Look:
    """Do the same, and return what is there as well, with the columns of all. Nothing is looked for twice in vain.

    Raises:
        Retryable: an earlier load could not be finished now.
    """
    seen = look(target, own.sequence, columns=True)
    acted = _settle_shared(target, seen, own) if target.store.shared else _settle_alone(target, seen)
    return look(target, own.sequence, columns=True) if acted else seen


def _settle_alone(target: Target, seen: Look) -> bool:
    # Only this process writes, and it has the turn: every begun load has been given up, also one whose session still
    # looks for the outcome.
    standing, survey, acted = seen.standing, seen.survey, False
    if redo := survey.exchanged(standing):
        _finish_for_another(target, redo, target.table)
        acted = True
    for leftover in survey.leftovers:
        if redo := survey.begun_by(leftover, standing):
            _finish_for_another(target, redo, leftover.table)
        if redo or _is_garbage(target, leftover, standing):
            target.drop(leftover.table)
            acted = True
    return acted


def _settle_shared(target: Target, seen: Look, own: Internal) -> bool:
    # Others may be committing: only a claim that was taken over may be finished.
    acted = False
    for leftover in seen.survey.leftovers:
        if leftover.is_claim:
            if _is_dead(target, leftover):
                take_over(target, leftover, own)
                acted = True
        elif _is_garbage(target, leftover, seen.standing):
            target.drop(leftover.table)
            acted = True
    return acted


def take_over(target: Target, claim: Leftover, own: Internal) -> None:
    """Take a claim away from an attempt that is gone, wait for its last statement, and finish its load.

    The new name belongs to an attempt that is over, so that anybody may go on when this process dies, and so that
    giving up the caller's own load leaves the rows alone.
    """
    taken = replace(own, sequence=claim.label.sequence, attempt=new_attempt(), role=f"at{claim.uuid.hex[:8]}")
    target = target.for_attempt(taken)
    if not target.rename(claim.table, taken.name):
        return  # somebody else has it
    _silence(target, claim.label, claim.table)
    seen = look(target, own.sequence)
    standing, survey = seen.standing, seen.survey
    held = next((each for each in survey.leftovers if each.table == taken.name), None)
    redo = survey.exchanged(standing) or (held and survey.begun_by(held, standing))
    if redo:
        _finish_for_another(target, redo, taken.name)
    target.drop(taken.name)


def _finish_for_another(target: Target, redo: Redo, stage: str) -> None:
    try:
        finish(target, redo, stage)
    except (Rejected, CommitUnknown, ClickHouseError) as error:
        if target.anew and not may_pass(error):
            return  # nothing of it stays when the table is replaced
        if not isinstance(error, CommitUnknown):
            raise
        raise Retryable(
            f"{target.table}: clickhouse has not finished load {redo.entry.load_id}; run it again"
        ) from error


def _silence(target: Target, gone: Internal, table: str) -> None:
    """End what an attempt that is gone has left running in the server; wait for what cannot be ended."""
    deadline = time.monotonic() + target.store.config.answer_timeout
    try:
        target.store.run(sql.kill(gone.statements))
    except Exception as error:
        if not has_code(error, ACCESS_DENIED):  # of another user's statements, for instance
            raise
    query = (
        "SELECT count() FROM system.processes WHERE position(query, 'system.processes') = 0 "
        "AND (position(query, {table:String}) > 0 OR startsWith(query_id, {statements:String}))"
    )
    while target.store.rows(query, table=table, statements=gone.statements)[0][0]:
        if time.monotonic() > deadline:
            raise busy(target)
        time.sleep(PAUSE)


def sweep(target: Target, standing: Standing, survey: Survey) -> None:
    """Drop what attempts left whose loads are applied; leave everything while a load is begun.

    The survey is younger than the standing: a load that was begun when that was looked up is in it, or recorded.
    """
    for leftover in () if survey.begun(standing) else survey.leftovers:
        if _is_garbage(target, leftover, standing):
            target.drop(leftover.table)


def discard(target: Target, attempt: str) -> None:
    """Drop everything that one attempt has made."""
    made = _left_by(attempt, target.survey())
    if markers := [each for each in made if each.label.is_marker]:
        # Before the others are listed: a writer elsewhere that has not seen it go has its table in the list.
        for marker in markers:
            target.drop(marker.table)
        made = _left_by(attempt, target.survey())
    for leftover in made:
        target.drop(leftover.table)


def made_by(attempt: str, survey: Survey) -> list[str]:
    """Return the names of the tables that one attempt has made, as they were called in a survey."""
    return [leftover.table for leftover in _left_by(attempt, survey)]


def _left_by(attempt: str, survey: Survey) -> list[Leftover]:
    return [leftover for leftover in survey.leftovers if leftover.label.attempt == attempt]


def _is_garbage(target: Target, leftover: Leftover, standing: Standing) -> bool:
    """Tell whether nobody can need a table or view again, provided that it holds no begun load."""
    if target.store.shared and leftover.is_claim:
        return _is_dead(target, leftover) and leftover.label.sequence < standing.position
    # Whether an attempt on another host runs is unknown, but it cannot land what is behind the newest load.
    elsewhere = leftover.label.host != attempts.host_token()
    overtaken = elsewhere and leftover.label.sequence < standing.position and leftover.label.role != "view"
    return overtaken or _is_dead(target, leftover)


def _is_dead(target: Target, leftover: Leftover) -> bool:
    return attempts.is_dead(leftover.label, shared=target.store.shared)


def busy(target: Target) -> Retryable:
    """Say that another load of the table is in the way."""
    return Retryable(
        f"{target.table}: clickhouse: another load of this table has not finished committing; run the load again"
    )
