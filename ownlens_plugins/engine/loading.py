"""The load protocol: the one function that brings a staged set into a destination exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..api import Destination, LoadPlan, LoadResult, LoadSession, PartWriter, Receipt, StagedPart
from ..errors import CommitUnknown, Rejected, Retryable, StagedSetChanged, Stopped
from ..powers import SupportsSpreading
from ..stopping import safe_point

logger = logging.getLogger("ownlens.load")
MapParts = Callable[[Callable[[StagedPart], Receipt], Iterable[StagedPart]], Iterable[Receipt]]


def load(destination: Destination[Any, Any], plan: LoadPlan, *, map_parts: MapParts | None = None) -> LoadResult:
    """Apply a plan exactly once, however often and from however many processes this is called.

    `map_parts` has the parts written by workers of other processes; without it, this thread writes them.

    Raises:
        Retryable: nothing landed; calling again may succeed.
        Rejected, StagedSetChanged: this load cannot succeed as it is.
        CommitUnknown: the outcome could not be determined; calling again resolves it.
        Stopped: the run is to stop; nothing landed.
    """
    if done := destination.find_commit(plan):
        return replace(done, replayed=True)
    safe_point(plan.table, plan.destination)
    with destination.open(plan) as session:
        receipts = _write(session, plan, map_parts)
        # From here on both engines are alike: whoever wrote, this process commits.
        return _commit(destination, session, plan, receipts)


def _write(session: LoadSession, plan: LoadPlan, map_parts: MapParts | None) -> list[Receipt]:
    try:
        if map_parts is None:
            receipts = list(map(session.writer.write, _stoppable(plan)))
        else:
            receipts = list(map_parts(_spread(session).write, _stoppable(plan)))
        match_receipts(plan, receipts)
        # The last point at which leaving off is certain to leave nothing; a commit is never broken off.
        safe_point(plan.table, plan.destination)
    except BaseException:
        _abort(session, plan)
        raise
    return receipts


def _spread(session: LoadSession) -> PartWriter:
    return session.spread() if isinstance(session, SupportsSpreading) else session.writer


def _stoppable(plan: LoadPlan) -> Iterator[StagedPart]:
    for part in plan.parts:
        safe_point(plan.table, plan.destination)
        yield part


def _commit(
    destination: Destination[Any, Any], session: LoadSession, plan: LoadPlan, receipts: Sequence[Receipt]
) -> LoadResult:
    try:
        return session.commit(receipts)
    except (Retryable, Rejected, StagedSetChanged, Stopped):  # certain: nothing landed
        _abort(session, plan)
        raise
    except Exception as error:  # unknown: look, never abort
        if done := destination.find_commit(plan):
            return replace(done, replayed=True)
        if isinstance(error, CommitUnknown):
            # It is not visible now, but the store may still be applying it: a later attempt must look again.
            raise Retryable(f"{plan.table}: {plan.destination} has not applied the commit; run it again") from error
        raise


def _abort(session: LoadSession, plan: LoadPlan) -> None:
    # What could not be discarded stays invisible until the next `open` clears it; the reason to abort counts more.
    try:
        session.abort()
    except Exception:
        logger.exception("%s: %s could not discard an attempt at %s", plan.table, plan.destination, plan.load_id)


def match_receipts(plan: LoadPlan, receipts: Sequence[Receipt]) -> None:
    """Check that every part of the plan was written exactly once, with all its rows.

    Raises:
        Rejected: a receipt is missing, doubled, foreign, or counts other rows than were staged.
    """
    written = sorted((receipt.part_id, receipt.rows) for receipt in receipts)
    staged = sorted((part.part_id, part.rows) for part in plan.parts)
    if written != staged:
        raise Rejected(
            f"{plan.table}: {plan.destination} wrote {sum(rows for _, rows in written)} rows in {len(written)} parts, "
            f"but {plan.rows} rows in {len(staged)} parts are staged; report this to the destination's author"
        )
