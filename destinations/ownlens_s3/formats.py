"""A table that changes its format: the old one goes only when an overwrite has made the new one complete."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected

from .delta import DeltaLake
from .files import FileTable

AnyTable = DeltaLake | FileTable


def replaced_table(plan: LoadPlan, mine: AnyTable, other: AnyTable) -> AnyTable | None:
    """Return the table in the other format that this load replaces, or None.

    What a crash left of an earlier change of format is deleted here.

    Raises:
        Rejected: the folder holds rows in the other format, and this load would not replace them all.
    """
    if not other.exists():
        return None
    theirs, ours = other.position(), mine.position()
    if ours is not None and (theirs is None or ours > theirs):
        other.remove()
        return None
    _require_replaceable(plan, other, theirs)
    return other


def _require_replaceable(plan: LoadPlan, other: AnyTable, position: int | None) -> None:
    form = "delta" if isinstance(other, DeltaLake) else (_form(other))
    if position is None and isinstance(other, DeltaLake) and not other.is_blank():
        if plan.full_refresh:
            return
        raise Rejected(
            f"{plan.table}: s3 has a Delta table there that OwnLens did not write; use another path, or replace it "
            "with --full-refresh"
        )
    if plan.strategy is not Strategy.OVERWRITE:
        raise Rejected(
            f"{plan.table}: s3 holds this table as {form}; set format: {form}, strategy: overwrite and extraction: "
            "whole, or replace it with --full-refresh"
        )
    if position is not None and position >= plan.sequence:
        # What is staged stays the newest set as long as the source brings no other rows.
        raise Rejected(
            f"{plan.table}: s3 holds load {position} as {form}; replace it with {refresh_options(plan.table)}"
        )


def _form(table: FileTable) -> str:
    current = table.current()
    return table.options.format if current is None else current.format
