"""Random histories of the reference destination; and of a liar, which they must catch."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing.liars.attempting import DoublesOnReplay
from ownlens_plugins.testing.machine import Subject, run_histories
from ownlens_plugins.testing.processes import CALLS
from ownlens_plugins.testing.reference import ReferenceConfig, ReferenceDestination
from ownlens_plugins.testing.trial import Traces

from . import test_reference


def _subject(kind: type[ReferenceDestination], strategy: Strategy) -> Subject:
    def opened(folder: Path) -> ReferenceDestination:
        return kind(ReferenceConfig(path=str(folder / "reference.sqlite")))

    def look(destination: ReferenceDestination, plan: LoadPlan) -> Traces:
        return Traces(destination.ledger(plan.table), destination.staged_parts(plan.table))

    return Subject(opened, test_reference.TestReference().contract(strategy), strategy, look, CALLS[:4])


@pytest.mark.parametrize("strategy", Strategy)
def test_histories_of_the_reference(strategy: Strategy) -> None:
    run_histories(_subject(ReferenceDestination, strategy), 5)


def test_histories_catch_a_liar() -> None:
    with pytest.raises(AssertionError):
        run_histories(_subject(DoublesOnReplay, Strategy.APPEND), 100, shrink=False)
