"""Executors and workers of a real cluster die in the middle of a load: the rows are there once, and nothing else is."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan, Receipt
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.spark.workers import SparkWorkers

from .cluster import ROOT, Cluster
from .dying import Halting, halted, wait_for
from .stores import STORES, Table

CLUSTER = True
Make = Callable[[str, Strategy], Table]
Kill = Callable[[Cluster, int, int], None]


def kill_executor(_: Cluster, __: int, executor: int) -> None:
    assert "CoarseGrainedExecutorBackend" in Path(f"/proc/{executor}/cmdline").read_text()
    os.kill(executor, signal.SIGKILL)


def kill_python(_: Cluster, worker: int, __: int) -> None:
    os.kill(worker, signal.SIGKILL)


def kill_node(cluster: Cluster, _: int, __: int) -> None:
    cluster.kill_worker()


def load_and_kill(
    table: Table, plan: LoadPlan, workers: SparkWorkers, cluster: Cluster, folder: Path, kill: Kill, *, after: bool
) -> list[Receipt]:
    """Load a plan; kill when the writer of its middle part halts. Return the receipts that were acknowledged."""
    acknowledged: list[Receipt] = []

    def mapping(write: Any, parts: Any) -> list[Receipt]:
        halting = Halting(write, folder, plan.parts[1].part_id, after)
        acknowledged.extend(workers.write(plan, halting.write, parts))
        if after and kill is kill_executor:
            # Before the commit, so that what the zombie wrote could be taken for the part.
            wait_for((folder / "went on").exists, "the worker died with its executor")
        return list(acknowledged)

    killer = threading.Thread(target=lambda: kill(cluster, *halted(folder)))
    killer.start()
    result = load(table.destination, plan, map_parts=mapping)
    killer.join()
    assert (result.rows, result.inserted) == (plan.rows, plan.rows)
    return acknowledged


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_executor_dies_while_a_part_is_written(
    make_table: Make, workers: SparkWorkers, cluster: Cluster, tmp_path: Path, store: str, after: bool
) -> None:
    table = make_table(store, Strategy.APPEND)
    plan = table.plan(0, 40, parts=4)
    load_and_kill(table, plan, workers, cluster, tmp_path, kill_executor, after=after)
    assert table.landed() == table.expected(40)
    assert table.load(plan, workers.mapping(plan)).replayed
    if not after:
        wait_for((tmp_path / "ended").exists, "the worker died with its executor")
        wait_for(lambda: not table.left(plan), "the zombie's rows stay")
    assert table.landed() == table.expected(40)
    assert table.left(plan) == []


@pytest.mark.parametrize(("store", "strategy"), [("s3", Strategy.OVERWRITE), ("postgresql", Strategy.UPSERT)])
def test_a_python_worker_dies(
    make_table: Make, workers: SparkWorkers, cluster: Cluster, tmp_path: Path, store: str, strategy: Strategy
) -> None:
    table = make_table(store, strategy)
    plan = table.plan(0, 40, parts=4)
    load_and_kill(table, plan, workers, cluster, tmp_path, kill_python, after=True)
    assert table.landed() == table.expected(40)
    assert table.left(plan) == []


def test_a_node_dies(make_table: Make, workers: SparkWorkers, cluster: Cluster, tmp_path: Path) -> None:
    table = make_table("postgresql", Strategy.APPEND)
    plan = table.plan(0, 40, parts=4)
    load_and_kill(table, plan, workers, cluster, tmp_path, kill_node, after=False)
    wait_for(lambda: cluster.alive() == 2, "the new worker did not come")
    assert table.landed() == table.expected(40)
    assert table.left(plan) == []


@pytest.mark.parametrize("store", STORES)
def test_the_driver_dies_while_parts_are_written(
    make_table: Make, cluster: Cluster, tmp_path: Path, store: str
) -> None:
    """Its executors go on for a moment, with nobody to take their receipts; the next run loads each row once."""
    table = make_table(store, Strategy.APPEND)
    first = table.plan(0, 20)
    table.load(first)
    plan = table.plan(20, 60, parts=4)
    work = tmp_path / "work"
    work.write_bytes(
        pickle.dumps((type(table.destination), table.destination.config, plan, cluster.config(), tmp_path))
    )
    driver = subprocess.Popen([sys.executable, "-m", "tests.spark.driver", str(work)], cwd=ROOT)
    halted(tmp_path)
    driver.kill()
    driver.wait()
    assert table.landed() == table.expected(20)
    result = table.load(plan)
    assert (result.rows, result.inserted) == (40, 40)
    wait_for((tmp_path / "ended").exists, "the worker died with its executor")
    wait_for(lambda: not table.left(plan), "what the dead driver's workers wrote stays")
    assert table.landed() == table.expected(60)
    assert table.load(plan).replayed
