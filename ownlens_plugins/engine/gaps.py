"""Staged sets that a destination lacks and that are gone: has it come in another way, and what is the fix."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..api import Destination, LoadPlan
from ..commands import backfill_command, refresh_options, since_command
from ..contracts import Extraction, Strategy, TableContract
from ..errors import Rejected, StagedSetChanged
from ..powers import SupportsPosition
from .forgotten import Lacking, lacking
from .manifest import Manifest
from .staged_log import StagedLog


def require_no_gap(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagedLog,
    last: int,
    missing: Sequence[Manifest],
) -> None:
    """Refuse to go on behind sets up to `last` that are staged no longer and that the destination lacks.

    Args:
        destination: Where the table is to be loaded.
        contract: The table's contract.
        area: The staging area.
        last: The newest set that is gone.
        missing: The later sets that are to be loaded. One that was staged to make up for what is gone closes the gap,
            if it reaches as far back.

    Raises:
        Rejected: with the moment from which on rows lack, and the command that brings them.
    """
    held = _held(destination, contract)
    if held >= last:
        return
    gap = lacking(area.forgotten(contract.table), destination.name, held, last)
    if gap is not None and not any(_makes_up(manifest, gap) for manifest in missing):
        raise _refused(destination, contract, gap)


def _held(destination: Destination[Any, Any], contract: TableContract) -> int:
    """Return the newest load that is in the table, 0 being none: a ledger may tell of a table that is gone."""
    if not isinstance(destination, SupportsPosition) or not (position := destination.position(contract)):
        return 0
    try:
        done = destination.find_commit(_unknown(destination, contract, position))
    except StagedSetChanged:  # it is there, and its digest is another, as the set is not known any more
        return position
    return position if done else 0


def _unknown(destination: Destination[Any, Any], contract: TableContract, sequence: int) -> LoadPlan:
    options = destination.options_type.model_validate(contract.options_for(destination.name))
    return LoadPlan(contract, destination.name, options.strategy, options, sequence, digest="0" * 64, parts=())


def _makes_up(manifest: Manifest, gap: Lacking) -> bool:
    start = manifest.window.start
    restates = manifest.only is not None and manifest.extraction == Extraction.WINDOW.value
    return restates and gap.start is not None and (start is None or start <= gap.start)


def _refused(destination: Destination[Any, Any], contract: TableContract, gap: Lacking) -> Rejected:
    table, name, moment = contract.table, destination.name, _moment(contract, gap)
    sets = f"set {gap.last}, which is" if gap.first == gap.last else f"sets {gap.first} to {gap.last}, which are"
    since = "" if moment is None else f": rows from {moment.isoformat()} on lack"
    what = f"{table}: {name} lacks staged {sets} gone from the staging area{since}"
    if moment is not None and restatable(contract, name):
        return Rejected(f"{what}; bring them with `{since_command(table, name, moment)}`")
    return Rejected(
        f"{what}; fill the table there anew with `{backfill_command(table, name)}`, or all destinations with "
        f"{refresh_options(table)}"
    )


def restatable(contract: TableContract, destination: str) -> bool:
    """Tell whether a destination can take a stretch of a table once more: an append would have rows twice, and a set
    of a whole table or of whole days does not stand for a stretch.
    """
    options = contract.options_for(destination)
    return contract.extraction is Extraction.WINDOW and options["strategy"] == Strategy.UPSERT.value


def _moment(contract: TableContract, gap: Lacking) -> datetime | None:
    """Return the end of the newest set that a destination has: the look-back before it is read as well."""
    look_back = contract.look_back
    return None if gap.start is None or look_back is None else gap.start + look_back
