"""Cases of cursors and of rows that change, alone, small, and by name: zones, stamps, rewrites, refused rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .clicking import click, writer
from .tables import ARTICLES, CLICKS, PROFILES, VISITS, create
from .worlds import World


def test_a_cursor_in_local_time_west_of_utc_misses_nothing(world: World) -> None:
    world.execute(create(VISITS))
    for number in range(3):
        world.execute(f"INSERT INTO visits VALUES ({number})")
        world.run(VISITS)
        world.require_source(VISITS, "a cursor in local time")


def test_a_cursor_in_the_zone_of_the_source_itself_misses_nothing(world: World) -> None:
    visits = replace(VISITS, cursor_zone=None)
    world.execute(f"ALTER DATABASE {world.database} SET timezone = 'America/Los_Angeles'")
    world.execute(create(VISITS))
    for number in range(3):
        world.execute(f"INSERT INTO visits VALUES ({number})")
        world.run(visits)
        world.require_source(visits, "a cursor in the source's own zone")


def test_backdated_rows_within_the_look_back_come_once(clicks: World) -> None:
    click(clicks, 1)
    clicks.run(CLICKS)
    click(clicks, 2, at="now() - interval '3 hours'")
    click(clicks, 3, at="now() - interval '20 hours'")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "backdated rows")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "backdated rows, once")


def test_a_cursor_in_the_future_comes_at_once_and_once(clicks: World) -> None:
    click(clicks, 1, at="now() + interval '30 days'")
    click(clicks, 2)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a cursor in the future")
    for number in (3, 4):
        click(clicks, number)
        clicks.run(CLICKS)
        clicks.require_source(CLICKS, "runs after a cursor in the future")


def test_rows_without_updated_at_come_and_so_do_their_updates(world: World) -> None:
    world.execute(create(PROFILES))
    world.execute("INSERT INTO profiles VALUES (1, 'a'), (2, 'b')")
    (first,) = world.run(PROFILES)
    assert first is not None
    assert first.rejected == 0
    world.require_source(PROFILES, "updated_at is null until the first update")
    assert world.run(PROFILES) == [None], "rows without updated_at are staged again in every run"
    world.execute("UPDATE profiles SET note = 'changed', updated_at = now() WHERE profile_id = 1")
    world.run(PROFILES)
    world.require_source(PROFILES, "the first update")


def test_a_change_without_a_stamp_comes_to_an_entity(world: World) -> None:
    world.execute(create(ARTICLES))
    world.execute("INSERT INTO articles (article_id, note, day) VALUES (1, 'a', '2026-01-01')")
    world.run(ARTICLES)
    world.execute("UPDATE articles SET note = 'b'")
    world.run(ARTICLES)
    world.require_source(ARTICLES, "an update that does not move the cursor")


def test_a_change_without_a_stamp_does_not_come_twice_into_an_append(clicks: World) -> None:
    click(clicks, 1, 2)
    first = clicks.rows(CLICKS)
    clicks.run(CLICKS)
    clicks.execute("UPDATE clicks SET note = 'changed' WHERE click_id = 1")
    clicks.run(CLICKS)
    clicks.require(CLICKS, first, "an append keeps a row as it was first loaded")


REWRITES = (
    "ALTER TABLE clicks ALTER click_id TYPE numeric; ALTER TABLE clicks ALTER click_id TYPE bigint",
    "ALTER TABLE clicks ADD COLUMN extra uuid DEFAULT gen_random_uuid(); ALTER TABLE clicks DROP COLUMN extra",
    "ALTER TABLE clicks SET UNLOGGED; ALTER TABLE clicks SET LOGGED",
    "CREATE TABLE copied (LIKE clicks INCLUDING ALL); INSERT INTO copied SELECT * FROM clicks; "
    "DROP TABLE clicks; ALTER TABLE copied RENAME TO clicks",
    "VACUUM FULL clicks",
    "VACUUM (FREEZE) clicks",
    "CLUSTER clicks USING clicks_pkey",
)


@pytest.mark.parametrize("rewrite", REWRITES, ids=[text[:30].replace(" ", "-") for text in REWRITES])
def test_a_rewritten_table_is_not_loaded_again(clicks: World, rewrite: str) -> None:
    click(clicks, 1, 2, 3)
    clicks.run(CLICKS)
    for statement in rewrite.split("; "):
        clicks.execute(statement)
    click(clicks, 4)
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a table that was rewritten")


def test_a_row_committed_late_survives_freezing_and_vacuum_full(clicks: World) -> None:
    with writer(clicks) as connection:
        connection.execute("INSERT INTO clicks VALUES (1)")
        click(clicks, 2)
        clicks.run(CLICKS)
        connection.commit()
    clicks.execute("VACUUM (FREEZE) clicks")
    clicks.execute("VACUUM (FULL, FREEZE) clicks")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a row that was frozen before it was seen")


# --- refused rows


def test_a_refused_row_that_has_not_changed_is_not_staged_again(clicks: World) -> None:
    click(clicks, 1)
    clicks.execute("INSERT INTO clicks VALUES (2, 'n', 123456789.5)")
    (first,) = clicks.run(CLICKS)
    assert first is not None
    assert (first.rows, first.rejected) == (1, 1)
    click(clicks, 3)
    (second,) = clicks.run(CLICKS)
    assert second is not None
    assert (second.rows, second.rejected) == (1, 0)
    assert clicks.run(CLICKS) == [None]


def test_a_refused_row_that_is_corrected_comes(clicks: World) -> None:
    click(clicks, 1)
    clicks.execute("INSERT INTO clicks VALUES (2, 'n', 123456789.5)")
    clicks.run(CLICKS)
    clicks.execute("UPDATE clicks SET price = 1 WHERE click_id = 2")
    clicks.run(CLICKS)
    clicks.require_source(CLICKS, "a refused row that was corrected without a stamp")
