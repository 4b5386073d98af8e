"""New is what the snapshot before cannot have seen: transactions, rewrites, views, rights, on the real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.running import stage_keys, stage_table
from ownlens_plugins.engine.sources import postgresql_snapshot
from ownlens_plugins.engine.sources.source import Extracted, Selection
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import next_request
from ownlens_plugins.errors import Rejected, Retryable

from ..conftest import Database, new_database
from .postgresql_reads import READS, insert, open_transaction, run
from .postgresql_reads import db as db
from .staging_rows import ids, reads, staged_rows


def test_rows_of_an_open_transaction_come_once_it_commits_and_hold_nothing_back(
    db: Database, area: StagingArea
) -> None:
    with open_transaction(db, "INSERT INTO reads VALUES (1, 'early')") as late:
        insert(db, 2)
        assert run(db, area, reads(look_back="0s")) == [2]
        insert(db, 3)
        assert run(db, area, reads(look_back="0s")) == [3]
        assert run(db, area, reads(look_back="0s")) is None
        late.commit()
    assert run(db, area, reads(look_back="0s")) == [1]
    assert run(db, area, reads(look_back="0s")) is None


def test_rows_written_below_a_savepoint_come_although_no_snapshot_names_them(db: Database, area: StagingArea) -> None:
    insert(db, 0)
    with open_transaction(db, "INSERT INTO reads VALUES (1, 'top')") as late:
        late.execute("SAVEPOINT one")
        late.execute("INSERT INTO reads VALUES (2, 'below')")
        late.execute("DO $$ BEGIN INSERT INTO reads VALUES (3, 'block'); EXCEPTION WHEN others THEN NULL; END $$")
        assert run(db, area, reads()) == [0]
        late.commit()
    assert run(db, area, reads()) == [1, 2, 3]
    assert run(db, area, reads()) is None


def test_a_backdated_row_comes_once_within_the_look_back_and_not_behind_it(db: Database, area: StagingArea) -> None:
    now = datetime.now(UTC)
    insert(db, 1)
    assert run(db, area, reads()) == [1]
    insert(db, 2, at=now - timedelta(hours=23))
    insert(db, 3, at=now - timedelta(hours=25))
    assert run(db, area, reads()) == [2]
    insert(db, 4, at=now - timedelta(days=3000))
    assert run(db, area, reads()) is None
    assert run(db, area, reads(look_back="all")) is None  # its run before has seen row 4, and looked not so far behind
    insert(db, 5, at=now - timedelta(days=3000))
    assert run(db, area, reads(look_back="all")) == [5]


def test_a_cursor_in_the_future_comes_at_once_and_once(db: Database, area: StagingArea) -> None:
    insert(db, 1, at=datetime(2999, 1, 1, tzinfo=UTC))
    assert run(db, area, reads()) == [1]
    assert run(db, area, reads()) is None
    insert(db, 2)
    assert run(db, area, reads()) == [2]


@pytest.mark.parametrize("preset", ["events", "entity"])
def test_an_update_without_a_stamp_is_news_for_an_upsert_only(db: Database, area: StagingArea, preset: str) -> None:
    insert(db, 1, 2)
    assert run(db, area, reads(preset)) == [1, 2]
    db.execute("UPDATE reads SET title = 'changed' WHERE read_id = 2")
    assert run(db, area, reads(preset)) == (None if preset == "events" else [2])
    insert(db, 3)
    db.execute("UPDATE reads SET title = 'again' WHERE read_id = 2")
    assert run(db, area, reads(preset)) == ([3] if preset == "events" else [2, 3])
    newest = area.manifests("reads")[-1]
    assert (newest.left_out, newest.left_out_changed) == ((1, 1) if preset == "events" else (0, 0))


@pytest.mark.parametrize("preset", ["events", "entity"])
def test_a_table_that_is_rewritten_has_no_news(db: Database, area: StagingArea, preset: str) -> None:
    insert(db, 1, 2)
    assert run(db, area, reads(preset)) == [1, 2]
    db.execute("ALTER TABLE reads ALTER title TYPE varchar(50), ADD extra float DEFAULT random()")
    db.execute("VACUUM FULL reads")
    assert run(db, area, reads(preset)) is None
    assert run(db, area, reads(preset)) is None


@pytest.mark.parametrize("preset", ["events", "entity"])
def test_a_view_cannot_tell_so_its_look_back_is_read_again_and_left_out(
    db: Database, area: StagingArea, preset: str
) -> None:
    db.execute("ALTER TABLE reads RENAME TO kept")
    db.execute("CREATE VIEW reads AS SELECT * FROM kept")

    def put(number: int) -> None:
        db.execute("INSERT INTO kept VALUES (%s, 't')", (number,))

    put(1)
    assert run(db, area, reads(preset)) == [1]
    assert run(db, area, reads(preset)) is None
    with open_transaction(db, "INSERT INTO kept VALUES (2, 'late')") as late:
        put(3)
        assert run(db, area, reads(preset)) == [3]
        late.commit()
    assert run(db, area, reads(preset)) == [2]
    db.execute("UPDATE kept SET title = 'changed' WHERE read_id = 3")
    assert run(db, area, reads(preset)) == (None if preset == "events" else [3])


@pytest.mark.parametrize("kind", ["partitioned", "inherited"])
def test_tables_of_several_tables_can_tell(db: Database, area: StagingArea, kind: str) -> None:
    db.execute("DROP TABLE reads")
    by, child = ("PARTITION BY LIST (read_id)", "PARTITION OF reads DEFAULT") if kind == "partitioned" else ("", "")
    columns = READS.removesuffix("\n").replace("PRIMARY KEY", "NOT NULL")
    db.execute(f"{columns} {by}")
    db.execute(f"CREATE TABLE leaf {child}" if child else "CREATE TABLE leaf () INHERITS (reads)")
    db.execute("INSERT INTO leaf VALUES (1, 't')")
    with db.source().snapshot() as snapshot:
        assert snapshot.seen(reads()) is not None
    assert run(db, area, reads()) == [1]
    db.execute("INSERT INTO leaf VALUES (2, 't', %s)", (datetime.now(UTC) - timedelta(hours=20),))
    assert run(db, area, reads()) == [2]
    assert run(db, area, reads()) is None


def test_views_materialized_and_foreign_tables_and_what_is_made_of_them_cannot_tell(db: Database) -> None:
    db.execute("CREATE FOREIGN DATA WRAPPER away")
    db.execute("CREATE SERVER away FOREIGN DATA WRAPPER away")
    db.execute("CREATE FOREIGN TABLE foreigner (read_id bigint) SERVER away")
    db.execute("CREATE TABLE parts (read_id bigint) PARTITION BY LIST (read_id)")
    db.execute("CREATE FOREIGN TABLE part PARTITION OF parts DEFAULT SERVER away")
    db.execute("CREATE VIEW view AS SELECT * FROM reads")
    db.execute("CREATE MATERIALIZED VIEW copy AS SELECT * FROM reads")
    with db.source().snapshot() as snapshot:
        told = {name: snapshot.seen(reads(table=name)) is not None for name in ("reads", "foreigner", "parts", "view")}
        assert told == {"reads": True, "foreigner": False, "parts": False, "view": False}
        assert snapshot.seen(reads(table="copy")) is None


@pytest.mark.parametrize("how", ["attached", "inherited", "renamed"])
def test_rows_that_were_written_long_ago_in_another_table_come_with_it(
    db: Database, area: StagingArea, how: str
) -> None:
    if how == "attached":
        columns = READS.removesuffix("\n").replace("PRIMARY KEY", "NOT NULL")
        db.execute("DROP TABLE reads")
        db.execute(f"{columns} PARTITION BY RANGE (read_id)")
        db.execute("CREATE TABLE first PARTITION OF reads FOR VALUES FROM (0) TO (10)")
    db.execute("CREATE TABLE other (LIKE reads INCLUDING DEFAULTS)")
    db.execute("INSERT INTO other VALUES (11, 't'), (12, 't')")
    insert(db, 1)
    assert run(db, area, reads()) == [1]
    if how == "attached":
        db.execute("ALTER TABLE reads ATTACH PARTITION other FOR VALUES FROM (10) TO (20)")
    elif how == "inherited":
        db.execute("ALTER TABLE other ALTER read_id SET NOT NULL, INHERIT reads")
    else:
        db.execute("ALTER TABLE reads RENAME TO old; ALTER TABLE other RENAME TO reads")
    assert run(db, area, reads()) == [11, 12]
    assert run(db, area, reads()) is None


def test_texts_are_utf8_whatever_the_session_is_set_to(
    db: Database, area: StagingArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute(f"ALTER DATABASE {db.name} SET client_encoding = 'LATIN1'")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGDATESTYLE", "German")
    db.execute("INSERT INTO reads VALUES (1, 'Ã©')")
    assert run(db, area, reads()) == [1]
    (manifest,) = area.manifests("reads")
    assert [row["title"] for row in staged_rows(area, manifest)] == ["Ã©"]


def test_the_zone_is_the_databases_and_not_the_sessions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.source().snapshot() as snapshot:
        assert snapshot.facts.zone not in {"", "Asia/Tokyo"}
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    with db.source().snapshot() as snapshot:
        assert snapshot.facts.zone == ""
    db.execute(f"ALTER DATABASE {db.name} SET timezone = 'America/Lima'")
    with db.source().snapshot() as snapshot:
        assert snapshot.facts.zone == "America/Lima"


def test_two_runs_that_decide_at_once_stage_each_row_once(db: Database, area: StagingArea) -> None:
    insert(db, 1)
    with db.source().snapshot() as first, db.source().snapshot() as second:
        requests = [next_request(reads(), snapshot, area.manifests("reads")) for snapshot in (first, second)]
        assert all(request is not None for request in requests)
        with first.read(reads(), requests[0].selection) as rows:  # type: ignore[union-attr]
            assert area.stage(reads(), rows, requests[0]) is not None  # type: ignore[arg-type]
        with (
            second.read(reads(), requests[1].selection) as rows,  # type: ignore[union-attr]
            pytest.raises(Retryable, match="another run staged set 1 at the same time"),
        ):
            area.stage(reads(), rows, requests[1])  # type: ignore[arg-type]
        assert stage_table(reads(), second, area).manifest is None  # as the flow tries again
    assert [manifest.rows for manifest in area.manifests("reads")] == [1]


def test_rows_of_another_users_open_transaction_come_without_the_right_to_see_it(
    db: Database, area: StagingArea
) -> None:
    db.execute("CREATE ROLE writer LOGIN; CREATE ROLE plain LOGIN; GRANT ALL ON reads TO writer")
    db.execute("GRANT SELECT ON reads TO plain")
    try:
        with psycopg.connect(host=str(db.folder), dbname=db.name, user="writer") as writer:
            writer.execute("INSERT INTO reads VALUES (1, 'early')")
            assert run(db, area, reads(look_back="0s"), user="plain") == []
            writer.commit()
        assert run(db, area, reads(look_back="0s"), user="plain") == [1]
    finally:
        db.execute("DROP OWNED BY writer, plain; DROP ROLE writer, plain")


def test_a_transaction_that_has_been_open_for_long_is_told(
    db: Database, area: StagingArea, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_transaction(db, "INSERT INTO reads VALUES (1, 'early')"):
        insert(db, 2)
        run(db, area, reads())
        assert "holds a transaction open" not in caplog.text
        monkeypatch.setattr(postgresql_snapshot, "HELD_FOR", timedelta(0))
        run(db, area, reads())
        assert " of postgres (without a name, idle in transaction) holds a transaction open since 20" in caplog.text
        assert "rows written since are read again in each run until it ends" in caplog.text


def test_a_session_that_only_reads_for_long_is_named_with_its_application(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_snapshot, "HELD_FOR", timedelta(0))
    with db.connect(application_name="nightly dump") as reader:
        reader.execute("SELECT 1")
        (pid,) = reader.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        with db.source().snapshot() as snapshot:
            held = snapshot.held
    assert held.startswith(f"source: session {pid} of postgres (nightly dump, idle in transaction) holds a transaction")
    assert "UTC; nothing is missed" in held
    with db.source().snapshot() as snapshot:
        assert snapshot.held == ""


def test_another_database_is_refused_in_the_same_staging_area(db: Database, area: StagingArea) -> None:
    insert(db, 1)
    assert run(db, area, reads()) == [1]
    with new_database(db.folder) as other:
        other.execute(READS)
        insert(other, 2)
        with pytest.raises(Rejected, match="reads: the staged sets came from another source \\(database 'test_"):
            run(other, area, reads())
        assert run(other, area, reads(), source_moved=True) == [2]
        assert run(other, area, reads()) is None


def test_a_source_that_moved_without_news_has_moved(db: Database, area: StagingArea) -> None:
    insert(db, 1)
    assert run(db, area, reads()) == [1]
    with new_database(db.folder) as other:
        other.execute(READS)
        other.execute("INSERT INTO reads SELECT 1, 't', %s, now()", (datetime.now(UTC),))
        assert run(other, area, reads(), source_moved=True) is None
        assert run(other, area, reads()) is None
        insert(other, 2)
        assert run(other, area, reads()) == [2]


@dataclass(frozen=True)
class Between:
    """A snapshot, and what somebody else does once its rows are staged."""

    snapshot: Any
    act: Callable[[], object]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.snapshot, name)

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        with self.snapshot.read(contract, selection) as extracted:
            yield extracted
        if not selection.keys_only:
            self.act()


def test_keys_follow_the_rows_of_their_own_snapshot_only(db: Database, area: StagingArea) -> None:
    contract = reads("entity", deletes="follow")
    insert(db, 1)
    run(db, area, contract)
    with db.source().snapshot() as older:
        insert(db, 2)
        assert run(db, area, contract) == [2]  # a rival's set, after which the older keys would delete row 2
        with pytest.raises(Retryable, match="another run staged set 2 at the same time"):
            stage_keys(contract, older, area, after=1)
    insert(db, 3)
    with db.source().snapshot() as snapshot:
        between = Between(snapshot, lambda: (insert(db, 4), run(db, area, contract)))
        with pytest.raises(Retryable, match="another run staged set 4 at the same time"):
            stage_table(contract, between, area, sweep_deletes=True)
    db.execute("DELETE FROM reads WHERE read_id IN (1, 3, 4)")
    with db.source().snapshot() as snapshot:
        swept = stage_table(contract, snapshot, area, sweep_deletes=True).manifest
    assert swept is not None
    assert (swept.covers, swept.rows, ids(area, swept)) == (Covers(keys_only=True), 1, [2])
