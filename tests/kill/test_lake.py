"""SIGKILL at the calls with which a commit changes the lake's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_s3.config import S3Config
from tests.destinations.s3.loads import Loader, contract_of

from .processes import Store
from .sweeping import Sweep, judge, sweep

LOADS = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("strategy", "form"), LOADS)
def test_killed_at_every_call(tmp_path: Path, sample: int, record_property: Any, strategy: str, form: str) -> None:
    store = Store("s3", S3Config(uri=str(tmp_path / "lake")))
    loader = Loader(store.destination(), contract_of(strategy, form), tmp_path)
    first = loader.plan(1, loader.rows(30))
    second = loader.plan(2, loader.rows(30, first=30 if strategy == "append" else 20, version=1))

    tally = sweep(Sweep(store, first, second, tmp_path / "lake", tmp_path), f"{strategy} {form}", sample=sample)

    judge(tally, record_property)
    assert tally.views == {"old", "new"}  # never anything between
