"""Print each destination's append speed beside its store's own limit, measured in the same run on the same rows.

`moved` is a Delta merge with moved rows, beside the same merge without: a goal of 0.67 is 1.5 times as long.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STORES = {"postgresql": 0.8, "clickhouse": 0.6, "lake": 0.8, "moved": 0.67}


def main() -> int:
    """Measure the chosen stores, each in a process of its own, and print one line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("stores", nargs="*", default=list(STORES), help=f"of {', '.join(STORES)}")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(_measure(arguments.inside, arguments.rows)))
        return 0
    results = {store: _in_process(store, arguments.rows) for store in arguments.stores}
    print(json.dumps(results, indent=1) if arguments.json else _text(results))
    return 0


def _in_process(store: str, rows: int) -> dict[str, Any]:
    # Engines in one process would share memory, threads and caches.
    command = [sys.executable, "-m", "benchmarks", "--inside", store, "--rows", str(rows)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def _measure(store: str, rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = importlib.import_module(f"benchmarks.{store}").measure(rows, Path(folder))
        return result


def _text(results: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'store':<12}{'rows/s':>12}{'limit rows/s':>14}{'ratio':>8}{'goal':>6}  limit"]
    for store, result in results.items():
        lines.append(
            f"{store:<12}{result['rows_per_second']:>12,.0f}{result['limit_rows_per_second']:>14,.0f}"
            f"{result['ratio']:>8.2f}{STORES[store]:>6.1f}  {result['limit']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
