"""Recovery that is killed, or done twice at once, in the three real stores: once more, and all is as if it had not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from ownlens_clickhouse.client import Store
from ownlens_plugins.contracts import TableContract

from .backups import backup, lose_ledger
from .dying import killed
from .tables import ARTICLES, AUTHORS, CLICKS, create
from .test_adopting import adopted
from .test_recovery import INSERTS, STORES, forget, ledger, recover, refused, runs, staged
from .worlds import World

COMMIT = ("before_commit", "commit_sent")
# Of a stretch: its own set is the first that is staged, and that of the keys the second.
STRETCH = ("publish:1", "published:1", "stage_open", *COMMIT, "before_ledger", "after_commit")


@contextmanager
def alone(holder: Store) -> Iterator[None]:
    """Leave the embedded engine to another process."""
    holder.close()
    try:
        yield
    finally:
        holder.run("SELECT 1")


def restated(world: World, table: TableContract, name: str, moment: datetime) -> None:
    recover(world, table, name, since=moment)


@pytest.mark.parametrize("point", [*STRETCH, "publish:2", "published:2"])
@pytest.mark.parametrize("name", STORES)
def test_a_killed_stretch_is_made_up_for_by_the_next(world: World, holder: Store, name: str, point: str) -> None:
    """Also when it died between the rows of the stretch and the keys, by which deletes are told."""
    world.execute(create(AUTHORS))
    runs(world, AUTHORS, 1, 2)
    restore = backup(world, name)
    runs(world, AUTHORS, 3)
    world.execute("DELETE FROM authors WHERE author_id = 2")
    world.run(AUTHORS, sweep=True)
    runs(world, AUTHORS, 4)
    forget(world, AUTHORS, staged(world, AUTHORS)[-1])
    restore()
    found = re.search(r"--since (\S+)", refused(world, AUTHORS, name))
    assert found
    moment = datetime.fromisoformat(found[1])
    with alone(holder):
        died = killed(world, restated, AUTHORS, name, moment, fault=point)
    # Some stores do not come by every point.
    assert died or point not in COMMIT
    held = {other: ledger(world, AUTHORS, other) for other in STORES if other != name}
    restated(world, AUTHORS, name, moment)
    assert held == {other: ledger(world, AUTHORS, other) for other in held}
    world.require_source(AUTHORS, f"a stretch that was killed at {point} was brought into {name} again")
    runs(world, AUTHORS, 5)
    world.require_source(AUTHORS, f"a run after a killed stretch into {name}")


@pytest.mark.parametrize("table", [CLICKS, ARTICLES], ids=lambda one: one.table)
@pytest.mark.parametrize("point", ["publish:1", "published:1", *COMMIT])
@pytest.mark.parametrize("name", STORES)
def test_a_killed_adoption_is_none_or_whole(
    world: World, holder: Store, name: str, point: str, table: TableContract
) -> None:
    world.execute(create(table))
    runs(world, table, 1, 2)
    lose_ledger(world, name, table)
    world.execute(INSERTS[table.table].format(3))
    with alone(holder):
        assert killed(world, adopted, table, name, fault=point)
    marked = ledger(world, table, name)
    assert marked == (2 if point == "commit_sent" else 0)
    if not marked:
        assert adopted(world, table, name).sequence == 2
    world.run(table)
    world.require_source(table, f"an adoption in {name} was killed at {point}")
    assert ledger(world, table, name) == 3
