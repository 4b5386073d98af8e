"""Random histories of one table in the lake, in each format, with its maintenance among the steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing.machine import Subject, run_histories
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from . import test_conformance as suites

CASES = [
    (suites.TestDelta, Strategy.APPEND),
    (suites.TestDelta, Strategy.UPSERT),
    (suites.TestDelta, Strategy.OVERWRITE),
    (suites.TestParquet, Strategy.OVERWRITE),
    (suites.TestJson, Strategy.OVERWRITE),
]


@pytest.mark.parametrize(("kind", "strategy"), CASES)
def test_any_history(kind: type[suites.LakeSuite], strategy: Strategy) -> None:
    suite = kind()

    def opened(folder: Path) -> S3Destination:
        return S3Destination(S3Config(uri=str(folder / "lake")))

    subject = Subject(opened, suite.contract(strategy), strategy, suite.traces, POINTS[:-1])
    run_histories(subject, 2)
