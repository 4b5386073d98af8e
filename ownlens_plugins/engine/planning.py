"""Decide which staged sets a destination still lacks, and how each is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..api import Covers, Destination, LoadPlan
from ..contracts import Kind, Strategy, TableContract, parse_type
from ..errors import Rejected
from ..registry import Registry
from .manifest import Manifest
from .staging import StagingArea


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
        if manifest.covers is None or not manifest.covers.keys_only:
            _check_schema(contract, manifest)
        missing.insert(0, plan)
        if _replaces_all(plan):  # all that older sets could bring
            break
    else:
        _check_complete(destination, contract, missing)
    return Pending(tuple(missing), None)


def _replaces_all(plan: LoadPlan) -> bool:
    return plan.strategy is Strategy.OVERWRITE or (plan.covers == Covers() and plan.strategy is Strategy.UPSERT)


def _check_complete(destination: Destination[Any, Any], contract: TableContract, missing: Sequence[LoadPlan]) -> None:
    """Refuse to begin in the middle of a table's log, when its beginning is gone.

    Raises:
        Rejected: the destination has no load of this table, and staging no longer holds the first sets.
    """
    if missing and missing[0].sequence > 1:
        raise Rejected(
            f"{contract.table}: {destination.name} holds no load of this table, and its staged sets before "
            f"{missing[0].sequence} are gone; fill it with --full-refresh"
        )


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
    require_deletes(destination, contract, options.strategy)
    strategy = _strategy(destination, contract, options.strategy, manifest)
    covers = _covers(contract, strategy, manifest)
    # A set of keys says what is gone, and has no rows for a destination that keeps it.
    is_idle = manifest.covers is not None and manifest.covers.keys_only and covers is None
    return LoadPlan(
        contract=contract,
        destination=destination.name,
        strategy=strategy,
        options=options,
        sequence=manifest.sequence,
        digest=manifest.digest,
        parts=() if is_idle else area.parts(manifest),
        window=manifest.window,
        touched=manifest.touched,
        rejected=manifest.rejected,
        covers=covers,
        full_refresh=manifest.full_refresh,
    )


def _covers(contract: TableContract, strategy: Strategy, manifest: Manifest) -> Covers | None:
    """Return the part of the table in which a load deletes what is gone.

    An append keeps every row that it ever got, which is what it is for.
    """
    if contract.deletes == "keep" or strategy is Strategy.APPEND:
        return None
    return manifest.covers


def require_deletes(destination: Destination[Any, Any], contract: TableContract, strategy: Strategy) -> None:
    """Refuse a table whose deletes follow where the destination cannot let them.

    Raises:
        Rejected: it cannot.
    """
    if contract.deletes == "follow" and strategy is Strategy.UPSERT and not destination.follows_deletes:
        raise Rejected(
            f"{contract.table}: {destination.name} cannot delete rows by an upsert, and this table's deletes follow; "
            f"set deletes: keep, or destinations.{destination.name}.strategy: overwrite where whole tables are staged"
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
