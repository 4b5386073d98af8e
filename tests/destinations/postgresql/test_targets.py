"""Tables that are not plain: partitioned ones, generated and identity columns, triggers; on both servers over TCP."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing import sample_contract, sample_rows

from .conftest import Store

COLUMNS = {"id": "int64", "day": "date", "title": "text?", "updated_at": "timestamptz"}
TYPES = "id bigint, day date, title text, updated_at timestamptz NOT NULL"
PATHS = [(Strategy.APPEND, "error"), (Strategy.UPSERT, "update"), (Strategy.OVERWRITE, "update")]


def contract(strategy: Strategy, on_conflict: str = "update", **changes: Any) -> TableContract:
    block = {"strategy": strategy.value, "on_conflict": on_conflict}
    fields = {"columns": COLUMNS, "extraction": "whole", "destinations": {"postgresql": block}, **changes}
    return sample_contract("reference", **fields)


def make(store: Store, *statements: str) -> None:
    """Run statements as the loader, who then owns what they make."""
    with store.session() as connection:
        connection.execute("SET ROLE loader")
        for statement in statements:
            connection.execute(statement.encode())


def state(store: Store, contract: TableContract) -> tuple[Any, ...]:
    left = store.sql("SELECT relname FROM pg_class WHERE relpersistence = 't'")
    return store.landed(contract), store.ledger(), store.quarantined(), left


@pytest.mark.parametrize(("strategy", "on_conflict"), PATHS)
def test_a_row_without_a_partition_is_refused_and_half_a_load_never_stays(
    either: Store, strategy: Strategy, on_conflict: str
) -> None:
    store, mine = either, contract(strategy, on_conflict, key=["id", "day"])
    make(
        store,
        f"CREATE TABLE samples ({TYPES}, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE january PARTITION OF samples FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    )
    store.load(sample_rows(3), contract=mine)
    before = state(store, mine)
    rows = [*sample_rows(3, first=3), {**sample_rows(1, first=9)[0], "day": date(2031, 1, 1)}]
    with pytest.raises(Rejected, match=r"no partition of relation .* make the partition for these rows, or a DEFAULT"):
        store.load(rows, contract=mine, sequence=2)
    assert state(store, mine) == before
    make(store, "CREATE TABLE others PARTITION OF samples DEFAULT")
    store.load(rows, contract=mine, sequence=2)
    expected = rows if strategy is Strategy.OVERWRITE else [*sample_rows(3), *rows]
    assert store.landed(mine) == store.staged(expected, mine)
    assert store.sql("SELECT count(*) FROM others") == [(1,)]


@pytest.mark.parametrize(("strategy", "on_conflict"), PATHS)
@pytest.mark.parametrize("identity", ["ALWAYS", "BY DEFAULT"])
def test_the_server_fills_what_the_contract_lacks_and_keeps_the_keys_that_it_has(
    either: Store, strategy: Strategy, on_conflict: str, identity: str
) -> None:
    store, mine = either, contract(strategy, on_conflict)
    make(
        store,
        f"CREATE TABLE samples (id bigint GENERATED {identity} AS IDENTITY PRIMARY KEY, day date, title text, "
        "updated_at timestamptz NOT NULL, length int GENERATED ALWAYS AS (length(title)) STORED, "
        "added int NOT NULL DEFAULT 7)",
    )
    store.load(sample_rows(3, first=100), contract=mine)
    rows = sample_rows(5, first=103 if strategy is Strategy.APPEND else 102, version=1)
    store.load(rows, contract=mine, sequence=2)
    kept = {Strategy.APPEND: 3, Strategy.UPSERT: 2, Strategy.OVERWRITE: 0}[strategy]
    assert store.landed(mine) == store.staged([*sample_rows(kept, first=100), *rows], mine)
    filled = "SELECT bool_and(length IS NOT DISTINCT FROM length(title) AND added = 7) FROM samples"
    assert store.sql(filled) == [(True,)]


def test_a_column_that_the_server_generates_is_refused_in_the_contract(either: Store) -> None:
    generated = TYPES.replace("title text", "title text GENERATED ALWAYS AS ('x') STORED")
    make(either, f"CREATE TABLE samples ({generated}, PRIMARY KEY (id))")
    with pytest.raises(Rejected, match="generates column 'title' itself; take it out of the contract"):
        either.load(sample_rows(1), contract=contract(Strategy.UPSERT))


# --- triggers

AUDIT = "CREATE TABLE audit (id bigint)"


def trigger(body: str) -> tuple[str, str]:
    """Return the statements for a trigger that runs a body before each insert or update of a row."""
    return (
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$",
        "CREATE TRIGGER g BEFORE INSERT OR UPDATE ON samples FOR EACH ROW EXECUTE FUNCTION f()",
    )


def with_trigger(store: Store, mine: TableContract, *statements: str) -> None:
    store.load([], contract=mine)
    make(store, "SET search_path = public", *statements)


@pytest.mark.parametrize(("strategy", "on_conflict"), PATHS)
def test_a_trigger_runs_for_each_row_of_a_load(either: Store, strategy: Strategy, on_conflict: str) -> None:
    mine = contract(strategy, on_conflict)
    with_trigger(either, mine, AUDIT, *trigger("INSERT INTO public.audit VALUES (NEW.id)"))
    either.load(sample_rows(3), contract=mine, sequence=2)
    assert either.landed(mine) == either.staged(sample_rows(3), mine)
    assert either.sql("SELECT id FROM audit ORDER BY id") == [(0,), (1,), (2,)]


@pytest.mark.parametrize(("strategy", "on_conflict"), [*PATHS, (Strategy.APPEND, "skip")])
def test_a_trigger_that_swallows_a_row_is_found_out(either: Store, strategy: Strategy, on_conflict: str) -> None:
    mine = contract(strategy, on_conflict)
    with_trigger(either, mine, *trigger("IF NEW.id = 1 THEN RETURN NULL; END IF"))
    before = state(either, mine)
    with pytest.raises(Rejected, match=r"stored 2 of 3 rows; a trigger or rule .* drops the others"):
        either.load(sample_rows(3), contract=mine, sequence=2)
    assert state(either, mine) == before


def test_a_trigger_whose_names_have_no_schema_is_refused_and_told_how(emptied: Store) -> None:
    """A load's search_path is pinned: trying again would not help."""
    mine = contract(Strategy.UPSERT)
    with_trigger(emptied, mine, AUDIT, *trigger("INSERT INTO audit VALUES (NEW.id)"))
    with pytest.raises(Rejected, match=r"trigger's function failed: .*42P01.* run ALTER FUNCTION ... SET search_path"):
        emptied.load(sample_rows(3), contract=mine, sequence=2)
    make(emptied, "ALTER FUNCTION public.f SET search_path = public")
    assert emptied.load(sample_rows(3), contract=mine, sequence=2).inserted == 3


def test_what_a_trigger_says_about_a_row_is_not_passed_on(emptied: Store) -> None:
    mine = contract(Strategy.UPSERT)
    with_trigger(emptied, mine, *trigger("RAISE EXCEPTION 'no % here', NEW.title"))
    with pytest.raises(Rejected, match=r"a trigger's function refused a row \[P0001\]") as caught:
        emptied.load([{**sample_rows(1)[0], "title": "oddity"}], contract=mine, sequence=2)
    assert "oddity" not in str(caught.value)


def test_a_table_that_vanishes_is_still_worth_another_try(emptied: Store) -> None:
    plan = emptied.plan(sample_rows(3))
    session = emptied.destination.open(plan)
    emptied.sql("DROP TABLE samples")
    with pytest.raises(Retryable):
        session.commit([session.writer.write(part) for part in plan.parts])
