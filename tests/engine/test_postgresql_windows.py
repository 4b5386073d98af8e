"""Extraction from the real PostgreSQL: windows, whole days, whole tables, and one snapshot for all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.engine.staging import StagingArea

from ..conftest import Database
from .staging_rows import ids, reads

READS = """
CREATE TABLE reads (read_id bigint PRIMARY KEY, title text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())
"""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def db(database: Database) -> Database:
    database.execute(READS)
    return database


def insert(db: Database, *read_ids: int, at: datetime | None = None) -> None:
    for read_id in read_ids:
        db.execute("INSERT INTO reads VALUES (%s, 't', coalesce(%s, now()), now())", (read_id, at))


def read(source: PostgreSQLSource, contract: TableContract, extraction: Extraction, window: Window) -> list[int]:
    with source.snapshot() as snapshot, snapshot.read(contract, Selection(extraction, window)) as extracted:
        return [value for batch in extracted.reader for value in batch.column(0).to_pylist()]


def run(db: Database, area: StagingArea, contract: TableContract, **options: Any) -> list[int] | None:
    """Stage the table's new rows as a run would, and return their ids."""
    with db.source(**options).snapshot() as snapshot:
        manifest = stage_table(contract, snapshot, area).manifest
    return None if manifest is None else sorted(ids(area, manifest))


@contextmanager
def open_transaction(db: Database, statement: str) -> Iterator[Any]:
    """A transaction of another session that has run a statement and not ended."""
    with db.connect() as connection:
        connection.execute(statement.encode())
        yield connection


def test_a_window_holds_its_start_and_not_its_end(db: Database) -> None:
    for number in range(4):
        insert(db, number, at=NOON + timedelta(hours=number))
    window = Window(NOON + timedelta(hours=1), NOON + timedelta(hours=3))
    assert read(db.source(), reads(), Extraction.WINDOW, window) == [1, 2]
    assert read(db.source(), reads(), Extraction.WINDOW, Window(None, NOON + timedelta(microseconds=1))) == [0]
    assert read(db.source(), reads(), Extraction.WINDOW, Window(None, None)) == [0, 1, 2, 3]


def test_windows_follow_one_another_without_gap_or_overlap(db: Database, area: StagingArea) -> None:
    staged: list[int] = []
    for number in range(5):
        insert(db, number, number + 100)
        staged += run(db, area, reads()) or []
    staged += run(db, area, reads()) or []
    assert sorted(staged) == sorted([*range(5), *range(100, 105)])
    windows = [manifest.window for manifest in area.manifests("reads")]
    assert [window.start for window in windows] == [None, *(window.end for window in windows[:-1])]
    assert run(db, area, reads()) is None


def test_the_lag_keeps_the_youngest_rows_for_the_next_run(db: Database, area: StagingArea) -> None:
    insert(db, 1, at=NOON)
    insert(db, 2)
    assert run(db, area, reads(), lag=timedelta(minutes=1)) == [1]
    assert run(db, area, reads(), lag=timedelta(minutes=1)) is None
    assert run(db, area, reads()) == [2]


def test_the_window_closes_where_the_source_counts_time(db: Database) -> None:
    before = datetime.now(UTC)
    with db.source(lag=timedelta(hours=1)).snapshot() as snapshot:
        assert before - timedelta(hours=1) <= snapshot.closes_at <= datetime.now(UTC) - timedelta(hours=1)


def test_an_event_that_arrives_late_is_found_by_its_cursor(db: Database, area: StagingArea) -> None:
    contract = reads(cursor="updated_at")  # created_at stands for the time of the event
    insert(db, 1)
    assert run(db, area, contract) == [1]
    insert(db, 2, at=NOON)
    assert run(db, area, contract) == [2]
    (_, late) = area.manifests("reads")
    assert late.touched is not None
    assert late.touched.first == NOON.date()


def test_a_transaction_older_than_the_window_holds_its_end_back(db: Database, area: StagingArea) -> None:
    with open_transaction(db, "INSERT INTO reads VALUES (1, 'early')") as late:
        insert(db, 2)
        assert run(db, area, reads()) == []  # the first set of a table may be empty; its window ends before the insert
        late.commit()
    assert run(db, area, reads()) == [1, 2]
    assert run(db, area, reads()) is None


def test_sessions_of_the_engine_itself_and_of_other_databases_hold_nothing_back(
    db: Database, area: StagingArea
) -> None:
    other = Database("postgres", db.folder, db.connection)
    with db.source().snapshot(), open_transaction(other, "SELECT 1"):
        insert(db, 1)
        assert run(db, area, reads()) == [1]


def test_a_row_committed_after_the_snapshot_is_in_no_table(db: Database) -> None:
    db.execute("CREATE TABLE others (LIKE reads INCLUDING ALL)")
    others = reads(table="others", path="news/others")
    insert(db, 1)
    everything = Selection(Extraction.WHOLE, Window(None, None))
    with db.source().snapshot() as snapshot:
        insert(db, 2)
        db.execute("INSERT INTO others SELECT * FROM reads")
        counts: dict[str, int] = {}

        def count(contract: TableContract) -> None:
            with snapshot.read(contract, everything) as extracted:
                counts[contract.table] = sum(batch.num_rows for batch in extracted.reader)

        threads = [threading.Thread(target=count, args=(contract,)) for contract in (reads(), others)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == {"reads": 1, "others": 0}
    assert read(db.source(), reads(), Extraction.WHOLE, Window(None, None)) == [1, 2]


def test_connections_of_a_snapshot_are_used_again_and_closed(db: Database) -> None:
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ownlens' AND datname = current_database()"
    )
    with db.source().snapshot() as snapshot:
        for _ in range(3):
            with snapshot.read(reads(), Selection(Extraction.WHOLE, Window(None, None))) as extracted:
                extracted.reader.read_all()
        assert db.execute(sessions).fetchone() == (2,)  # the one that exported the snapshot, and one that reads
    for _ in range(100):
        if db.execute(sessions).fetchone() == (0,):
            break
    assert db.execute(sessions).fetchone() == (0,)


def test_a_whole_table_comes_ordered_by_its_key(db: Database, area: StagingArea) -> None:
    contract = reads("reference")
    insert(db, 5, 1, 3)
    assert read(db.source(), contract, Extraction.WHOLE, Window(NOON, NOON)) == [1, 3, 5]
    assert run(db, area, contract) == [1, 3, 5]
    db.execute("UPDATE reads SET title = title WHERE read_id = 1")  # moves the row to the table's end
    assert run(db, area, contract) is None
    db.execute("UPDATE reads SET title = 'changed' WHERE read_id = 1")
    assert run(db, area, contract) == [1, 3, 5]


DAILY = """
CREATE TABLE days (page_id int, day date NOT NULL, views int, updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (page_id, day))
"""
DAYS = contract_from(
    {
        "table": "days",
        "domain": "news",
        "preset": "daily",
        "key": ["page_id", "day"],
        "partition_by": "day",
        "path": "news/days",
        "columns": {"page_id": "int32", "day": "date", "views": "int32", "updated_at": "timestamptz"},
    }
)


def test_days_are_extracted_whole_when_one_of_their_rows_changed(database: Database, area: StagingArea) -> None:
    database.execute(DAILY)
    database.execute(
        "INSERT INTO days SELECT p, date '2026-01-01' + d, 1 FROM generate_series(1, 3) p, generate_series(0, 4) d"
    )
    with database.source().snapshot() as snapshot:
        first = stage_table(DAYS, snapshot, area).manifest
    assert first is not None
    assert first.rows == 15
    database.execute("UPDATE days SET views = 2, updated_at = now() WHERE page_id = 2 AND day = '2026-01-03'")
    database.execute("INSERT INTO days VALUES (9, '2026-01-05', 1)")
    with database.source().snapshot() as snapshot:
        second = stage_table(DAYS, snapshot, area).manifest
    assert second is not None
    found = [batch for part in area.parts(second) for batch in part.read()]
    rows = pa.Table.from_batches(found).to_pylist()
    assert sorted((row["day"].day, row["page_id"], row["views"]) for row in rows) == [
        (3, 1, 1),
        (3, 2, 2),
        (3, 3, 1),
        (5, 1, 1),
        (5, 2, 1),
        (5, 3, 1),
        (5, 9, 1),
    ]
    assert second.touched is not None
    assert (second.touched.first, second.touched.last) == (date(2026, 1, 3), date(2026, 1, 5))
    with database.source().snapshot() as snapshot:
        assert stage_table(DAYS, snapshot, area).manifest is None


@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_cursors_without_a_zone_count_in_utc(database: Database, kind: str) -> None:
    database.execute("ALTER DATABASE " + database.name + " SET timezone = 'America/New_York'")
    database.execute(f"CREATE TABLE reads (read_id bigint, at {kind} NOT NULL)")
    database.execute(
        "INSERT INTO reads SELECT h, timestamp '2026-01-01' + h * interval '1 hour' FROM generate_series(0, 47) h"
    )
    contract = contract_from(
        {
            "table": "reads",
            "domain": "news",
            "preset": "events",
            "key": ["read_id"],
            "cursor": "at",
            "path": "news/reads",
            "columns": {"read_id": "int64", "at": kind},
        }
    )
    window = Window(datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 1, 2, 5, tzinfo=UTC))
    found = read(database.source(), contract, Extraction.WINDOW, window)
    assert found == (list(range(5, 29)) if kind == "timestamp" else list(range(24)))


def test_a_null_cursor_goes_to_quarantine_and_is_not_passed_over(db: Database, area: StagingArea) -> None:
    db.execute("ALTER TABLE reads ALTER created_at DROP NOT NULL")
    insert(db, 1)
    db.execute("INSERT INTO reads VALUES (2, 'lost', NULL)")
    assert run(db, area, reads()) == [1]
    quarantined = area.quarantined(area.manifests("reads")[0])
    assert quarantined is not None
    assert quarantined["reason"].to_pylist() == ["created_at: is null, but the contract does not allow it"]


def test_a_null_day_goes_to_quarantine_and_is_not_passed_over(database: Database, area: StagingArea) -> None:
    database.execute(DAILY.replace("day date NOT NULL", "day date").replace(",\n    PRIMARY KEY (page_id, day)", ""))
    database.execute("INSERT INTO days VALUES (1, NULL, 1), (1, '2026-01-01', 1)")
    with database.source().snapshot() as snapshot:
        manifest = stage_table(DAYS, snapshot, area).manifest
    assert manifest is not None
    assert (manifest.rows, manifest.rejected) == (1, 1)
