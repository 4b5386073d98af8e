"""A driver of its own, which a test kills: loads a plan on a cluster, and halts in the middle of it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from ownlens_plugins.engine.loading import load
from ownlens_plugins.spark.workers import SparkWorkers

from .dying import Halting


def main() -> None:
    kind, settings, plan, config, folder = pickle.loads(Path(sys.argv[1]).read_bytes())
    workers = SparkWorkers(config)

    def mapping(write: Any, parts: Any) -> Any:
        return workers.write(plan, Halting(write, folder, plan.parts[-1].part_id, after=False).write, parts)

    load(kind(settings), plan, map_parts=mapping)


if __name__ == "__main__":
    main()
