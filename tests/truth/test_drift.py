"""Changes of a real source and its contract, through staging, into three stores; docs/drift.md is made from `CASES`.

What each store does with its table is told by its own `test_drift.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.errors import OwnLensError, Rejected
from ownlens_plugins.powers import SupportsPosition
from tests.destinations.drift import Case

from .tables import STAMPS, contract
from .worlds import World

# What a run does before any store is asked, whatever schema_policy says.
CASES = [
    Case(
        "sets that wait were staged under narrower types, with labels that are still there, or not null",
        "evolve",
        "kept: read as the contract's types, each value exactly",
    ),
    Case("sets that wait have a column that left the contract", "evolve", "kept: the column is passed over"),
    Case("sets that wait lack a nullable column", "evolve", "kept: null in their rows"),
    Case(
        "sets that wait lack a required column, or hold what the contract's types may not",
        "evolve",
        "refused: every such column is named, nothing is loaded",
        "--full-refresh",
    ),
    Case(
        "the staged sets are lost, or another profile's",
        "evolve",
        "refused before anything is staged",
        "--full-refresh",
    ),
    Case(
        "a store was loaded from other staged sets",
        "evolve",
        "refused: that store; the others go on",
        "--full-refresh",
    ),
    Case("any of these", "--full-refresh", "changed: a new whole set, numbered above all loads that the stores hold"),
]


@dataclass
class Shop:
    """A table `items` that is loaded once under its first contract."""

    world: World
    preset: str = "entity"
    columns: dict[str, str] = field(default_factory=lambda: {"n": "int16", "title": "text?", "kind": "enum(a, b)?"})
    more: dict[str, Any] = field(default_factory=dict)

    def contract(self, **changed: Any) -> TableContract:
        """Return the contract with other columns; those that are None are left out."""
        wanted = {**self.columns, **changed}
        columns = {name: kind for name, kind in wanted.items() if kind is not None}
        return contract(
            "items", self.preset, {"id": "int64", **columns, **STAMPS}, partition_by="created_at", **self.more
        )

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.world.execute(statement)

    def stage(self, contract: TableContract, *, full_refresh: bool = False) -> None:
        positions = Positions(self.world.stores)
        with self.world.snapshot() as snapshot:
            stage_table(contract, snapshot, self.world.area(), full_refresh=full_refresh, positions=positions)

    def load(self, contract: TableContract) -> dict[str, str]:
        """Bring all stores up to date, and return why one refused."""
        refused: dict[str, str] = {}
        for name, store in self.world.stores.items():
            try:
                load_table(store, contract, self.world.area(), self.world.registry)
            except OwnLensError as error:
                refused[name] = str(error)
        return refused

    def run(self, contract: TableContract, *, full_refresh: bool = False) -> dict[str, str]:
        self.stage(contract, full_refresh=full_refresh)
        return self.load(contract)

    def require(self, contract: TableContract) -> None:
        self.world.require_source(contract, "after a change")


@pytest.fixture
def shop(request: pytest.FixtureRequest, world: World) -> Shop:
    made = Shop(world, getattr(request, "param", "entity"))
    stamps = ", ".join(f"{name} timestamptz NOT NULL DEFAULT now()" for name in STAMPS)
    made.sql(
        f"CREATE TABLE items (id bigint PRIMARY KEY, n smallint NOT NULL, title text, kind text, {stamps})",
        "INSERT INTO items VALUES (1, 1, 'one', 'a'), (2, -32768, NULL, NULL)",
    )
    assert made.run(made.contract()) == {}
    made.require(made.contract())
    return made


Change = Callable[[Shop], TableContract]


def widened(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items ALTER n TYPE bigint", "INSERT INTO items VALUES (3, 1099511627776, 'x', 'b')")
    return shop.contract(n="int64")


def more_labels(shop: Shop) -> TableContract:
    shop.sql("INSERT INTO items VALUES (3, 3, 'x', 'c')")
    return shop.contract(kind="enum(a, b, c)?")


def dropped(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items DROP title", "INSERT INTO items VALUES (3, 3, 'a')")
    return shop.contract(title=None)


def nullable(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items ADD note text", "INSERT INTO items (id, n, note) VALUES (3, 3, 'new')")
    return shop.contract(note="text?")


def relaxed(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items ALTER n DROP NOT NULL", "INSERT INTO items VALUES (3, NULL, 'x', 'a')")
    return shop.contract(n="int16?")


def renamed(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items RENAME title TO headline", "INSERT INTO items VALUES (3, 3, 'x', 'a')")
    return shop.contract(title=None, headline="text?")


def required(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items ADD price numeric(8, 2) NOT NULL DEFAULT 9.99")
    shop.sql("INSERT INTO items VALUES (3, 3, 'x', 'a')")  # without a row to load, nothing is asked of a store
    return shop.contract(price="decimal(8,2)")


def other_type(shop: Shop) -> TableContract:
    shop.sql("ALTER TABLE items ALTER n TYPE text", "INSERT INTO items VALUES (3, 'three', 'x', 'a')")
    return shop.contract(n="text")


LOSSLESS = [widened, more_labels, dropped, nullable, relaxed, renamed]
PRESETS = ("entity", "events", "reference")


def each(*changes: Change) -> pytest.MarkDecorator:
    """Give each change a table of another preset."""
    pairs = [(PRESETS[number % 3], change) for number, change in enumerate(changes)]
    ids = [f"{change.__name__}-{preset}" for preset, change in pairs]
    return pytest.mark.parametrize(("shop", "change"), pairs, ids=ids, indirect=["shop"])


@each(*LOSSLESS)
def test_a_lossless_change_goes_through_by_itself(shop: Shop, change: Change) -> None:
    changed = change(shop)
    assert shop.run(changed) == {}
    if change is renamed and shop.preset != "reference":
        # Rows that are there keep their old name until a full refresh.
        assert shop.run(changed, full_refresh=True) == {}
    shop.require(changed)


@each(required, other_type)
def test_any_other_change_is_refused_by_every_store_and_gets_through_by_a_full_refresh(
    shop: Shop, change: Change
) -> None:
    before = shop.world.contents(shop.contract())
    changed = change(shop)
    refused = shop.run(changed)
    assert set(refused) == set(shop.world.stores)
    assert all(said.startswith("items: ") and "--full-refresh" in said for said in refused.values()), refused
    assert shop.world.contents(shop.contract()) == before
    assert shop.run(changed, full_refresh=True) == {}
    shop.require(changed)


@each(*reversed([*LOSSLESS, required, other_type]))
def test_a_full_refresh_always_gets_through(shop: Shop, change: Change) -> None:
    shop.more = {"schema_policy": "freeze"}
    changed = change(shop)
    assert shop.run(changed, full_refresh=True) == {}
    shop.require(changed)
    assert shop.run(changed) == {}
    shop.require(changed)


@pytest.mark.parametrize(
    "change", [widened, more_labels, dropped, nullable, relaxed], ids=lambda change: change.__name__
)
def test_sets_that_wait_load_under_the_contract_that_came_meanwhile(shop: Shop, change: Change) -> None:
    shop.sql("INSERT INTO items VALUES (9, 9, 'waits', 'b')")
    shop.stage(shop.contract())
    changed = change(shop)
    shop.stage(changed)
    assert shop.load(changed) == {}
    shop.require(changed)


def test_sets_that_wait_and_do_not_fit_are_refused_with_all_columns(shop: Shop) -> None:
    shop.sql("INSERT INTO items VALUES (9, 9, 'waits', 'b')")
    shop.stage(shop.contract())
    other_type(shop)
    changed = shop.contract(n="text", title="text", note="int32")
    shop.sql("ALTER TABLE items ADD note int NOT NULL DEFAULT 1", "UPDATE items SET title = 't'")
    for said in shop.load(changed).values():
        assert said.startswith("items: staged set 2 holds 'n' as int16, the contract says text; holds 'title' as text?")
        assert "lacks the required column 'note'; stage the table anew with --full-refresh --tables items" in said
    assert shop.run(changed, full_refresh=True) == {}
    shop.require(changed)


@pytest.mark.parametrize("shop", PRESETS, indirect=True)
def test_lost_staging_is_refused_and_the_full_refresh_fills_all_stores(shop: Shop) -> None:
    if not all(isinstance(store, SupportsPosition) for store in shop.world.stores.values()):
        pytest.skip("a store does not tell its position")
    shop.sql("INSERT INTO items VALUES (9, 9, 'second', 'b')")
    assert shop.run(shop.contract()) == {}
    shutil.rmtree(shop.world.staging)
    shop.sql("INSERT INTO items VALUES (10, 10, 'third', 'b')", "DELETE FROM items WHERE id = 1")
    with pytest.raises(Rejected, match=r"s3 \(load 2\), postgresql \(load 2\), clickhouse \(load 2\)"):
        shop.run(shop.contract())
    assert shop.run(shop.contract(), full_refresh=True) == {}
    shop.require(shop.contract())
    shop.sql("INSERT INTO items VALUES (11, 11, 'fourth', 'b')")
    assert shop.run(shop.contract()) == {}
    shop.require(shop.contract())
