"""Which life a table is in: whether the table that is there is the one that the ledger has written about.

The ledger names the table of each load by UUID. A table that is gone, another one without rows, or one that somebody
emptied begins a new life, in which no load is applied: all staged sets are loaded again. A table that came back from a
backup has another UUID and its rows; it goes on with its life if it shows as many as its loads have counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ownlens_plugins.errors import Rejected

from .ledger import NO_TABLE, Entry, Standing
from .shape import find_shape, moments
from .target import Survey, Target, require_table


@dataclass(frozen=True, slots=True)
class Look:
    """How far a table has come, the ledger's newest entry of any life, and what there was of the table then."""

    standing: Standing
    newest: Entry | None
    survey: Survey


def standing(target: Target, sequence: int) -> Standing:
    """Return how far the table has come, as seen from one load.

    Raises:
        Rejected: another table with other rows lies in its place, and the load at hand does not replace it.
    """
    return look(target, sequence).standing


def look(target: Target, sequence: int, *, columns: bool = False) -> Look:
    """Return the same with what there is of the table, if asked with the columns of all.

    Raises:
        Rejected: as `standing`.
    """
    # The ledger first, then the table: a load that is recorded in between has left its record at the table by then.
    return look_after(target, sequence, target.ledger.newest(target.table), columns=columns)


def look_after(target: Target, sequence: int, newest: Entry | None, *, columns: bool = False) -> Look:
    """Return the same; the newest entry was read from the ledger before.

    Raises:
        Rejected: as `standing`.
    """
    survey = target.survey(columns=columns)
    if newest is None:
        return Look(Standing(), None, survey)
    anew = is_known_anew(survey, newest)
    if anew is False and _is_empty(target, survey) and not any(moments(survey.ttl)):
        # What a rival is about to take out is recorded at the staged rows first, and in the ledger afterwards.
        anew = _was_emptied(target, target.survey(), newest)
        if target.ledger.newest(target.table) != newest:
            return look(target, sequence, columns=columns)
    if anew is None:
        rows = target.visible_rows()
        # A rival may have begun the new life, or recorded a load, while they were counted.
        anew = is_known_anew(target.survey(), newest)
        if target.ledger.newest(target.table) != newest:
            return look(target, sequence, columns=columns)
        anew = _is_anew(target, newest, rows) if anew is None else anew
    if anew:
        return Look(Standing(life=newest.life + 1), newest, survey)
    return Look(Standing(target.ledger.like(newest, sequence), newest, newest.life), newest, survey)


def _is_empty(target: Target, survey: Survey) -> bool:
    # Rows that a lightweight DELETE has hidden still lie in the parts, so only none at all are certain.
    here = survey.here
    if here is not None and here.shows_rows is not None:
        return not here.shows_rows
    return (here is not None and here.rows == 0) or target.is_empty()


def is_known_anew(survey: Survey, newest: Entry) -> bool | None:
    """Tell whether the table began anew after the newest load; None when its rows must decide."""
    if survey.uuid is None or newest.life + 1 in survey.lives:
        return True
    if survey.uuid == newest.target or newest.life in survey.lives:
        return False
    return None


def _was_emptied(target: Target, survey: Survey, newest: Entry) -> bool:
    begun = survey.begun(Standing(newest=newest, life=newest.life))
    return not begun and target.ledger.expected_rows(target.table, newest.life) > 0


def _is_anew(target: Target, newest: Entry, rows: int) -> bool:
    expected = target.ledger.expected_rows(target.table, newest.life)
    if rows == 0:
        return expected > 0 or newest.target != NO_TABLE
    # Rows whose time is over may have gone since.
    if newest.target == NO_TABLE or rows == expected or (rows < expected and target.moments()):
        return False
    if target.replaces:
        return True
    if shape := find_shape(target.store, target.table):
        require_table(target, shape)
    raise Rejected(
        f"{target.table}: clickhouse table {target.store.database}.{target.table} is not the one that was loaded: it "
        f"shows {rows} rows, and the ledger counts {expected}; load it with --full-refresh, or drop it to have all "
        "staged sets loaded again"
    )
