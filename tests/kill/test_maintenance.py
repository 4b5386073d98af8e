"""SIGKILL at many moments of a maintenance, of a lake and of ClickHouse, whose engine dies with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.powers import SupportsMaintenance, Upkeep
from ownlens_plugins.testing import make_plan, sample_rows, sample_table
from ownlens_s3.config import S3Config
from tests.destinations.clickhouse.loads import narrow

from .processes import Store, call

# Long before and long after the real day: rows are old by the day that maintenance is told, and not by their TTL.
FIRST = date(2100, 1, 1)
TODAY = FIRST + timedelta(days=30)
SETS, SETTLED, MOMENTS = 6, 4, 24
_MAINTAIN = """
import sys
from pathlib import Path
from tests.kill.test_maintenance import contract_of, maintain, store_in
from ownlens_plugins.contracts import Strategy
name, strategy = sys.argv[2], Strategy(sys.argv[3])
store = store_in(name, Path(sys.argv[1]))
store.destination().check()
print("ready", flush=True)
maintain(store, contract_of(name, strategy))
"""


def contract_of(store: str, strategy: Strategy) -> TableContract:
    own = {"s3": {"format": "delta"}}.get(store, narrow(strategy).options_for("clickhouse"))
    block = {**own, "strategy": strategy.value, "partition": "day"}
    return narrow(strategy, partition_by="day", retention_days=10, destinations={store: block})


def store_in(name: str, folder: Path) -> Store:
    if name == "s3":
        return Store("s3", S3Config(uri=str(folder / "engine")))
    return Store("clickhouse", ClickHouseConfig(interface="chdb", path=folder / "engine", database="news"))


def maintain(store: Store, contract: TableContract) -> None:
    destination = store.destination()
    assert isinstance(destination, SupportsMaintenance)
    options = destination.options_type.model_validate(contract.options_for(store.name))
    destination.maintain(Upkeep(contract, options, SETTLED, TODAY))
    destination.close()


def set_of(number: int) -> list[dict[str, Any]]:
    """Return the rows of a set: of three old days and of one that stays."""
    rows = sample_rows(8, first=number * 8, days=1)
    days = [FIRST, FIRST + timedelta(days=1), FIRST + timedelta(days=2), TODAY]
    return [{**row, "day": days[row["id"] % 4]} for row in rows]


def load_all(store: Store, plans: list[LoadPlan]) -> list[bool]:
    destination = store.destination()
    try:
        return [load(destination, plan).replayed for plan in plans]
    finally:
        destination.close()


def ids_of(store: Store, plan: LoadPlan) -> list[int]:
    destination = store.destination()
    try:
        return sorted(destination.read(plan).read_all()["id"].to_pylist())
    finally:
        destination.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT])
@pytest.mark.parametrize("name", ["s3", "clickhouse"])
def test_killed_at_many_moments(tmp_path: Path, sample: int, name: str, strategy: Strategy) -> None:
    store, contract = store_in(name, tmp_path), contract_of(name, strategy)
    destination = store.destination()
    *plans, last = (
        make_plan(
            destination,
            contract,
            sample_table(contract, set_of(number)),
            tmp_path / "staged",
            sequence=number,
        )
        for number in range(1, SETS + 1)
    )
    call(load_all, store, plans)
    shutil.copytree(tmp_path / "engine", tmp_path / "copy", symlinks=True)
    seconds = _maintained(tmp_path, name, strategy, None)
    old = [row["id"] for number in range(1, SETS) for row in set_of(number)]
    kept = [key for key in old if key % 4 == 3]
    assert call(ids_of, store, last) == kept

    killed = 0
    for moment in range(0, MOMENTS, sample):
        shutil.rmtree(tmp_path / "engine")
        shutil.copytree(tmp_path / "copy", tmp_path / "engine", symlinks=True)
        killed += _maintained(tmp_path, name, strategy, seconds * moment / MOMENTS) is None
        seen = call(ids_of, store, last)
        assert set(kept) <= set(seen) <= set(old), moment
        assert len(seen) == len(set(seen))
        assert call(load_all, store, [*plans, last]) == [True] * len(plans) + [False]
        assert _maintained(tmp_path, name, strategy, None) is not None
        assert call(ids_of, store, last) == sorted([*kept, *(SETS * 8 + n for n in (3, 7))]), moment
        assert all(call(load_all, store, [*plans, last]))
    assert killed > 0


def _maintained(folder: Path, name: str, strategy: Strategy, after: float | None) -> float | None:
    """Maintain in a process, and return the seconds that it took; kill it `after` so many, and return None."""
    command = [sys.executable, "-c", _MAINTAIN, str(folder), name, strategy.value]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begun = time.monotonic()
        try:
            assert process.wait(120 if after is None else after) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return None
        return time.monotonic() - begun
