"""Where a table stands, and a table whose ledger is lost; only of a destination that offers it."""

from __future__ import annotations

from typing import Any

import pytest

from ...api import Destination, LoadPlan
from ...errors import Rejected, StagedSetChanged
from ...powers import SupportsAdoption, SupportsOverview, TableState
from ..trial import Trial
from .subject import Subject

# One number is left out: nothing was ever staged for it.
_NUMBERS = (0, 1, 3)


class Standings(Subject):
    """An overview says what each load says, and rows are adopted as they are or not at all."""

    def test_an_overview_says_what_each_load_says(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsOverview):
            return
        plans: list[LoadPlan] = []
        for number in _NUMBERS:
            plans.append(trial.numbered(number))
            self._require_told(trial, plans, "before a load")
            trial.load(plans[-1], trial.rows(number))
            self._require_told(trial, plans, "after a load")
        self._require_told(trial, [*plans, trial.numbered(2), trial.numbered(4)], "sets that were not loaded")
        trial.require_settled(plans[-1], "looking where a table stands changes nothing")

    def _require_told(self, trial: Trial, plans: list[LoadPlan], moment: str) -> None:
        state, position = _state(trial), trial.ledger[-1] if trial.ledger else 0
        newest = next((plan for plan in plans if plan.sequence == position), None)
        promise = f"{moment}: an overview"
        assert state.position == position, f"{promise} must tell load {position}, and tells {state.position}"
        assert newest is None or state.digest in ("", newest.digest), f"{promise} tells another digest"
        assert newest is None or state.rows in (None, newest.rows), f"{promise} tells {state.rows} rows"
        for plan in plans if state.is_sure else ():
            said = _is_done(trial.destination, plan)
            sure = plan.sequence <= state.position
            assert said == sure, f"{promise} is sure of load {plan.sequence}: {sure}; `find_commit` says {said}"

    def test_rows_are_adopted_as_they_are(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsAdoption) or not self._lose(trial):
            return
        plan = trial.numbered(1)
        for _ in range(2):
            trial.destination.adopt(plan, len(trial.model.rows))
            trial.ledger = [plan.sequence]
            trial.require_settled(plan, "an adoption touches no row, and is done once")
        assert trial.replay(trial.numbered(0)).replayed, "a load whose rows were adopted was applied again"
        newer = trial.numbered(2)
        trial.load(newer, trial.rows(2))
        trial.require_settled(newer, "a load after an adoption")

    def _lose(self, trial: Trial) -> bool:
        """Load two sets, and lose the ledger; tell whether that can be."""
        for number in range(2):
            trial.load(trial.numbered(number), trial.rows(number))
        lost = self.lose_ledger(trial.destination, trial.numbered(1))
        trial.ledger = [] if lost else trial.ledger
        return lost

    def test_other_rows_are_not_adopted(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsAdoption) or not self._lose(trial):
            return
        plan, rows = trial.numbered(1), len(trial.model.rows)
        for wrong in (rows + 1, rows - 1):
            with pytest.raises(Rejected):
                trial.destination.adopt(plan, wrong)
            trial.require("an adoption that is refused changes no row")
            _require_ledger(trial, plan, "an adoption that is refused marks nothing")
        trial.destination.adopt(plan, rows)
        trial.ledger = [plan.sequence]
        trial.require_settled(plan, "an adoption after refused ones")

    def test_a_ledger_that_knows_loads_is_not_adopted_over(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsAdoption):
            return
        plan = trial.start()
        trial.load(plan, trial.rows(1))
        for other in (trial.plan(trial.rows(3), sequence=plan.sequence), trial.numbered(2)):
            with pytest.raises((Rejected, StagedSetChanged)):
                trial.destination.adopt(other, len(trial.model.rows))
            _require_ledger(trial, plan, "a ledger that knows loads is no lost one")
        trial.require_settled(plan, "an adoption of a table whose ledger is there")


def _state(trial: Trial) -> TableState:
    assert isinstance(trial.destination, SupportsOverview)
    return trial.destination.overview([trial.contract]).get(trial.contract.table, TableState(is_sure=True))


def _is_done(destination: Destination[Any, Any], plan: LoadPlan) -> bool:
    try:
        return destination.find_commit(plan) is not None
    except StagedSetChanged:
        return True


def _require_ledger(trial: Trial, plan: LoadPlan, promise: str) -> None:
    found = list(trial.look(trial.destination, plan).ledger)
    assert found == trial.ledger, f"{promise}: the ledger must hold loads {trial.ledger}, and holds {found}"
