"""Each case in which extraction lost or doubled rows: alone, small, and by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from ownlens_plugins.errors import OwnLensError
from tests.postgresql_servers import PASSWORD

from .clicking import click, writer
from .overtaking import Overtaken
from .servers import Cluster
from .tables import ARTICLES, CLICKS, SECTIONS, create
from .worlds import World

# --- two runs at once


@pytest.mark.parametrize("before", [0, 3], ids=["first-set", "later-set"])
def test_two_runs_at_once_take_each_row_once(clicks: World, before: int) -> None:
    click(clicks, *range(before))
    clicks.run(CLICKS)
    click(clicks, 10, 11)
    with clicks.snapshot() as nightly, clicks.snapshot() as adhoc:
        overtaken: Any = Overtaken(nightly, lambda: clicks.stage(CLICKS, adhoc))
        clicks.stage(CLICKS, overtaken)
    clicks.load(CLICKS)
    clicks.require_source(CLICKS, "two runs at once")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a run after two at once")


def test_a_run_that_began_earlier_and_stages_later_loses_and_doubles_nothing(clicks: World) -> None:
    click(clicks, 1)
    with clicks.snapshot() as earlier:
        click(clicks, 2)
        with clicks.snapshot() as later:
            clicks.stage(CLICKS, later)
        clicks.stage(CLICKS, earlier)
    click(clicks, 3)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "an older snapshot staged after a newer one")


def test_an_older_snapshot_never_takes_a_whole_table_back(world: World) -> None:
    world.execute(create(SECTIONS))
    world.execute("INSERT INTO sections VALUES (1, 'old')")
    with world.snapshot() as earlier:
        world.execute("UPDATE sections SET name = 'new', updated_at = now()")
        with world.snapshot() as later:
            world.stage(SECTIONS, later)
        with suppress(OwnLensError):  # or it gives up with one clear line
            world.stage(SECTIONS, earlier)
    world.load(SECTIONS)
    world.require_source(SECTIONS, "an older snapshot of a whole table after a newer one")


def test_snapshots_with_the_same_bounds_are_told_apart(world: World) -> None:
    """A transaction in the middle ends: neither `xmin` nor `xmax` says that the later snapshot is another one."""
    world.execute(create(SECTIONS))
    world.execute("INSERT INTO sections VALUES (1, 'old'), (2, 'b'), (3, 'c')")
    with writer(world) as first, writer(world) as middle, writer(world) as last:
        first.execute("UPDATE sections SET name = 'never' WHERE section_id = 2")
        middle.execute("UPDATE sections SET name = 'new', updated_at = now() WHERE section_id = 1")
        last.execute("UPDATE sections SET name = 'c' WHERE section_id = 3")
        last.commit()
        with world.snapshot() as earlier:
            middle.commit()
            with world.snapshot() as later:
                world.stage(SECTIONS, later)
            with suppress(OwnLensError):  # or it gives up with one clear line
                world.stage(SECTIONS, earlier)
        newest = world.area().latest("sections")
        assert newest is not None
        names = [row["name"] for part in world.area().parts(newest) for b in part.read() for row in b.to_pylist()]
        assert sorted(names) == ["b", "c", "new"], "an older snapshot took a whole table back"


def test_two_runs_at_once_of_an_entity_keep_the_newest_rows(world: World) -> None:
    world.execute(create(ARTICLES))
    world.execute("INSERT INTO articles (article_id, note, day) VALUES (1, 'old', '2026-01-01')")
    world.run(ARTICLES)
    with world.snapshot() as earlier:
        world.execute("UPDATE articles SET note = 'new', updated_at = now()")
        world.execute("INSERT INTO articles (article_id, day) VALUES (2, '2026-01-01')")
        with world.snapshot() as later:
            overtaken: Any = Overtaken(earlier, lambda: world.stage(ARTICLES, later))
            with suppress(OwnLensError):  # or it gives up with one clear line
                world.stage(ARTICLES, overtaken)
    world.run(ARTICLES)
    world.require_source(ARTICLES, "an older run that overlapped a newer one")


# --- transactions that a run cannot see end


def test_a_prepared_transaction_that_is_committed_later_comes(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'case'")
        connection.commit()
    click(clicks, 2)
    clicks.run(CLICKS)
    clicks.execute("COMMIT PREPARED 'case'")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a prepared transaction")


def test_writers_of_other_users_without_pg_read_all_stats_come(clicks: World) -> None:
    hashed = PASSWORD.replace("'", "''").replace("\\", "\\\\")
    for role in ("truth_reader", "truth_writer"):
        if not clicks.primary.sql(f"SELECT FROM pg_roles WHERE rolname = '{role}'"):
            clicks.primary.sql(f"CREATE ROLE {role} LOGIN PASSWORD E'{hashed}'")
    clicks.execute("GRANT SELECT ON clicks TO truth_reader; GRANT INSERT ON clicks TO truth_writer")
    clicks.user = "truth_reader"
    with clicks.primary.connect(clicks.database, "truth_writer") as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO clicks VALUES (1)")
        click(clicks, 2)
        clicks.run(CLICKS)
        connection.execute("COMMIT")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a writer that the run's role cannot see")


def test_an_open_transaction_of_the_same_user_comes_and_holds_nothing_back(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        click(clicks, 2)
        clicks.run(CLICKS)
        clicks.require_source(CLICKS, "an open transaction holds back no other rows")
        connection.commit()
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "an open transaction")


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT count(*) FROM clicks"], ids=["idle", "dump"])
def test_an_idle_transaction_or_a_dump_does_not_hold_windows_back(clicks: World, statement: str) -> None:
    with writer(clicks) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute(statement.encode())
        for number in range(3):
            click(clicks, number)
            clicks.run(CLICKS)
            clicks.require_source(CLICKS, "beside an idle transaction")


def test_rows_written_below_a_savepoint_come(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        with connection.transaction():
            connection.execute("INSERT INTO clicks VALUES (2)")
        click(clicks, 3)
        clicks.run(CLICKS)
        connection.commit()
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "rows below a savepoint")


def test_rows_of_a_block_with_exception_come(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute(
            "DO $$ BEGIN INSERT INTO clicks VALUES (1); EXCEPTION WHEN unique_violation THEN NULL; END $$"
        )
        click(clicks, 3)
        clicks.run(CLICKS)
        connection.commit()
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "rows of a PL/pgSQL block with EXCEPTION")


def test_a_prepared_subtransaction_that_is_committed_after_two_runs_comes(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute("SELECT 1")
        with connection.transaction():
            connection.execute("INSERT INTO clicks VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'below'")
        connection.commit()
    for number in (2, 3):
        click(clicks, number)
        clicks.run(CLICKS)
    clicks.execute("COMMIT PREPARED 'below'")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a prepared transaction with a savepoint")


# --- standbys


def test_a_standby_that_is_behind_gives_its_rows_later(clicks: World, cluster: Cluster) -> None:
    clicks.place = cluster.standby()
    click(clicks, 1)
    cluster.catch_up()
    clicks.run(CLICKS)
    click(clicks, 2)
    cluster.catch_up()
    cluster.pause()
    try:
        click(clicks, 3)
        clicks.run(CLICKS)
    finally:
        cluster.resume()
    cluster.catch_up()
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a standby that was behind")


def test_a_transaction_open_on_the_primary_comes_through_the_standby(clicks: World, cluster: Cluster) -> None:
    clicks.place = cluster.standby()
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        with connection.transaction():
            connection.execute("INSERT INTO clicks VALUES (2)")
        click(clicks, 3)
        cluster.catch_up()
        clicks.run(CLICKS)
        connection.commit()
    cluster.catch_up()
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a transaction that was open on the primary")


def test_a_promoted_standby_goes_on_without_gap_or_double(clicks: World, cluster: Cluster) -> None:
    cluster.standby()
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        click(clicks, 2)
        clicks.run(CLICKS)
        connection.commit()
    cluster.catch_up()
    clicks.primary = cluster.promote()
    click(clicks, 3)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "the first run after a promotion")
    click(clicks, 4)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "the second run after a promotion")


def test_a_promoted_standby_whose_numbers_lie_behind_loses_nothing(clicks: World, cluster: Cluster) -> None:
    """What the old primary had committed last never came over; the new timeline gives its numbers away again."""
    cluster.standby()
    click(clicks, 1)
    cluster.catch_up()
    cluster.pause()
    for number in range(10):
        clicks.execute("CREATE TABLE IF NOT EXISTS noise (n int)")
        clicks.execute(f"INSERT INTO noise VALUES ({number})")
    clicks.run(CLICKS)
    clicks.primary.sql("CHECKPOINT")
    clicks.primary = cluster.promote()
    click(clicks, 2)
    clicks.run(CLICKS)
    click(clicks, 3)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a promotion that lost the last transactions")


# --- one staging folder, one source


def test_two_profiles_do_not_share_a_staging_folder(make_world: Callable[[], World]) -> None:
    dev, prod = make_world(), make_world()
    for world, number in ((dev, 1), (prod, 2)):
        world.execute(create(CLICKS))
        click(world, number)
    prod.folder = dev.folder
    dev.run(CLICKS)
    with pytest.raises(OwnLensError, match="clicks") as refused:
        prod.run(CLICKS)
    assert "\n" not in str(refused.value)
    dev.run(CLICKS)
    dev.require_source(CLICKS, "a staging folder that another profile tried")
    prod.require(CLICKS, [], "a profile that was refused")


def test_two_schemas_do_not_share_a_staging_folder(clicks: World) -> None:
    click(clicks, 1)
    clicks.run(CLICKS)
    clicks.execute("CREATE SCHEMA other; " + create(CLICKS, schema="other"))
    clicks.execute("INSERT INTO other.clicks VALUES (7)")
    clicks.schema = "other"
    with pytest.raises(OwnLensError, match="clicks"):
        clicks.run(CLICKS)
    clicks.schema = "public"
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a staging folder that another schema tried")
