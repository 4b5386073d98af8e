"""What a suite is about: one destination class, the contracts it is tried with, and a look behind its tables."""

from __future__ import annotations

from typing import Any, ClassVar

from ...api import Destination, LoadPlan
from ...contracts import Strategy, TableContract
from ..model import NARROW
from ..samples import sample_contract
from ..trial import Traces

_PRESETS = {
    Strategy.APPEND: "events",
    Strategy.UPSERT: "entity",
    Strategy.OVERWRITE: "reference",
    Strategy.REPLACE_PARTITION: "daily",
}


class Subject:
    """The parts of a suite that its author may define."""

    destination_type: ClassVar[type[Destination[Any, Any]]]

    def options(self, strategy: Strategy) -> dict[str, Any]:  # noqa: ARG002  # authors look at it
        """Return the contract's block for the destination beside `strategy`."""
        return {}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        """Return what the destination keeps about the plan's table besides its rows."""
        raise AssertionError(
            f"{type(self).__name__} must define traces(destination, plan): the loads in {destination.name}'s ledger "
            f"of {plan.table}, and the names of everything that attempts left there"
        )

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        """Lose what the destination knows of the loads of the plan's table, and keep the rows, by another road.

        Return False where that cannot be. Only a destination that adopts tables is asked.
        """
        raise AssertionError(
            f"{type(self).__name__} must define lose_ledger(destination, plan), as {destination.name} adopts tables: "
            f"lose the ledger of {plan.table}, and keep the rows"
        )

    def contract(self, strategy: Strategy, **overrides: Any) -> TableContract:
        """Return a contract that the destination loads by a strategy; overrides replace fields of the document."""
        block = {"strategy": strategy.value, **self.options(strategy)}
        document = {"columns": dict(NARROW), "destinations": {self.destination_type.name: block}, **overrides}
        if strategy in {Strategy.OVERWRITE, Strategy.REPLACE_PARTITION}:  # their sets hold all that they replace
            document = {"extraction": "whole", **document}
        return sample_contract(_PRESETS[strategy], **document)
