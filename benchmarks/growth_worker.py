"""One commit's part of `benchmarks.growth`: its own code makes a history, and says how long loads took."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))  # the older commit's packages, not those beside this file

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import make_plan, sample_contract, sample_rows, sample_table

MEASURED = 9
ROWS = 5
Subject = tuple[Destination[Any, Any], TableContract]


def lake(uri: str) -> Subject:
    """Return the lake and an events table in it."""
    from ownlens_s3.config import S3Config
    from ownlens_s3.destination import S3Destination

    options = {"strategy": "append", "format": "delta", "partition": "none"}
    contract = sample_contract("events", partition_by="created_at", destinations={"s3": options})
    return S3Destination(S3Config(uri=uri, allow_http=True)), contract


STORES: dict[str, Callable[[str], Subject]] = {"lake": lake}


def main(store: str, folder: str, uri: str, marks: str, maintain: str = "0") -> None:
    """Load as many sets as the highest mark; print what was measured right before each mark.

    `maintain` is the number of sets after which the store is maintained, 0 for never.
    """
    destination, contract = STORES[store](uri)
    wanted = sorted(map(int, marks.split(",")))
    seconds: list[float] = []
    found: dict[int, dict[str, list[float]]] = {}
    for number in range(1, wanted[-1] + 1):
        rows = sample_table(contract, sample_rows(ROWS, first=ROWS * number))
        plan = make_plan(destination, contract, rows, Path(folder, "staged"), sequence=number, parts=1)
        seconds.append(_timed(lambda plan=plan: load(destination, plan)))  # type: ignore[misc]
        if int(maintain) and number % int(maintain) == 0:
            _maintain(destination, contract, number)
        if number in wanted:
            found[number] = {"load": seconds[-MEASURED:], "look": [_looked(destination, plan) for _ in range(MEASURED)]}
    print(json.dumps(found))


def _maintain(destination: Destination[Any, Any], contract: TableContract, number: int) -> None:
    from ownlens_plugins.powers import Upkeep

    options = destination.options_type.model_validate(contract.options_for(destination.name))
    destination.maintain(Upkeep(contract, options, number - 1, date(2026, 1, 1)))  # type: ignore[attr-defined]


def _timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _looked(destination: Destination[Any, Any], plan: LoadPlan) -> float:
    return _timed(lambda: destination.find_commit(plan))


if __name__ == "__main__":
    main(*sys.argv[1:])
