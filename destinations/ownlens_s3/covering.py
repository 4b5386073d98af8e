"""What a staged set is, seen from the table: rows beside others, the whole table, or keys alone."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected


def keys_only(plan: LoadPlan) -> bool:
    """Tell whether the parts hold nothing but keys, so that rows only leave."""
    return plan.covers is not None and plan.covers.keys_only


def holds_all(plan: LoadPlan) -> bool:
    """Tell whether a set is the whole table, so that no older set has anything to add."""
    whole = plan.covers is not None and plan.covers.days is None
    return plan.strategy is Strategy.OVERWRITE or (whole and not keys_only(plan))


def require_rows(plan: LoadPlan) -> None:
    """Refuse to load keys as if they were rows.

    Raises:
        Rejected: the strategy is no upsert, and the parts hold keys alone.
    """
    if keys_only(plan) and plan.strategy is not Strategy.UPSERT:
        raise Rejected(
            f"{plan.table}: s3 cannot {plan.strategy} a set that holds keys alone; use strategy: upsert in "
            "destinations.s3, or deletes: keep"
        )
