"""A run that is told to stop: a commit that was begun is finished, everything else leaves off and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.loading import load
from ownlens_plugins.engine.running import is_retryable
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.errors import Stopped
from ownlens_plugins.stopping import Stop, heeding, safe_point
from ownlens_plugins.testing import make_plan, sample_contract, sample_rows, sample_table

from .sqlite_destination import SqliteDestination, SqliteSession

ROWS = 20


@pytest.fixture
def plan(tmp_path: Path) -> LoadPlan:
    contract = sample_contract("events")
    table = sample_table(contract, sample_rows(ROWS))
    return make_plan(SqliteDestination, contract, table, tmp_path / "staged", parts=3)


def asking_after(stop: Stop, parts: int) -> Any:
    """Write parts, and ask for the stop after so many of them."""

    def mapped(write: Any, given: Any) -> Any:
        for number, part in enumerate(given, start=1):
            yield write(part)
            if number == parts:
                stop.ask("SIGTERM")

    return mapped


@pytest.mark.parametrize("parts", [0, 1, 3], ids=["before the first part", "between parts", "right before the commit"])
def test_a_load_leaves_off_and_leaves_nothing(sqlite: SqliteDestination, plan: LoadPlan, parts: int) -> None:
    stop = Stop()
    if parts == 0:
        stop.ask("SIGTERM")
    with heeding(stop), pytest.raises(Stopped, match=r"samples: sqlite: stopped \(SIGTERM\)") as stopped:
        load(sqlite, plan, map_parts=asking_after(stop, parts))
    assert not is_retryable(stopped.value)
    assert (sqlite.landed("samples"), sqlite.staged(), sqlite.find_commit(plan)) == ([], 0, None)
    assert load(sqlite, plan).rows == ROWS


def test_a_commit_that_was_begun_is_finished(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    stop = Stop()

    class Asking(SqliteSession):
        def commit(self, receipts: Any) -> Any:
            stop.ask("SIGTERM")
            return super().commit(receipts)

    sqlite.session_type = Asking
    with heeding(stop):
        assert load(sqlite, plan).rows == ROWS
    assert len(sqlite.landed("samples")) == ROWS


def test_a_destination_may_leave_off_inside_its_commit(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    stop, aborted = Stop(), []

    class LongCommit(SqliteSession):
        def apply(self, connection: Any, receipts: Any) -> Any:
            result = super().apply(connection, receipts)
            stop.ask("SIGTERM")
            safe_point(self.plan.table, self.plan.destination)
            return result

        def abort(self) -> None:
            aborted.append(self.attempt)
            super().abort()

    sqlite.session_type = LongCommit
    with heeding(stop), pytest.raises(Stopped):
        load(sqlite, plan)
    assert (len(aborted), sqlite.landed("samples"), sqlite.staged()) == (1, [], 0)


def test_staging_leaves_off_between_batches() -> None:
    contract = sample_contract("events")
    table, stop, read = sample_table(contract, sample_rows(ROWS)), Stop(), []

    def batches() -> Any:
        for batch in table.to_batches(max_chunksize=5):
            read.append(batch.num_rows)
            yield batch
            stop.ask("Ctrl-C")

    extracted = Extracted(pa.RecordBatchReader.from_batches(table.schema, batches()))
    with heeding(stop), pytest.raises(Stopped, match="samples: staging: stopped"):
        list(Conformed(contract, extracted).batches())
    assert len(read) <= 2


def test_a_load_that_was_committed_before_is_told_so_also_when_stopping(
    sqlite: SqliteDestination, plan: LoadPlan
) -> None:
    load(sqlite, plan)
    stop = Stop()
    stop.ask("SIGTERM")
    with heeding(stop):
        assert load(sqlite, plan).replayed
