"""Random histories: a few in every run of the tests, thousands by `make truth HISTORIES=n`.

A failure prints its history. OWNLENS_TRUTH_SHRINK=1 looks for a shorter one, OWNLENS_TRUTH_TABLES and
OWNLENS_TRUTH_FEATURES leave only some tables and some of what may happen.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from ownlens_clickhouse.client import Store

from .conftest import a_world
from .histories import SourceMachine, run_histories
from .servers import Cluster

_ASKED = int(os.environ.get("OWNLENS_HISTORIES", "0"))
_FEW = 8


@pytest.fixture
def machine(
    cluster: Cluster, postgresql_folder: Path, holder: Store, engine_path: Path, tmp_path: Path
) -> type[SourceMachine]:
    return type(
        "History",
        (SourceMachine,),
        {
            "open_world": staticmethod(partial(a_world, cluster, postgresql_folder, engine_path, tmp_path)),
            "cluster": cluster,
            "give_up": staticmethod(holder.close),
            "take_back": staticmethod(lambda: holder.run("SELECT 1")),
        },
    )


@pytest.mark.timeout(0)
def test_after_any_history_all_stores_equal_the_source(machine: type[SourceMachine]) -> None:
    # A few are the same in every run of the tests; those that somebody asks for are new ones each time.
    run_histories(machine, _ASKED or _FEW, shrink="OWNLENS_TRUTH_SHRINK" in os.environ, same=not _ASKED)
