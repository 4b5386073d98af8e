"""Recovery from what really happens, in the three real stores: `docs/recovery.md` says what is done about each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.outcomes import StageOutcome
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.recovering import Recovery
from ownlens_plugins.engine.retiring import Retiring, retire
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.errors import Rejected

from .backups import backup
from .stores import drop_table
from .tables import ARTICLES, AUTHORS, CLICKS, SECTIONS, VIEWS, create
from .worlds import World

STORES = ("s3", "postgresql", "clickhouse")
INSERTS = {
    "clicks": "INSERT INTO clicks (click_id, note) VALUES ({0}, 'n{0}')",
    "articles": "INSERT INTO articles (article_id, note, day) VALUES ({0}, 'n{0}', '2026-01-01')",
    "authors": "INSERT INTO authors (author_id, note) VALUES ({0}, 'n{0}')",
    "sections": "INSERT INTO sections (section_id, name) VALUES ({0}, 'n{0}')",
    "views": "INSERT INTO views (page_id, day, note) VALUES ({0}, '2026-01-0{0}', 'n{0}')",
}


def runs(world: World, table: TableContract, *numbers: int) -> None:
    """Insert a row and run, for each number."""
    for number in numbers:
        world.execute(INSERTS[table.table].format(number))
        world.run(table)


@contextmanager
def only(world: World, *names: str) -> Iterator[Mapping[str, Any]]:
    """Let runs load into some of the stores."""
    every = world.stores
    world.stores = {name: every[name] for name in names}
    try:
        yield world.stores
    finally:
        world.stores = every


def recover(world: World, table: TableContract, *names: str, **how: Any) -> StageOutcome:
    """Do what `ownlens load --destinations …` does with --backfill or --since."""
    with only(world, *names) as stores, world.snapshot() as snapshot:
        recovery = Recovery(names, **how) if how else None
        positions = Positions(stores)
        outcome = stage_table(table, snapshot, world.area(), positions=positions, recovery=recovery)
        for destination in stores.values():
            load_table(destination, table, world.area(), world.registry)
    return outcome


def forget(world: World, table: TableContract, first: int) -> None:
    """Retire all staged sets before one, as maintenance does once every store has applied them, and time has passed."""
    sets = world.area().manifests(table.table)
    retire(world.area(), table, Retiring(whole=tuple(one for one in sets if one.sequence < first)))


def staged(world: World, table: TableContract) -> list[int]:
    return [manifest.sequence for manifest in world.area().manifests(table.table)]


def refused(world: World, table: TableContract, name: str) -> str:
    with pytest.raises(Rejected) as caught:
        load_table(world.stores[name], table, world.area(), world.registry)
    return str(caught.value)


# --- a destination that is taken back to a backup


@pytest.mark.parametrize("table", [CLICKS, ARTICLES, SECTIONS, VIEWS], ids=lambda one: one.table)
@pytest.mark.parametrize("name", STORES)
def test_sets_that_are_staged_still_are_loaded_again(world: World, name: str, table: TableContract) -> None:
    world.execute(create(table))
    runs(world, table, 1, 2)
    restore = backup(world, name)
    runs(world, table, 3, 4)
    restore()
    world.run(table)
    world.require_source(table, f"a backup of {name} was restored")
    runs(world, table, 5)
    world.require_source(table, f"a run after a backup of {name} was restored")


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("table", [CLICKS, VIEWS], ids=lambda one: one.table)
def test_an_append_and_days_that_lack_gone_sets_are_filled_anew(world: World, name: str, table: TableContract) -> None:
    world.execute(create(table))
    runs(world, table, 1)
    restore = backup(world, name)
    runs(world, table, 2, 3, 4)
    forget(world, table, 4)
    restore()
    message = refused(world, table, name)
    assert f"{name} lacks staged sets 2 to 3, which are gone" in message
    assert f"`ownlens load --backfill --destinations {name} --tables {table.table}`" in message
    recover(world, table, name, backfill=True)
    world.require_source(table, f"{name} was filled anew")
    runs(world, table, 5, 6)
    world.require_source(table, f"runs after {name} was filled anew")


@pytest.mark.parametrize("name", STORES)
def test_a_table_that_was_dropped_after_sets_were_retired_is_filled_anew(world: World, name: str) -> None:
    world.execute(create(ARTICLES))
    runs(world, ARTICLES, 1, 2, 3)
    forget(world, ARTICLES, 3)
    drop_table(world.stores[name], ARTICLES)
    assert f"`ownlens load --backfill --destinations {name} --tables articles`" in refused(world, ARTICLES, name)
    recover(world, ARTICLES, name, backfill=True)
    world.require_source(ARTICLES, f"{name} was filled anew")


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("table", [ARTICLES, AUTHORS], ids=lambda one: one.table)
def test_a_stretch_is_brought_once_more_into_a_store_that_lacks_gone_sets(
    world: World, name: str, table: TableContract
) -> None:
    """The others get no row of it, and lose none; deletes that the store has missed are made up for."""
    key = table.key[0]
    world.execute(create(table))
    runs(world, table, 1, 2)
    restore = backup(world, name)
    before = datetime.now(UTC)
    runs(world, table, 3)
    world.execute(f"UPDATE {table.table} SET note = 'changed', updated_at = now() WHERE {key} = 1")
    world.run(table)
    if table.deletes == "follow":
        world.execute(f"DELETE FROM {table.table} WHERE {key} = 2")
        world.run(table, sweep=True)
    runs(world, table, 4, 5)
    newest = staged(world, table)[-1]
    forget(world, table, newest)
    restore()
    message = refused(world, table, name)
    found = re.search(r"rows from (\S+) on lack; bring them with `ownlens load --since (\S+) --destinations", message)
    assert found, message
    moment = datetime.fromisoformat(found[1])
    assert (found[1] == found[2], moment < before) == (True, True)
    held = {other: ledger(world, table, other) for other in STORES if other != name}
    recover(world, table, name, since=moment)
    assert message.partition(":")[0] == table.table
    assert held == {other: ledger(world, table, other) for other in held}
    world.require_source(table, f"a stretch was brought once more into {name}")
    runs(world, table, 6)
    world.require_source(table, f"a run after a stretch was brought once more into {name}")


def test_a_moment_that_is_too_late_is_refused_with_the_right_one(world: World) -> None:
    table = replace(ARTICLES, look_back=timedelta(0))
    world.execute(create(table))
    runs(world, table, 1)
    restore = backup(world, "postgresql")
    runs(world, table, 2, 3, 4)
    forget(world, table, 4)
    restore()
    message = refused(world, table, "postgresql")
    with pytest.raises(Rejected) as caught:
        recover(world, table, "postgresql", since=datetime.now(UTC))
    assert str(caught.value) == message
    found = re.search(r"--since (\S+)", message)
    assert found
    recover(world, table, "postgresql", since=datetime.fromisoformat(found[1]))
    world.require_source(table, "a stretch from the moment that was named")


# --- a new destination


@pytest.mark.parametrize("table", [CLICKS, ARTICLES, AUTHORS, SECTIONS, VIEWS], ids=lambda one: one.table)
@pytest.mark.parametrize("name", STORES)
def test_a_new_store_gets_the_whole_table_and_the_others_nothing(world: World, name: str, table: TableContract) -> None:
    world.execute(create(table))
    others = [one for one in STORES if one != name]
    with only(world, *others):
        runs(world, table, 1, 2, 3, 4)
        forget(world, table, 4)
    if table in (CLICKS, ARTICLES, AUTHORS):
        assert f"`ownlens load --backfill --destinations {name} --tables {table.table}`" in refused(world, table, name)
    world.execute(INSERTS[table.table].format(5))
    held = {other: ledger(world, table, other) for other in others}
    outcome = recover(world, table, name, backfill=True)
    assert outcome.recovered is not None
    assert outcome.recovered.only == (name,)
    assert held == {other: ledger(world, table, other) for other in others}
    world.run(table)
    world.require_source(table, f"{name} came later")
    assert all(ledger(world, table, other) < ledger(world, table, name) for other in others)
    runs(world, table, 6, 7)
    world.require_source(table, f"runs after {name} came later")
    assert {ledger(world, table, each) for each in STORES} == {staged(world, table)[-1]}


def ledger(world: World, table: TableContract, name: str) -> int:
    return int(world.stores[name].position(table))  # type: ignore[attr-defined]
