"""The reference destination keeps every promise; the liars, which differ from it in one thing each, do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_plugins.testing.reference import ReferenceConfig, ReferenceDestination, transaction


class TestReference(DestinationSuite):
    destination_type = ReferenceDestination
    upkeep_points = ("before_commit",)

    @pytest.fixture
    def destination(self, tmp_path: Path) -> ReferenceDestination:
        return ReferenceDestination(ReferenceConfig(path=str(tmp_path / "reference.sqlite")))

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        assert isinstance(destination, ReferenceDestination)
        return Traces(destination.ledger(plan.table), destination.staged_parts(plan.table))

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        assert isinstance(destination, ReferenceDestination)
        with transaction(destination.config.path) as connection:
            connection.execute("DELETE FROM ledger WHERE name = ?", (plan.table,))
        return True
