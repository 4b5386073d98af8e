"""One table that is loaded set after set, and what it must hold."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing.model import TableModel, staged_set

from .loads import Loads, sliced


class History:
    """Sets 1, 2, ... of one table, and what it must hold."""

    def __init__(self, loads: Loads, strategy: Strategy) -> None:
        self.loads, self.strategy, self.contract = loads, strategy, sliced(strategy)
        self.model, self.done = TableModel(strategy), 0

    def plan(self) -> LoadPlan:
        """Stage the next set."""
        number = self.done + 1
        return self.loads.plan(self.contract, staged_set(self.strategy, number), sequence=number, tag=str(number))

    def applied(self) -> None:
        """Expect the next set's rows from now on."""
        self.done += 1
        self.model.apply(staged_set(self.strategy, self.done))

    def load(self) -> None:
        self.loads.again(self.plan())
        self.applied()

    def require(self) -> None:
        assert self.loads.landed(self.contract) == self.loads.staged(self.contract, list(map(dict, self.model.rows)))
        assert [entry[1] for entry in self.loads.ledger()] == list(range(1, self.done + 1))

    def require_settled(self, plan: LoadPlan) -> None:
        """Check everything; then that a replay changes nothing."""
        self.require()
        assert self.loads.again(plan).replayed
        self.require()
        assert self.loads.internal_tables() == []
