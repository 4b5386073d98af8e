"""Loads what is staged into several destinations: `staged_load_worker AREA SETTINGS`, the settings as JSON by name.

Each destination is loaded by a process that is killed before it commits, and then by one that is not; the second one's
rows are printed. The processes are forked from one that has imported everything and opened nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from typing import Any

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.engine.planning import plan_load
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from .staging_rows import reads

_PROCESSES = multiprocessing.get_context("fork")
KINDS: dict[str, tuple[Any, Any]] = {
    "s3": (S3Destination, S3Config),
    "postgresql": (PostgreSQLDestination, PostgreSQLConfig),
    "clickhouse": (ClickHouseDestination, ClickHouseConfig),
}


def _load(area: str, name: str, settings: dict[str, Any], fault: str, answers: Any) -> None:
    kind, config = KINDS[name]
    destination, staged, registry = kind(config(**settings)), StagingArea(area, Registry()), Registry()
    os.environ["OWNLENS_FAULT"] = fault
    outcome = load_table(destination, reads(), staged, registry)
    plan = plan_load(destination, reads(), staged.manifests("reads")[-1], staged, registry)
    ids = destination.read(plan).read_all()["read_id"].to_pylist()
    answers.send((outcome.rows, sorted(ids)))
    destination.close()
    os._exit(0)


def main(area: str, stores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, settings in stores.items():
        codes = []
        for fault in ("before_commit:kill", ""):
            here, there = _PROCESSES.Pipe()
            process = _PROCESSES.Process(target=_load, args=(area, name, settings, fault, there))
            process.start()
            process.join(60)
            codes.append(process.exitcode)
        seen[name] = [codes, here.recv()]
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
