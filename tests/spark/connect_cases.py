"""Loads through a Spark Connect server. A process of its own runs these: pyspark is one kind of client in each.

`test_connect.py` starts the server and runs this file, with the server's address in OWNLENS_SPARK_REMOTE.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.engines import SparkConfig
from ownlens_plugins.errors import Rejected, Retryable, Stopped
from ownlens_plugins.spark import checking, frames, sessions
from ownlens_plugins.spark.workers import SparkWorkers
from ownlens_plugins.stopping import Stop, heeding

from .cluster import free_port
from .stores import Table
from .test_loads import Slow

Make = Callable[[str, Strategy], Table]


@pytest.fixture(scope="module")
def remote() -> SparkConfig:
    return SparkConfig(remote=os.environ["OWNLENS_SPARK_REMOTE"])


@pytest.fixture(scope="module")
def client(remote: SparkConfig) -> Iterator[SparkWorkers]:
    workers = SparkWorkers(remote)
    yield workers
    workers.close()


@pytest.mark.parametrize("store", ["s3", "postgresql", "clickhouse"])
def test_turns_of_both_engines(make_table: Make, client: SparkWorkers, store: str) -> None:
    table = make_table(store, Strategy.UPSERT)
    for number, spark in enumerate([True, False, True], start=1):
        plan = table.plan(0, 10 * number)
        assert table.load(plan, client.mapping(plan) if spark else None).rows == 10 * number
        assert table.left(plan) == []
    assert table.landed() == table.expected(30)


def test_a_refusal_comes_back_as_it_was_said(make_table: Make, client: SparkWorkers) -> None:
    table = make_table("postgresql", Strategy.APPEND)
    plan = table.plan(0, 9)
    wrong = replace(plan, parts=(replace(plan.parts[0], rows=7), *plan.parts[1:]))
    with pytest.raises(Rejected, match="has 3 rows and not 7"):
        table.load(wrong, client.mapping(wrong))


def test_a_run_that_stops_takes_its_job_along_and_no_other(
    make_table: Make, client: SparkWorkers, tmp_path: Path
) -> None:
    table = make_table("s3", Strategy.APPEND)
    plan, stop = table.plan(0, 9), Stop()
    begun = tmp_path / "begun"
    begun.mkdir()

    def ask() -> None:
        while not list(begun.iterdir()):
            time.sleep(0.05)
        stop.ask("SIGTERM")

    threading.Thread(target=ask).start()
    started = time.monotonic()
    with heeding(stop), pytest.raises(Stopped, match="SIGTERM"):
        load(table.destination, plan, map_parts=lambda _, parts: client.write(plan, Slow(begun).write, parts))
    assert time.monotonic() - started < 40
    assert table.left(plan) == []


def test_a_dataframe_of_the_client_is_read(client: SparkWorkers) -> None:
    frame = client.session().sql("SELECT id, timestamp_micros(id) AS at FROM range(0, 5, 1, 2)")
    table = frames.reader("sales", frame).read_all()
    assert table["id"].to_pylist() == [0, 1, 2, 3, 4]
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert frames.is_dataframe(frame)


def test_the_check_looks_at_the_servers_executors(remote: SparkConfig, client: SparkWorkers) -> None:
    client.session()
    report = checking.check(remote)
    assert report.problems == ()
    assert report.executors[0].startswith("Python 3")


def test_a_server_that_is_not_there() -> None:
    config = SparkConfig(remote=f"sc://127.0.0.1:{free_port()}")
    with pytest.raises(Retryable, match="nobody answers at 127"):
        sessions.require_reachable(config)
