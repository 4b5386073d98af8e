"""Loads whose parts Spark's executors write: the same tables, counts and ledger as without, in any order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Receipt, StagedPart
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable, Stopped
from ownlens_plugins.spark.workers import SparkWorkers
from ownlens_plugins.stopping import Stop, heeding

from .stores import STORES, Table

Make = Callable[[str, Strategy], Table]
CASES = [
    *((store, strategy) for store in STORES for strategy in (Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE)),
    ("clickhouse", Strategy.REPLACE_PARTITION),
]


@pytest.mark.parametrize(("store", "strategy"), CASES)
def test_turns_of_both_engines_equal_one_engine(
    make_table: Make, workers: SparkWorkers, store: str, strategy: Strategy
) -> None:
    grows = strategy is Strategy.APPEND
    alone, turns = make_table(store, strategy), make_table(store, strategy)
    for number, spark in enumerate([True, False, True]):
        first = 10 * number if grows else 0
        plans = [table.plan(first, 10 * number + 10) for table in (alone, turns)]
        mapping = workers.mapping(plans[1]) if spark else None
        local, other = alone.load(plans[0]), turns.load(plans[1], mapping)
        assert replace(local, load_id="", digest="") == replace(other, load_id="", digest="")
        assert turns.load(plans[1], workers.mapping(plans[1])).replayed
        assert turns.left(plans[1]) == []
    assert turns.landed() == alone.landed() == turns.expected(30)


def test_a_refusal_comes_back_as_it_was_said(make_table: Make, workers: SparkWorkers) -> None:
    table = make_table("postgresql", Strategy.APPEND)
    plan = table.plan(0, 9)
    wrong = replace(plan, parts=(replace(plan.parts[0], rows=7), *plan.parts[1:]))
    with pytest.raises(Rejected, match="has 3 rows and not 7"):
        table.load(wrong, workers.mapping(wrong))
    assert table.left(plan) == []
    assert table.load(plan, workers.mapping(plan)).inserted == 9


def test_a_lost_part_is_told_like_without_spark(make_table: Make, workers: SparkWorkers) -> None:
    table = make_table("s3", Strategy.APPEND)
    plan = table.plan(0, 9)
    Path(plan.parts[1].uri).unlink()
    told = []
    for mapping in (None, workers.mapping(plan)):
        with pytest.raises(OwnLensError) as caught:
            table.load(plan, mapping)
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]


@dataclass(frozen=True)
class Slow:
    """A writer that takes its time, and says when it has begun."""

    folder: Path

    def write(self, part: StagedPart) -> Receipt:
        (self.folder / part.part_id).touch()
        time.sleep(60)
        return Receipt(part.part_id, part.rows)


def test_a_run_that_stops_takes_its_job_along(make_table: Make, workers: SparkWorkers, tmp_path: Path) -> None:
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
        load(table.destination, plan, map_parts=lambda _, parts: workers.write(plan, Slow(begun).write, parts))
    assert time.monotonic() - started < 30
    assert table.left(plan) == []
    assert table.load(plan, workers.mapping(plan)).inserted == 9


def test_tables_at_once_share_the_session(make_table: Make, workers: SparkWorkers) -> None:
    tables = [make_table("s3", Strategy.APPEND) for _ in range(4)]
    plans = [table.plan(0, 12) for table in tables]
    threads = [
        threading.Thread(target=table.load, args=(plan, workers.mapping(plan)))
        for table, plan in zip(tables, plans, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(table.landed() == table.expected(12) for table in tables)


@dataclass(frozen=True)
class Failing:
    error: Any

    def write(self, part: StagedPart) -> Receipt:
        raise self.error


def test_errors_of_a_writer_keep_their_kind(make_table: Make, workers: SparkWorkers) -> None:
    table = make_table("s3", Strategy.APPEND)
    plan = table.plan(0, 9)
    for error, kind, words in [
        (Retryable("busy"), Retryable, "busy"),
        (OSError(28, "No space left"), OSError, "No space left"),
    ]:
        with pytest.raises(kind, match=words):
            workers.write(plan, Failing(error).write, plan.parts)


def test_a_session_that_went_away_is_replaced_by_the_next_try(make_table: Make, workers: SparkWorkers) -> None:
    table = make_table("postgresql", Strategy.APPEND)
    plan = table.plan(0, 9)
    workers.session()._jsparkSession.sparkContext().stop()  # as the loss of its master does
    with pytest.raises(Retryable, match="went away"):
        table.load(plan, workers.mapping(plan))
    assert table.left(plan) == []
    assert table.load(plan, workers.mapping(plan)).inserted == 9
