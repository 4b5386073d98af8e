"""Loads after many others, beside an older commit: `python -m benchmarks.growth --before FOLDER --stores lake`.

Each commit makes a history of small sets of one events table, and measures the last loads before each mark, and a look
for a set that is in. FOLDER is a worktree of the older commit with its `.venv`. `--uri s3://bucket/prefix` (with the
`AWS_*` variables) measures on an object store instead of a local folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MARKS = (10, 100, 400, 1000)
WORKER = Path(__file__).with_name("growth_worker.py")


def main() -> int:
    """Measure both commits and print one line for each mark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--before", type=Path, help="worktree of the older commit")
    parser.add_argument("--stores", default="lake", help="of lake; separated by commas")
    parser.add_argument("--marks", default=",".join(map(str, MARKS)), help="numbers of sets at which to measure")
    parser.add_argument("--uri", help="the lake's root; a local folder unless told otherwise")
    parser.add_argument("--maintain", type=int, default=0, help="maintain the store after every so many sets")
    arguments = parser.parse_args()
    trees = {"now": Path(__file__).parents[1], **({"before": arguments.before} if arguments.before else {})}
    for store in arguments.stores.split(","):
        found = {name: _measured(tree.absolute(), store, name, arguments) for name, tree in trees.items()}
        print(_text(store, found))
    return 0


def _measured(tree: Path, store: str, name: str, arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Run a history in a process of its own, with the commit's own interpreter and packages."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{arguments.uri.rstrip('/')}/{Path(folder).name}-{name}" if arguments.uri else f"{folder}/lake"
        python = tree / ".venv/bin/python"
        command = [str(python if python.exists() else sys.executable), str(WORKER), store, folder, uri, arguments.marks]
        command += [str(arguments.maintain)] if arguments.maintain else []
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tree)
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _text(store: str, found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{store}: milliseconds of a load, and of a look for a set that is in"]
    for mark in found["now"]:
        each = (
            f"{name} {1000 * statistics.median(marks[mark]['load']):.0f} / {1000 * min(marks[mark]['look']):.1f}"
            for name, marks in found.items()
        )
        lines.append(f"  {mark} sets: {', '.join(each)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
