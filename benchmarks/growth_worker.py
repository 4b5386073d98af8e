"""One commit's part of `benchmarks.growth`: its own code makes a history, and says how long its runs took."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path.cwd()))  # the older commit's packages, not those beside this file

from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract, contract_from
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import PostgreSQLSourceConfig

MEASURED = 9
ROWS = 5
TABLE = """CREATE TABLE reads (read_id bigint PRIMARY KEY, article_id int NOT NULL, title text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp())"""
ADD = f"INSERT INTO reads SELECT n, n %% 50, 'title ' || n FROM generate_series(%s::int, %s::int + {ROWS - 1}) AS n"
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "lake": {"strategy": "append", "format": "delta", "partition": "none"},
    "postgresql": {"strategy": "append"},
    "clickhouse": {"strategy": "append"},
}


def lake(_: str, uri: str, __: str) -> Destination[Any, Any]:
    from ownlens_s3.config import S3Config
    from ownlens_s3.destination import S3Destination

    return S3Destination(S3Config(uri=f"{uri}/lake", allow_http=True))


def postgresql(_: str, __: str, host: str) -> Destination[Any, Any]:
    from ownlens_postgresql.config import PostgreSQLConfig
    from ownlens_postgresql.destination import PostgreSQLDestination

    settings = {"host": host, "database": "postgres", "user": "postgres", "schema": "store"}
    return PostgreSQLDestination(PostgreSQLConfig.model_validate(settings))


def clickhouse(folder: str, _: str, __: str) -> Destination[Any, Any]:
    from ownlens_clickhouse.config import ClickHouseConfig
    from ownlens_clickhouse.destination import ClickHouseDestination

    settings = {"interface": "chdb", "path": f"{folder}/engine", "database": "news"}
    return ClickHouseDestination(ClickHouseConfig.model_validate(settings))


STORES: dict[str, Callable[[str, str, str], Destination[Any, Any]]] = {
    "lake": lake,
    "postgresql": postgresql,
    "clickhouse": clickhouse,
}


def events(store: str) -> TableContract:
    """Return the table's contract. Sets come by the second here: a look-back of a day would meet them all again."""
    # The older commit has no look-back.
    behind = {"look_back": "1s"} if "look_back" in TableContract.__dataclass_fields__ else {}
    name = {"lake": "s3"}.get(store, store)
    return contract_from(
        {
            "table": "reads",
            "domain": "news",
            "preset": "events",
            "key": ["read_id"],
            "partition_by": "created_at",
            "path": "news/reads",
            "columns": {"read_id": "int64", "article_id": "int32", "title": "text?", "created_at": "timestamptz"},
            "destinations": {name: dict(OPTIONS[store])},
            **behind,
        }
    )


@dataclass(frozen=True)
class History:
    """A table, where it comes from and where it goes."""

    source: PostgreSQLSource
    connection: psycopg.Connection[Any]
    contract: TableContract
    area: StagingArea
    destination: Destination[Any, Any]
    registry: Registry

    def add(self, number: int) -> None:
        self.connection.execute(ADD, (ROWS * number, ROWS * number))

    def stage(self) -> None:
        with self.source.snapshot() as snapshot:
            stage_table(self.contract, snapshot, self.area)

    def load(self) -> None:
        load_table(self.destination, self.contract, self.area, self.registry)

    def run(self) -> None:
        self.stage()
        self.load()


def main(store: str, folder: str, uri: str, host: str, marks: str) -> None:
    """Load as many sets as the highest mark; print what was measured right before each mark, and at it."""
    registry = Registry()
    settings = PostgreSQLSourceConfig.model_validate({"host": host, "database": "postgres", "user": "postgres"})
    area = StagingArea(f"{uri}/staging", registry)
    with psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(TABLE)
        made = STORES[store](folder, uri, host)
        history = History(PostgreSQLSource(settings), connection, events(store), area, made, registry)
        print(json.dumps(measured(history, sorted(map(int, marks.split(","))))))


def measured(history: History, wanted: list[int]) -> dict[int, dict[str, Any]]:
    staged, loaded = list[float](), list[float]()
    found: dict[int, dict[str, Any]] = {}
    for number in range(1, wanted[-1] + 1):
        history.add(number)
        staged.append(_timed(history.stage))
        loaded.append(_timed(history.load))
        if number in wanted:
            time.sleep(1.1)  # the newest rows are behind the look-back then
            history.run()
            found[number] = {
                "stage": staged[-MEASURED:],
                "load": loaded[-MEASURED:],
                "nothing": [_timed(history.run) for _ in range(MEASURED)],
                "memory": _memory(),
            }
    return found


def _timed(step: Callable[[], object]) -> float:
    """Return the seconds that a step took, or, with GROWTH_CLOCK=cpu, the processor's seconds of this process."""
    clock = time.process_time if os.environ.get("GROWTH_CLOCK") == "cpu" else time.perf_counter
    begin = clock()
    step()
    return clock() - begin


def _memory() -> float:
    """Return the megabytes that this process has in memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main(*sys.argv[1:])
