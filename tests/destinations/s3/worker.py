"""A process that loads one plan: `python -m tests.destinations.s3.worker FILE`, with the plan pickled in the file."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination


def start(
    config: S3Config, plan: LoadPlan, folder: Path, *, fault: str = "", not_before: float = 0.0
) -> subprocess.Popen[str]:
    """Start a process that loads the plan; `fault` is `<point>:<action>`, `not_before` a time at which all begin."""
    file = folder / f"job-{time.monotonic_ns()}.pickle"
    file.write_bytes(pickle.dumps((config, plan, not_before)))
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), **({"OWNLENS_FAULT": fault} if fault else {})}
    command = [sys.executable, "-m", "tests.destinations.s3.worker", str(file)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> int:
    config, plan, not_before = pickle.loads(Path(sys.argv[1]).read_bytes())
    time.sleep(max(0.0, not_before - time.time()))
    try:
        result = load(S3Destination(config), plan)
    except OwnLensError as error:
        print(type(error).__name__, error)
        return 2
    print("replayed" if result.replayed else "applied", result.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
