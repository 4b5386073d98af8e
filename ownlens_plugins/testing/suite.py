"""The conformance suite: every promise of a destination as tests that its author runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..api import Destination
from ..contracts import Strategy
from . import processes
from .cases.reading import EVERY_CASE, TYPES
from .promises.attempts import Attempts
from .promises.crashes import Crashes
from .promises.maintenance import Maintenance
from .promises.standings import Standings
from .promises.values import Values
from .promises.visibility import Visibility
from .trial import Trial


class DestinationSuite(Visibility, Attempts, Values, Crashes, Maintenance, Standings):
    """Subclass it as `Test…`, name the destination, and give two things; pytest then proves every promise.

    Required: the attribute `destination_type`, a fixture `destination` that returns one with an empty store of its own,
    and the method `traces`. Optional: `strategies` (those the class claims unless given), `options`, `lose_ledger`,
    `cases`, `oddities`, `visible_steps`, `kill_points`, `upkeep_points`, `preload`.

    Loads are also run in processes of their own, which build the destination again from its class and its `config`.
    """

    # Narrow this to prove some strategies with one set of options, and others in another class.
    strategies: ClassVar[frozenset[Strategy] | None] = None
    # Where loading processes are killed. A destination that calls `faults.reach` adds the points that it comes by.
    kill_points: ClassVar[Sequence[str]] = processes.CALLS
    # Modules that loading processes should not import again and again, such as a slow driver.
    preload: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if (kind := getattr(cls, "destination_type", None)) is not None:
            processes.prepare([kind.__module__, *cls.preload])

    @property
    def _claimed(self) -> list[Strategy]:
        claimed = self.destination_type.strategies
        chosen = claimed if self.strategies is None else self.strategies
        assert chosen <= claimed, f"{self.destination_type.name} does not claim {sorted(chosen - claimed)}"
        return sorted(chosen)

    @pytest.fixture
    def trial(self, destination: Destination[Any, Any], strategy: Strategy, tmp_path: Path) -> Trial:
        """One empty table."""
        return Trial(destination, self.contract(strategy), strategy, tmp_path / "staged", self.traces)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each promise for each strategy, each type and each moment to die at."""
        names = metafunc.fixturenames
        if "trial" in names:
            type(self).first_strategy = self._claimed[0]
        if "case" in names:
            # What a type becomes does not depend on the strategy: the first says which type it is, if one is changed.
            first, *others = self._claimed
            pairs = [*((first, case) for case in TYPES), *((strategy, EVERY_CASE) for strategy in others)]
            metafunc.parametrize(("strategy", "case"), pairs, ids=str)
        elif "trial" in names:
            metafunc.parametrize("strategy", self._claimed, ids=str)
        if "kill_point" in names:
            metafunc.parametrize("kill_point", self.kill_points)
