"""Decide which staged sets a destination still lacks, and how each is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..api import Covers, Destination, LoadPlan
from ..commands import refresh_options
from ..contracts import Column, LogicalType, Strategy, TableContract, holds_all, parse_type
from ..errors import Rejected
from ..powers import TableState
from ..registry import Registry
from .gaps import require_no_gap
from .ledgers import require_ledger
from .manifest import Manifest
from .positions import refuse_if_ahead
from .staged_log import StagedLog


@dataclass(frozen=True)
class Pending:
    """The plans that a destination has not applied, oldest first, and the newest one that it has.

    There are `more` plans, older ones, where no more were asked for.
    """

    plans: tuple[LoadPlan, ...]
    applied: LoadPlan | None
    more: bool = False


def pending(
    destination: Destination[Any, Any],
    contract: TableContract,
    area: StagedLog,
    registry: Registry,
    *,
    known: TableState | None = None,
    most: int | None = None,
) -> Pending:
    """Ask a destination how far it has come in a table's log of staged sets.

    With a `known` state that is sure it is not asked for each set. No more than the newest `most` plans are made.

    Raises:
        Rejected: sets that are still to be loaded were staged under a contract that no longer fits, or the destination
            was loaded from other staged sets, or has lost its ledger and would have rows twice.
    """
    missing: list[LoadPlan] = []
    lacked: list[Manifest] = []
    outdated: dict[int, list[str]] = {}
    log, before = area.log(contract.table), 0
    for manifest in reversed(log):
        before = manifest.predecessor
        if not manifest.is_for(destination.name):
            continue
        plan = plan_load(destination, contract, manifest, area, registry)
        if _is_applied(destination, plan, known):
            if not missing:
                refuse_if_ahead(destination, contract, area, log[-1], known.position if known else None)
            _refuse_outdated(contract, outdated)
            return Pending(tuple(missing), plan)
        if manifest.retired:
            before = manifest.sequence
            break
        if reasons := list(_differing(plan, manifest)):
            outdated[manifest.sequence] = reasons
        missing.insert(0, plan)
        lacked.append(manifest)
        if replaces_all(plan):  # all that older sets could bring
            before = 0
            break
        if len(missing) == most:
            return Pending(tuple(missing), None, more=True)
    require_ledger(destination, area, missing)
    if before:
        require_no_gap(destination, contract, area, before, lacked)
    _refuse_outdated(contract, outdated)
    return Pending(tuple(missing), None)


def _is_applied(destination: Destination[Any, Any], plan: LoadPlan, known: TableState | None) -> bool:
    if known is not None and known.is_sure:
        is_other = plan.sequence == known.position and known.digest not in ("", plan.digest)
        if not is_other:  # else the destination says in its own words that it holds another set of that number
            return plan.sequence <= known.position
    return destination.find_commit(plan) is not None


def replaces_all(plan: LoadPlan) -> bool:
    """Tell whether a load leaves nothing of what older sets could bring."""
    return plan.strategy is Strategy.OVERWRITE or (plan.covers == Covers() and plan.strategy is Strategy.UPSERT)


def plan_load(
    destination: Destination[Any, Any],
    contract: TableContract,
    manifest: Manifest,
    area: StagedLog,
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
            f"{manifest.sequence}; load it from a profile with a staging folder of its own, or leave it out with "
            "--destinations"
        )
    return Strategy.OVERWRITE


def _differing(plan: LoadPlan, manifest: Manifest) -> Iterator[str]:
    """Yield what keeps a staged set from being read under the contract: each column whose values could change."""
    for column in _columns_read(plan):
        staged = manifest.schema.get(column.name)
        if staged is None and not column.nullable:
            yield f"lacks the required column {column.name!r}"
        if staged is not None and not _fits(column, *parse_type(staged)):
            yield f"holds {column.name!r} as {staged}, the contract says {column}"


def _columns_read(plan: LoadPlan) -> Sequence[Column]:
    if plan.covers is None or not plan.covers.keys_only:
        return plan.contract.columns if plan.parts else ()
    # Without its keys, a set of keys would show every row to be gone.
    return [plan.contract.column(name) for name in plan.contract.key]


def _fits(wanted: Column, staged: LogicalType, nullable: bool) -> bool:
    return holds_all(wanted.type, staged) and (wanted.nullable or not nullable)


def _refuse_outdated(contract: TableContract, outdated: Mapping[int, Sequence[str]]) -> None:
    """Refuse sets that the contract no longer fits, each column once.

    Raises:
        Rejected: there are some.
    """
    if not outdated:
        return
    found = dict.fromkeys(reason for sequence in sorted(outdated) for reason in outdated[sequence])
    raise Rejected(
        f"{contract.table}: staged set {', '.join(map(str, sorted(outdated)))} {'; '.join(found)}; stage the table "
        f"anew with {refresh_options(contract.table)}"
    )
