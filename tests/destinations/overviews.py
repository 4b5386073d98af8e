"""What an overview says of a table, compared with what the destination says when it is asked for each load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.errors import Rejected
from ownlens_plugins.powers import SupportsOverview, TableState


def looked_at(destination: Destination[Any, Any], plans: Sequence[LoadPlan]) -> TableState:
    """Return the state of the table of these plans; where it is sure, the destination must say the same of each."""
    assert isinstance(destination, SupportsOverview)
    state = destination.overview([plans[0].contract]).get(plans[0].table, TableState(is_sure=True))
    if state.is_sure:
        assert [is_found(destination, plan) for plan in plans] == [plan.sequence <= state.position for plan in plans]
    return state


def is_found(destination: Destination[Any, Any], plan: LoadPlan) -> bool | None:
    """Tell whether a load counts as applied; None where the destination refuses to say."""
    try:
        return destination.find_commit(plan) is not None
    except Rejected:
        return None


def require_told(state: TableState, plan: LoadPlan, *, seconds: bool = True) -> None:
    """Check that a state tells of a plan's load, as the newest one of the table that is there."""
    assert (state.position, state.digest, state.rows, state.is_sure) == (plan.sequence, plan.digest, plan.rows, True)
    assert state.loaded_at is not None
    assert state.loaded_at.tzinfo is not None
    assert (state.bytes or 0) > 0
    assert (state.seconds is not None) is seconds
