"""Every liar is caught by the check that should catch it, for the right reason, and every check catches one."""

from __future__ import annotations

import re

import pytest

from ownlens_plugins.testing import DestinationSuite
from ownlens_plugins.testing.liars import LIARS
from ownlens_plugins.testing.reference import ReferenceDestination

pytest_plugins = ["pytester"]
_SUITE = """
import pytest
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_plugins.testing.reference import ReferenceConfig
from {module} import {liar} as Liar

class TestLiar(DestinationSuite):
    destination_type = Liar
    strategies = frozenset({{Strategy("{strategy}")}})
    kill_points = ("written", "commit_sent")

    @pytest.fixture
    def destination(self, tmp_path):
        return Liar(ReferenceConfig(path=str(tmp_path / "liar.sqlite")))

    def traces(self, destination, plan):
        return Traces(destination.ledger(plan.table), destination.staged_parts(plan.table))
"""
# Checks that start processes take seconds; only a liar that one of them catches has to pass the others.
_SLOW = ("killed", "processes_race", "odd_table_names")


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_a_liar_is_caught(pytester: pytest.Pytester, liar: type[ReferenceDestination]) -> None:
    lie = LIARS[liar]
    pytester.makepyfile(
        test_liar=_SUITE.format(module=liar.__module__, liar=liar.__name__, strategy=lie.strategy.value)
    )
    left_out = [f"not {word}" for word in _left_out(lie.caught_by)]
    result = pytester.runpytest_inprocess(
        "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=short", "-k", " and ".join(left_out)
    )
    failed = _failures(str(result.stdout))
    assert lie.caught_by in failed, f"not caught: {sorted(failed)}"
    assert lie.because in failed[lie.caught_by]
    if lie.also is not None:
        assert set(failed) <= {lie.caught_by, *lie.also}


def _left_out(check: str) -> list[str]:
    if "names" not in check and any(word in check for word in _SLOW):
        return ["odd_table_names"]
    return [word for word in _SLOW if word not in check]


def _failures(output: str) -> dict[str, str]:
    """Return what each failed check said, by the check's name."""
    blocks = re.split(r"^_+ TestLiar\.test_(\w+?)(?:\[[^\n]*\])? _+$", output, flags=re.MULTILINE)
    said: dict[str, str] = {}
    for name, text in zip(blocks[1::2], blocks[2::2], strict=True):
        said[name] = said.get(name, "") + text
    return said


def test_every_check_catches_a_liar() -> None:
    checks = {name.removeprefix("test_") for name in dir(DestinationSuite) if name.startswith("test_")}
    assert checks == {lie.caught_by for lie in LIARS.values()}
