"""A process that repairs the loads of those before it, and then dies at a chosen point of its own."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import canonical_rows, make_plan, sample_contract, sample_rows, sample_table

PRESETS = {"append": "events", "upsert": "entity", "overwrite": "reference", "replace_partition": "daily"}
EACH = 30


def _rows(number: int) -> list[dict[str, Any]]:
    # Overlapping keys in two months; each set changes half of what the one before brought.
    return sample_rows(EACH, first=number * EACH // 2, version=number, days=40)


def _stage(folder: Path, strategy: Strategy, count: int) -> None:
    contract = sample_contract(PRESETS[strategy.value])
    plans = [
        make_plan(ClickHouseDestination, contract, sample_table(contract, _rows(n)), folder / "staged", sequence=n)
        for n in range(1, count + 1)
    ]
    (folder / "plans").write_bytes(pickle.dumps(plans))


def _expected(contract: Any, strategy: Strategy, count: int) -> list[tuple[Any, ...]]:
    kept: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        new = _rows(number)
        keys, days = {row["id"] for row in new}, {row["day"] for row in new}
        if strategy is Strategy.UPSERT:
            kept = [row for row in kept if row["id"] not in keys]
        elif strategy is Strategy.REPLACE_PARTITION:
            kept = [row for row in kept if row["day"] not in days]
        elif strategy is Strategy.OVERWRITE:
            kept = []
        kept += new
    return canonical_rows(sample_table(contract, kept))


def _multiset(rows: list[tuple[Any, ...]]) -> Counter[str]:
    return Counter(map(repr, rows))


def _check(destination: ClickHouseDestination, plans: list[LoadPlan], done: int, strategy: Strategy) -> dict[str, Any]:
    database = destination.config.database
    ask = destination._store.rows
    plan = plans[max(done - 1, 0)]
    landed = _multiset(canonical_rows(destination.read(plan).read_all()))
    again = all(load(destination, plan).replayed for plan in plans[:done])
    left = ask(
        "SELECT name FROM system.tables WHERE startsWith(name, '_ownlens_') AND name != '_ownlens_ledger' "
        f"AND database = '{database}'"
    )
    return {
        "repaired": done,
        "exact": landed == _multiset(_expected(plan.contract, strategy, done))
        and landed == _multiset(canonical_rows(destination.read(plan).read_all())),
        "ledger": ask(f"SELECT count() FROM {database}._ownlens_ledger")[0][0] if done else 0,
        "left": [name for (name,) in left],
        "again": again,
    }


def _broken(plan: LoadPlan) -> LoadPlan:
    last = replace(plan.parts[-1], uri=f"{plan.parts[-1].uri}.gone")
    return replace(plan, parts=(*plan.parts[:-1], last))


def main() -> None:
    """Stage all sets, or repair the last load, check everything, and die in the next."""
    folder, strategy, what, number = Path(sys.argv[1]), Strategy(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if what == "stage":
        _stage(folder, strategy, number)
        return
    plans: list[LoadPlan] = pickle.loads((folder / "plans").read_bytes())
    destination = ClickHouseDestination(ClickHouseConfig(interface="chdb", path=folder / "engine"))
    if number > 1:
        load(destination, plans[number - 2])
    print(json.dumps(_check(destination, plans, number - 1, strategy)), flush=True)
    if point := os.environ["CRASH_AT"]:
        os.environ["OWNLENS_FAULT"] = f"{point}:kill"
        load(destination, _broken(plans[number - 1]) if point == "abort" else plans[number - 1])
    destination.close()


if __name__ == "__main__":
    main()
