"""A ledger that is lost while the rows are there: `ownlens adopt` takes them as they are, if these are right."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.adopting import Adopted, adopt
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.standing import Asking, Staged
from ownlens_plugins.errors import Rejected
from ownlens_plugins.powers import SupportsMaintenance, Upkeep

from .backups import lose_ledger, rename_table
from .tables import ARTICLES, CLICKS, create
from .test_recovery import INSERTS, STORES, forget, ledger, only, recover, refused, runs
from .worlds import World


def adopted(world: World, table: TableContract, name: str) -> Adopted:
    """Do what `ownlens adopt` does: stage what is new, compare, and mark."""
    with world.snapshot() as snapshot:
        world.stage(table, snapshot)
        return adopt(world.stores[name], table, snapshot, world.area(), world.registry)


@pytest.mark.parametrize("table", [CLICKS, ARTICLES], ids=lambda one: one.table)
@pytest.mark.parametrize("name", STORES)
def test_rows_are_taken_as_they_are_and_later_ones_come(world: World, name: str, table: TableContract) -> None:
    world.execute(create(table))
    runs(world, table, 1, 2)
    lose_ledger(world, name, table)
    forget(world, table, 2)
    others = [other for other in STORES if other != name]
    with only(world, *others):
        runs(world, table, 3)
    world.execute(INSERTS[table.table].format(4))
    done = adopted(world, table, name)
    assert (done.sequence, done.rows, done.kept, done.behind) == (2, 2, 0, 2)
    assert ledger(world, table, name) == 2
    world.run(table)
    world.require_source(table, f"the ledger of {name} was lost")
    runs(world, table, 5)
    world.require_source(table, f"a run after the ledger of {name} was lost")
    with pytest.raises(Rejected, match=f"{name}'s ledger knows load"):
        adopted(world, table, name)


@pytest.mark.parametrize("how", ["adopt", "load"])
@pytest.mark.parametrize("name", STORES)
def test_an_append_without_its_ledger_is_refused_with_what_helps(world: World, name: str, how: str) -> None:
    """A plain load would have all rows twice; the status says the same."""
    world.execute(create(CLICKS))
    runs(world, CLICKS, 1, 2)
    lose_ledger(world, name, CLICKS)
    world.execute(INSERTS["clicks"].format(3))
    with world.snapshot() as snapshot:
        world.stage(CLICKS, snapshot)
    message = refused(world, CLICKS, name)
    assert message.startswith(f"clicks: {name} has 2 rows and a ledger that knows no load of them, though load 2 was")
    assert f"`ownlens {how} --" in message
    told = Asking(world.area(), world.registry, Scrubber([]), validates=False)
    staged = Staged(world.area().log("clicks"))
    standing = told.standing(world.stores[name], CLICKS, staged, None)
    assert standing.reason == message
    if how == "adopt":
        adopted(world, CLICKS, name)
    else:
        recover(world, CLICKS, name, backfill=True)
    world.run(CLICKS)
    world.require_source(CLICKS, f"the ledger of {name} was lost")


@pytest.mark.parametrize("name", STORES)
def test_other_rows_are_refused_with_how_many_differ_and_nothing_changes(world: World, name: str) -> None:
    world.execute(create(ARTICLES))
    runs(world, ARTICLES, 1, 2, 3)
    lose_ledger(world, name, ARTICLES)
    forget(world, ARTICLES, 3)
    world.execute("UPDATE articles SET note = 'x' WHERE article_id = 1")  # without a stamp, and before the look-back
    before = in_order(world, name)
    world.execute("UPDATE articles SET updated_at = '2020-01-01' WHERE article_id = 1")
    world.execute("DELETE FROM articles WHERE article_id = 2")
    world.execute("INSERT INTO articles (article_id, day, updated_at) VALUES (9, '2020-01-01', '2020-01-01')")
    with pytest.raises(Rejected) as caught:
        adopted(world, ARTICLES, name)
    assert str(caught.value) == (
        f"articles: the 3 rows of {name} are those of no staged set: 1 rows of the source lack there, 1 differ, 1 are "
        "not in the source, 0 keys are there more than once; nothing was changed; fill it anew with `ownlens load "
        f"--backfill --destinations {name} --tables articles`"
    )
    assert in_order(world, name) == before
    assert ledger(world, ARTICLES, name) == 0


def in_order(world: World, name: str) -> list[dict[str, Any]]:
    """Return a store's articles by key: ClickHouse gives them in any order."""
    return sorted(world.contents(ARTICLES)[name], key=lambda row: int(row["article_id"]))


@pytest.mark.parametrize("name", STORES)
def test_rows_that_went_by_age_do_not_lack(world: World, name: str) -> None:
    table = replace(CLICKS, retention_days=30)
    world.execute(create(table))
    world.execute("INSERT INTO clicks (click_id, created_at) VALUES (1, '2020-01-01')")
    runs(world, table, 2)
    store, options = world.stores[name], world.registry.options(name, table)
    assert isinstance(store, SupportsMaintenance)
    store.maintain(Upkeep(table, options, 0, datetime.now(UTC).date()))
    lose_ledger(world, name, table)
    done = adopted(world, table, name)
    assert (done.sequence, done.rows, done.behind) == (1, 1, 0)
    runs(world, table, 3)
    assert sorted(row["click_id"] for row in world.contents(table)[name]) == [2, 3]


@pytest.mark.parametrize("name", STORES)
def test_a_table_that_was_renamed_with_its_contract_is_taken(world: World, name: str) -> None:
    stories = replace(ARTICLES, table="stories", path="news/stories")
    world.execute(create(ARTICLES))
    runs(world, ARTICLES, 1, 2)
    world.execute("ALTER TABLE articles RENAME TO stories")
    rename_table(world, name, ARTICLES, stories)
    assert adopted(world, stories, name).rows == 2
    world.run(stories)
    world.require_source(stories, f"a table was renamed in {name}")
