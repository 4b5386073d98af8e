"""Cases in which the three stores differed from the source or from each other: deletes, moved rows, dropped tables."""

from __future__ import annotations

import pytest

from ownlens_plugins.contracts import TableContract

from .stores import drop_table
from .tables import ARTICLES, AUTHORS, BOOKS, CLICKS, SECTIONS, VIEWS, create
from .worlds import World


def test_a_row_deleted_in_a_reference_leaves_all_stores(world: World) -> None:
    world.execute(create(SECTIONS))
    world.execute("INSERT INTO sections VALUES (1, 'a'), (2, 'b')")
    world.run(SECTIONS)
    world.execute("DELETE FROM sections WHERE section_id = 2")
    world.run(SECTIONS)
    world.require_source(SECTIONS, "a row deleted in a reference")


def test_a_row_and_a_day_deleted_in_a_daily_table_leave_all_stores(world: World) -> None:
    world.execute(create(VIEWS))
    world.execute(
        "INSERT INTO views SELECT p, date '2026-01-01' + d, 'n' FROM generate_series(1, 2) p, generate_series(0, 2) d"
    )
    world.run(VIEWS)
    world.execute("DELETE FROM views WHERE day = '2026-01-02' AND page_id = 1")
    world.run(VIEWS)
    world.require_source(VIEWS, "a row deleted in a day")
    world.execute("DELETE FROM views WHERE day = '2026-01-03'")
    world.run(VIEWS)
    world.require_source(VIEWS, "a day that lost all its rows")


def test_parent_and_child_deleted_together_leave_all_stores(world: World) -> None:
    world.execute(create(AUTHORS, BOOKS))
    world.execute("INSERT INTO authors VALUES (1), (2); INSERT INTO books VALUES (1, 1), (2, 2)")
    world.run(AUTHORS, BOOKS)
    world.execute("DELETE FROM books WHERE book_id = 1; DELETE FROM authors WHERE author_id = 1")
    for _ in range(3):  # a parent may be spared until its children are gone
        world.run(AUTHORS, BOOKS, sweep=True)
    world.require_source(BOOKS, "a child deleted with its parent")
    world.require_source(AUTHORS, "a parent deleted with its child")


def test_a_row_whose_partition_moves_is_there_once(world: World) -> None:
    world.execute(create(ARTICLES))
    world.execute("INSERT INTO articles (article_id, note, day) VALUES (1, 'a', '2026-01-01'), (2, 'b', '2026-01-01')")
    world.run(ARTICLES)
    world.execute("UPDATE articles SET day = '2026-02-02', updated_at = now() WHERE article_id = 1")
    world.run(ARTICLES)
    world.require_source(ARTICLES, "a row that moved to another partition")


@pytest.mark.parametrize("store", ["s3", "s3-rows", "postgresql", "clickhouse"])
@pytest.mark.parametrize("contract", [CLICKS, ARTICLES, SECTIONS, VIEWS], ids=lambda contract: contract.table)
def test_a_dropped_table_comes_back_whole(world: World, store: str, contract: TableContract) -> None:
    keys = {
        "clicks": "INSERT INTO clicks VALUES ({})",
        "articles": "INSERT INTO articles (article_id, day) VALUES ({}, '2026-01-01')",
        "sections": "INSERT INTO sections VALUES ({}, 'n')",
        "views": "INSERT INTO views VALUES ({}, '2026-01-01', 'n')",
    }[contract.table]
    world.execute(create(contract))
    for number in (1, 2):
        world.execute(keys.format(number))
        world.run(contract)
    drop_table(world.stores[store.partition("-")[0]], contract, rows_only=store == "s3-rows")
    world.execute(keys.format(3))
    world.run(contract)
    world.require_source(contract, f"a table that was dropped in {store}")
