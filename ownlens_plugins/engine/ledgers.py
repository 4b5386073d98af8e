"""A ledger that is lost while the rows are there: an append would have them twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..api import Destination, LoadPlan
from ..commands import adopt_command, backfill_command, refresh_options
from ..contracts import Strategy
from ..errors import Rejected
from ..powers import SupportsAdoption, SupportsCounting, SupportsPosition
from .last_loads import LastLoads
from .staged_log import StagedLog


def require_ledger(destination: Destination[Any, Any], area: StagedLog, missing: Sequence[LoadPlan]) -> None:
    """Refuse to append sets to a table that knows none of them, though a run has loaded it and its rows are there.

    A table that no run has loaded yet is taken with the rows that lie in it, and one without rows is filled again.

    Raises:
        Rejected: with the command that takes the rows as they are.
    """
    if not missing or missing[0].strategy is not Strategy.APPEND or not isinstance(destination, SupportsCounting):
        return
    table, name = missing[0].table, destination.name
    if isinstance(destination, SupportsPosition) and destination.position(missing[0].contract):
        return  # it knows loads: what it lacks is told with the moment from which on
    loaded = LastLoads(area).known(table, name).sequence
    if not loaded or not (rows := destination.count(replace(missing[0], touched=None)).rows):
        return
    adopting = f"take them as they are with `{adopt_command(table, name)}`, or "
    raise Rejected(
        f"{table}: {name} has {rows} rows and a ledger that knows no load of them, though load {loaded} was there: the "
        f"ledger is lost; {adopting if isinstance(destination, SupportsAdoption) else ''}fill the table there anew "
        f"with `{backfill_command(table, name)}`, or all destinations with {refresh_options(table)}"
    )
