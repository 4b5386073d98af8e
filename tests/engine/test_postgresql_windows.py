"""Extraction from the real PostgreSQL: windows, whole days, whole tables, and one snapshot for all of them."""

from __future__ import annotations

import threading
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
from .postgresql_reads import db as db
from .postgresql_reads import insert, run
from .staging_rows import reads

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def read(source: PostgreSQLSource, contract: TableContract, extraction: Extraction, window: Window) -> list[int]:
    with source.snapshot() as snapshot, snapshot.read(contract, Selection(extraction, window)) as extracted:
        return [value for batch in extracted.reader for value in batch.column(0).to_pylist()]


def test_a_window_holds_everything_from_its_start_on(db: Database) -> None:
    for number in range(4):
        insert(db, number, at=NOON + timedelta(hours=number))
    window = Window(NOON + timedelta(hours=1), NOON + timedelta(hours=3))
    assert read(db.source(), reads(), Extraction.WINDOW, window) == [1, 2, 3]
    assert read(db.source(), reads(), Extraction.WINDOW, Window(None, None)) == [0, 1, 2, 3]


def test_windows_follow_one_another_without_gap_or_overlap(db: Database, area: StagingArea) -> None:
    staged: list[int] = []
    for number in range(5):
        insert(db, number, number + 100)
        staged += run(db, area, reads()) or []
    staged += run(db, area, reads()) or []
    assert sorted(staged) == sorted([*range(5), *range(100, 105)])
    assert run(db, area, reads()) is None


def test_the_lag_moves_the_next_start_and_holds_nothing_back(db: Database, area: StagingArea) -> None:
    insert(db, 1)
    assert run(db, area, reads(look_back="0s"), lag=timedelta(minutes=1)) == [1]
    assert run(db, area, reads(look_back="0s"), lag=timedelta(minutes=1)) is None
    insert(db, 2)
    assert run(db, area, reads(look_back="0s")) == [2]


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


def test_of_several_cursors_the_first_that_is_not_null_counts(db: Database, area: StagingArea) -> None:
    db.execute("ALTER TABLE reads ALTER updated_at DROP NOT NULL, ALTER updated_at DROP DEFAULT")
    columns = {"read_id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz?"}
    contract = reads("entity", cursor=["updated_at", "created_at"], columns=columns)
    db.execute("INSERT INTO reads VALUES (1, 'new'), (2, 'new')")
    assert run(db, area, contract) == [1, 2]
    assert run(db, area, contract) is None
    db.execute("UPDATE reads SET title = 'changed', updated_at = now() WHERE read_id = 2")
    db.execute("INSERT INTO reads VALUES (3, 'new')")
    assert run(db, area, contract) == [2, 3]
    assert [manifest.rejected for manifest in area.manifests("reads")] == [0, 0]


def test_several_cursors_use_their_indexes(db: Database) -> None:
    db.execute("ALTER TABLE reads ALTER updated_at DROP NOT NULL")
    db.execute("CREATE INDEX ON reads (created_at); CREATE INDEX ON reads (updated_at)")
    db.execute(
        "INSERT INTO reads SELECT n, 't', now() - n * interval '1 minute', CASE WHEN n % 2 = 0 THEN now() - n * "
        "interval '1 minute' END FROM generate_series(1, 50000) n; ANALYZE reads"
    )
    columns = {"read_id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz?"}
    contract = reads("entity", cursor=["updated_at", "created_at"], columns=columns)
    with db.source().snapshot() as snapshot:
        selection = Selection(
            Extraction.WINDOW, Window(datetime.now(UTC) - timedelta(hours=1), None), snapshot.facts.seen
        )
        statement = snapshot._statement(contract, selection)
    plan = "\n".join(str(row[0]) for row in db.execute(f"EXPLAIN {statement}"))
    assert "Seq Scan" not in plan
    assert plan.count("Index Scan") == 2


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


def local_reads(kind: str, **changes: Any) -> TableContract:
    return contract_from(
        {
            "table": "reads",
            "domain": "news",
            "preset": "events",
            "key": ["read_id"],
            "cursor": "at",
            "path": "news/reads",
            "columns": {"read_id": "int64", "at": kind},
            **changes,
        }
    )


@pytest.mark.parametrize("kind", ["timestamp", "date"])
@pytest.mark.parametrize(("zone", "hours"), [(None, 5), ("UTC", 0), ("Asia/Tokyo", -9)])
def test_cursors_without_a_zone_are_read_in_the_sources_zone_or_the_contracts(
    database: Database, kind: str, zone: str | None, hours: int
) -> None:
    database.execute("ALTER DATABASE " + database.name + " SET timezone = 'America/New_York'")
    database.execute(f"CREATE TABLE reads (read_id bigint, at {kind} NOT NULL)")
    database.execute(
        "INSERT INTO reads SELECT h, timestamp '2026-01-01' + h * interval '1 hour' FROM generate_series(0, 47) h"
    )
    start = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(hours=hours)
    found = read(database.source(), local_reads(kind, cursor_zone=zone), Extraction.WINDOW, Window(start, None))
    # An hour comes twice when summer time ends, so two hours more are read.
    assert found == (list(range(22, 48)) if kind == "timestamp" else list(range(48)))


@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_local_times_far_from_utc_miss_nothing(database: Database, area: StagingArea, kind: str) -> None:
    database.execute("ALTER DATABASE " + database.name + " SET timezone = 'America/Los_Angeles'")
    database.execute(f"CREATE TABLE reads (read_id bigint PRIMARY KEY, at {kind} NOT NULL DEFAULT now())")
    contract = local_reads(kind, look_back="0s")
    for number in (1, 2, 3):
        with database.connect() as writer:  # a session of the database's own zone
            writer.execute("INSERT INTO reads VALUES (%s)", (number,))
        assert run(database, area, contract) == [number]
    assert run(database, area, contract) is None


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
