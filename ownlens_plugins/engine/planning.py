"""Decide what a run stages, and which staged sets a destination still lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..api import Destination, LoadPlan, Window
from ..contracts import Extraction, Kind, Strategy, TableContract, parse_type
from ..errors import Rejected
from ..registry import Registry
from .manifest import Manifest
from .staging import StageRequest, StagingArea


def next_request(
    contract: TableContract, manifests: Sequence[Manifest], closes_at: datetime, *, full_refresh: bool
) -> StageRequest:
    """Return what the next staged set of a table should hold, given the sets before it."""
    if full_refresh or contract.extraction is Extraction.WHOLE:
        return StageRequest(Extraction.WHOLE, Window(None, closes_at), full_refresh=full_refresh)
    return StageRequest(contract.extraction, Window(_reached(manifests), closes_at))


def _reached(manifests: Sequence[Manifest]) -> datetime | None:
    # Sets of frames that a caller handed in carry no window.
    return max((m.window.end for m in manifests if m.window.end is not None), default=None)


@dataclass(frozen=True)
class Pending:
    """The plans that a destination has not applied, oldest first, and the newest one that it has."""

    plans: tuple[LoadPlan, ...]
    applied: LoadPlan | None


def pending(
    destination: Destination[Any, Any], contract: TableContract, area: StagingArea, registry: Registry
) -> Pending:
    """Ask a destination how far it has come in a table's log of staged sets.

    Raises:
        Rejected: a set that is still to be loaded was staged under a contract that no longer fits.
    """
    missing: list[LoadPlan] = []
    for manifest in reversed(area.manifests(contract.table)):
        plan = plan_load(destination, contract, manifest, area, registry)
        if destination.find_commit(plan):
            return Pending(tuple(missing), plan)
        _check_schema(contract, manifest)
        missing.insert(0, plan)
        if plan.strategy is Strategy.OVERWRITE:  # it replaces all that older sets could bring
            break
    return Pending(tuple(missing), None)


def plan_load(
    destination: Destination[Any, Any],
    contract: TableContract,
    manifest: Manifest,
    area: StagingArea,
    registry: Registry,
) -> LoadPlan:
    """Return the plan that loads one staged set into one destination.

    Raises:
        Rejected: the set is a full refresh, and the destination offers no overwrite.
    """
    options = registry.options(destination.name, contract)
    return LoadPlan(
        contract=contract,
        destination=destination.name,
        strategy=_strategy(destination, contract, options.strategy, manifest),
        options=options,
        sequence=manifest.sequence,
        digest=manifest.digest,
        parts=area.parts(manifest),
        window=manifest.window,
        touched=manifest.touched,
        rejected=manifest.rejected,
    )


def _strategy(
    destination: Destination[Any, Any], contract: TableContract, usual: Strategy, manifest: Manifest
) -> Strategy:
    if not manifest.full_refresh:
        return usual
    if Strategy.OVERWRITE not in destination.strategies:
        raise Rejected(
            f"{contract.table}: {destination.name} offers no overwrite, so it cannot take the full refresh "
            f"{manifest.sequence}; empty its table by hand, or leave it out with --destinations"
        )
    return Strategy.OVERWRITE


def _check_schema(contract: TableContract, manifest: Manifest) -> None:
    for column in contract.columns:
        staged = manifest.schema.get(column.name)
        if staged is None and not column.nullable:
            raise _outdated(contract, manifest, f"lacks the required column {column.name!r}")
        if staged is not None and not _same_type(staged, str(column)):
            raise _outdated(contract, manifest, f"holds {column.name!r} as {staged}, the contract says {column}")


def _same_type(staged: str, wanted: str) -> bool:
    (old, old_nullable), (new, new_nullable) = parse_type(staged), parse_type(wanted)
    fits = new.kind is not Kind.ENUM or (old.kind is Kind.ENUM and {*old.labels} <= {*new.labels})
    return old.arrow == new.arrow and fits and (new_nullable or not old_nullable)


def _outdated(contract: TableContract, manifest: Manifest, reason: str) -> Rejected:
    return Rejected(
        f"{contract.table}: staged set {manifest.sequence} {reason}; stage the table anew with --full-refresh"
    )
