"""Every liar is caught by the check that should catch it, for the right reason, and every check catches one."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from ownlens_plugins.testing import DestinationSuite
from ownlens_plugins.testing.liars import LIARS, changing
from ownlens_plugins.testing.promises.attempts import Attempts
from ownlens_plugins.testing.promises.crashes import Crashes
from ownlens_plugins.testing.promises.values import Values
from ownlens_plugins.testing.reference import ReferenceDestination

_SUITE = """
import pytest
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_plugins.testing.reference import ReferenceConfig, transaction
from {module} import {liar} as Liar

class TestLiar(DestinationSuite):
    destination_type = Liar
    strategies = frozenset({{Strategy("{strategy}")}})
    kill_points = ("written", "commit_sent")
    upkeep_points = ("before_commit",)

    @pytest.fixture
    def destination(self, tmp_path):
        return Liar(ReferenceConfig(path=str(tmp_path / "liar.sqlite")))

    def traces(self, destination, plan):
        return Traces(destination.ledger(plan.table), destination.staged_parts(plan.table))

    def lose_ledger(self, destination, plan):
        with transaction(destination.config.path) as connection:
            connection.execute("DELETE FROM ledger WHERE name = ?", (plan.table,))
        return True
"""
# In this process, which has imported everything, and with nothing of this session's.
_PLUGINS = [f"-pno:{name}" for name in ("cacheprovider", "unraisableexception", "threadexception")]
_QUIETLY = ["-q", "--disable-plugin-autoload", *_PLUGINS, "--import-mode=importlib", "--tb=short", "-c", os.devnull]
# Checks that start processes; only a liar that one of them catches has to pass the others of its kind.
_LOADING = {name.removeprefix("test_") for name in vars(Crashes) if name.startswith("test_")}
_MAINTAINING = {"a_killed_maintenance_is_finished_by_the_next", "loads_and_maintenance_at_once"}
_NAMES_OF_HUNDREDS = "odd_table_names"


class _Trial:
    """Chooses the checks for one liar, and keeps what each failed one said, by its name."""

    def __init__(self, liar: type[ReferenceDestination]) -> None:
        self.lie = LIARS[liar]
        self.changes_values = liar.__module__ == changing.__name__
        self.said: dict[str, str] = defaultdict(str)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self._is_for(_check(item.nodeid))]

    def _is_for(self, check: str) -> bool:
        if check == self.lie.caught_by or check in (self.lie.also or ()):
            return True
        for kind in (_LOADING, _MAINTAINING):
            if check in kind:
                return self.lie.caught_by in kind
        if hasattr(Values, f"test_{check}"):  # what becomes of values does not depend on how they are committed
            return self.changes_values and check != _NAMES_OF_HUNDREDS
        return not (self.changes_values and hasattr(Attempts, f"test_{check}"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.said[_check(report.nodeid)] += report.longreprtext


def _check(nodeid: str) -> str:
    return nodeid.rpartition("::test_")[2].partition("[")[0]


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_a_liar_is_caught(tmp_path: Path, liar: type[ReferenceDestination]) -> None:
    trial = _Trial(liar)
    lie, said = trial.lie, trial.said
    file = tmp_path / f"test_{liar.__name__}.py"
    file.write_text(_SUITE.format(module=liar.__module__, liar=liar.__name__, strategy=lie.strategy.value))
    place = [f"--rootdir={tmp_path}", f"--basetemp={tmp_path / 'tables'}", str(file)]
    pytest.main([*_QUIETLY, *place], plugins=[trial])
    assert lie.caught_by in said, f"not caught: {sorted(said)}"
    assert lie.because in said[lie.caught_by]
    if lie.also is not None:
        assert said.keys() == {lie.caught_by, *lie.also}


def test_every_check_catches_a_liar() -> None:
    checks = {name.removeprefix("test_") for name in dir(DestinationSuite) if name.startswith("test_")}
    assert checks == {lie.caught_by for lie in LIARS.values()}
