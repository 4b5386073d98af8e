"""Tables are made from contracts, follow them while they grow, and are left alone when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows

from .conftest import Store
from .test_protocol import in_threads


def columns_of(store: Store, table: str = "samples") -> dict[str, tuple[str, bool]]:
    found = store.sql(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        f"public.{table}",
    )
    return {name: (kind, required) for name, kind, required in found}


def without(*names: str, **overrides: Any) -> TableContract:
    columns = {name: kind for name, kind in EVERY_TYPE.items() if name not in names}
    return sample_contract(columns=columns, **overrides)


def test_a_table_has_the_contract_s_types_keys_and_labels(store: Store) -> None:
    store.load([])
    found = columns_of(store)
    assert list(found) == list(store.contract.column_names)
    assert found["id"] == ("bigint", True)
    assert found["amount"] == ("numeric(18,4)", False)
    assert found["payload"] == ("jsonb", False)
    assert found["scores"] == ("integer[]", False)
    assert found["updated_at"] == ("timestamp with time zone", True)
    assert store.sql("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'samples_pkey'") == [
        ("PRIMARY KEY (id)",)
    ]
    with pytest.raises(Exception, match="ownlens_labels_"):
        store.sql("INSERT INTO samples (id, day, created_at, updated_at, status) VALUES (1, now(), now(), now(), 'no')")


def test_schemas_are_made_and_named_by_the_profile(make_store: Callable[..., Store]) -> None:
    store = make_store(schema='news "room', ledger_schema="Ledger s")
    store.load(sample_rows(3))
    assert store.landed() == store.staged(sample_rows(3))
    assert store.sql('SELECT table_schema FROM "Ledger s".loads') == [('news "room',)]
    assert store.sql("SELECT to_regnamespace('ownlens') IS NULL") == [(True,)]


def test_two_schemas_of_one_database_keep_their_own_ledgers(make_store: Callable[..., Store]) -> None:
    store = make_store(schema="one")
    other = type(store.destination)(store.config.model_copy(update={"db_schema": "two"}))
    store.load(sample_rows(3))
    second = replace(store, destination=other)
    assert second.load(sample_rows(4), sequence=1).inserted == 4
    assert store.load(sample_rows(3)).replayed


def test_evolve_adds_nullable_columns(store: Store) -> None:
    store.load(sample_rows(3), contract=without("title", "status", "tags"))
    store.load(sample_rows(3, version=1), sequence=2)
    assert store.landed() == store.staged(sample_rows(3, version=1))
    assert columns_of(store)["status"] == ("text", False)
    with pytest.raises(Exception, match="ownlens_labels_"):
        store.sql("UPDATE samples SET status = 'no'")


def test_a_column_that_left_the_contract_stays_empty_in_new_rows(store: Store) -> None:
    store.load(sample_rows(3))
    smaller = without("title")
    store.load(sample_rows(3, first=3), contract=smaller, sequence=2)
    assert store.sql("SELECT count(title) FROM samples WHERE id >= 3") == [(0,)]


REFUSALS: list[tuple[str, TableContract, str]] = [
    ("ALTER TABLE samples DROP title", sample_contract(schema_policy="freeze"), "lacks column 'title'; add it, or set"),
    (
        "ALTER TABLE samples DROP day",
        sample_contract(),
        r"lacks column 'day', which is not nullable; make it date\? in the contract, or load it with --full-refresh",
    ),
    (
        "ALTER TABLE samples ALTER medium TYPE bigint",
        sample_contract(),
        "has column 'medium' of type bigint, but the contract needs integer; change the contract, or load",
    ),
    (
        "ALTER TABLE samples ALTER amount TYPE numeric(10,5)",
        sample_contract(),
        r"has column 'amount' of type numeric\(10,5\), but the contract needs numeric\(18,4\)",
    ),
    (
        "ALTER TABLE samples ALTER title SET NOT NULL",
        sample_contract(schema_policy="freeze"),
        "does not allow NULL in column 'title'; make it text in the contract, or load it with --full-refresh",
    ),
    (
        "ALTER TABLE samples ADD more int NOT NULL",
        sample_contract(),
        "requires column 'more', which the contract",
    ),
    (
        "ALTER TABLE samples DROP CONSTRAINT samples_pkey",
        sample_contract(),
        r"has no unique key \(\"id\"\); load it with .*, or run ALTER",
    ),
    (
        "ALTER TABLE samples DROP ratio, ADD ratio float8 GENERATED ALWAYS AS (medium * 2.0) STORED",
        sample_contract(),
        "generates column 'ratio' itself; take it out of the contract",
    ),
    ("DROP TABLE samples; CREATE VIEW samples AS SELECT 1 AS id", sample_contract(), "is not a table; rename"),
    (
        "SELECT 1",
        sample_contract(columns={**EVERY_TYPE, "status": "enum(draft, live)?"}, schema_policy="freeze"),
        "checks other labels of column 'status' than the contract has; run ALTER TABLE .* DROP CONSTRAINT",
    ),
    (
        "ALTER TABLE samples DROP day, ALTER medium TYPE bigint, ADD more int NOT NULL",
        sample_contract(schema_policy="freeze"),
        "requires column 'more'",
    ),
    (
        "ALTER TABLE samples DROP day, ALTER medium TYPE bigint, ALTER amount TYPE numeric",
        sample_contract(),
        "lacks column 'day', .*'medium' of type bigint, .*'amount' of type numeric, .*--full-refresh",
    ),
]


@pytest.mark.parametrize(("change", "contract", "message"), REFUSALS)
def test_a_table_that_does_not_fit_is_refused_before_data_moves(
    store: Store, change: str, contract: TableContract, message: str
) -> None:
    store.load([])
    for statement in change.split("; "):
        store.sql(statement)
    with pytest.raises(Rejected, match=f"^samples: postgresql.* {message}") as caught:
        type(store.destination)(store.config).open(store.plan(sample_rows(3), contract=contract, sequence=2))
    assert "\n" not in str(caught.value)
    assert len(store.ledger()) == 1


def test_labels_can_be_changed_by_the_statement_in_the_message(store: Store) -> None:
    store.load(sample_rows(5))
    columns = {**EVERY_TYPE, "status": "enum(draft, live, gone, 'lost')?"}
    wider = sample_contract(columns=columns)
    with pytest.raises(Rejected) as caught:
        store.load([], contract=sample_contract(columns=columns, schema_policy="freeze"), sequence=2)
    store.sql(str(caught.value).partition("run ")[2])
    row = {**sample_rows(6)[5], "status": "'lost'"}
    store.load([row], contract=wider, sequence=2)
    with pytest.raises(Exception, match="ownlens_labels_"):
        store.sql("UPDATE samples SET status = 'no'")


def test_a_table_with_defaults_identity_and_more_columns_is_used_as_it_is(store: Store) -> None:
    store.sql(
        "CREATE TABLE samples (id bigint GENERATED ALWAYS AS IDENTITY UNIQUE, more int NOT NULL DEFAULT 7, "
        "title text, updated_at timestamptz NOT NULL)"
    )
    columns = {"id": "int64", "title": "text?", "updated_at": "timestamptz"}
    for number, on_conflict in enumerate(["error", "update"], start=1):
        block = {"postgresql": {"strategy": "append", "on_conflict": on_conflict}}
        contract = sample_contract(preset="reference", columns=columns, destinations=block)
        rows = [{**sample_rows(1)[0], "id": number * 100}]
        assert store.load(rows, contract=contract, sequence=number).inserted == 1
    assert store.sql("SELECT id, more FROM samples ORDER BY id") == [(100, 7), (200, 7)]


@pytest.mark.parametrize("on_conflict", ["error", "skip", "update"])
def test_a_partitioned_table_is_used_as_it_is(store: Store, on_conflict: str) -> None:
    store.sql(
        "CREATE TABLE samples (id bigint, day date, title text, updated_at timestamptz NOT NULL, "
        "PRIMARY KEY (id, day)) PARTITION BY RANGE (day)"
    )
    store.sql("CREATE TABLE january PARTITION OF samples FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')")
    contract = sample_contract(
        columns={"id": "int64", "day": "date", "title": "text?", "updated_at": "timestamptz"},
        key=["id", "day"],
        extraction="whole",
        destinations={"postgresql": {"strategy": "append", "on_conflict": on_conflict}},
    )
    assert store.load(sample_rows(5), contract=contract).inserted == 5
    first = 5 if on_conflict == "error" else 3
    result = store.load(sample_rows(5, first=first, version=1), contract=contract, sequence=2)
    expected = {"error": (5, 0, 0), "skip": (3, 0, 2), "update": (3, 2, 0)}[on_conflict]
    assert (result.inserted, result.updated, result.unchanged) == expected
    rows = sample_rows(4, first=first, version=1)
    overwritten = store.load(rows, contract=contract, sequence=3, strategy=Strategy.OVERWRITE)
    assert overwritten.inserted == 0
    assert store.landed(contract) == store.staged(rows, contract)
    outside = [{**sample_rows(1)[0], "day": date(2027, 1, 1)}]
    with pytest.raises(Rejected, match="no partition of relation"):
        store.load(outside, contract=contract, sequence=4)


def test_first_opens_at_once_make_one_table(store: Store) -> None:
    destinations = [type(store.destination)(store.config) for _ in range(6)]
    plan = store.plan([])
    results = in_threads(6, lambda number: destinations[number].open(plan))
    assert [type(result).__name__ for result in results] == ["PostgreSQLSession"] * 6
    assert store.sql("SELECT count(*) FROM ownlens.tables") == [(1,)]


def test_a_failed_open_leaves_nothing(store: Store) -> None:
    """A system column's name is refused by CREATE TABLE, after the ledger was made in the same transaction."""
    contract = sample_contract(columns={**EVERY_TYPE, "ctid": "text?"})
    with pytest.raises(Rejected, match="42701"):
        store.load([], contract=contract)
    assert store.sql("SELECT to_regclass('samples') IS NULL, to_regnamespace('ownlens') IS NULL") == [(True, True)]


def test_a_table_dropped_after_open_is_made_again_by_the_next_attempt(store: Store) -> None:
    plan = store.plan(sample_rows(3))
    session = store.destination.open(plan)
    store.sql("DROP TABLE samples")
    with pytest.raises(Exception, match="run it again"):
        session.commit([session.writer.write(part) for part in plan.parts])
    assert store.load(sample_rows(3)).inserted == 3


# --- names

ODD_NAMES = [
    "select",
    "user",
    "order",
    "table",
    "excluded",
    "t",
    "s",
    "row",
    "Mixed",
    "mixed",
    "MIXED",
    "with space",
    " lead",
    "trail ",
    'qu"ote',
    '"',
    "'",
    "a'b",
    "semi;colon",
    "dash-dash--",
    "/*",
    "back\\slash",
    "per%cent",
    "{brace}",
    "{0}",
    "$1",
    "dot.ted",
    "ünïcödé",
    "表",
    "🙂",
    "e\u0301",
    "é",
    "1st",
    "_",
    "pg_class",
    "ownlens_labels_x",
    "x" * 63,
    "x" * 62 + "y",
    "é" * 31 + "x",
    "oid",
    "new",
    "old",
    "null",
    "true",
    "array",
    "unknown",
    "name",
    ":colon",
    "@at",
    "a\\'b",
]


def test_columns_of_any_name(store: Store) -> None:
    columns = {"id": "int64", **dict.fromkeys(ODD_NAMES, "text?"), "day": "date", "updated_at": "timestamptz"}
    contract = sample_contract(columns=columns, key=["id", "day"], references={"id": "parents.id"})
    parent = sample_contract(table="parents", columns={"id": "int64", "updated_at": "timestamptz"}, preset="reference")
    base = sample_rows(3)
    rows = [{**row, **{name: f"{name}{row['id']}" for name in ODD_NAMES}} for row in base]
    store.load(base[:1], contract=parent)
    assert store.load(rows, contract=contract).rejected == 2
    store.load(base, contract=parent, sequence=2)
    assert store.load([], contract=contract, sequence=2).inserted == 2
    assert store.landed(contract) == store.staged(rows, contract)
    changed = [{**row, '"': "new", "updated_at": row["created_at"].replace(year=2027)} for row in rows[1:]]
    result = store.load(changed, contract=contract, sequence=3, strategy=Strategy.OVERWRITE)
    assert (result.updated, result.deleted) == (2, 1)
    assert store.landed(contract) == store.staged(changed, contract)


def test_tables_of_any_name(store: Store) -> None:
    """Each sharp name is a table and its own only odd column, parent and child. The suite copies into many more."""
    rows = sample_rows(2)
    sharp = [name for name in ODD_NAMES if not name.isidentifier() or name in {"t", "s", "excluded", "Mixed", "x" * 63}]
    for name in sharp:
        columns = {name: "int64", "title": "text?", "updated_at": "timestamptz"}
        contract = sample_contract(
            preset="reference", table=name, columns=columns, key=[name], references={name: f"{name}.{name}"}
        )
        named = [{**row, name: row["id"] + 1} for row in rows]
        assert store.load(named, contract=contract, strategy=Strategy.UPSERT).inserted == 2
        overwritten = store.load(named[:1], contract=contract, sequence=2, strategy=Strategy.OVERWRITE)
        assert (overwritten.unchanged, overwritten.deleted) == (1, 1)
    assert store.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(len(sharp),)]


def test_hostile_objects_in_the_target_schema_are_not_called(store: Store) -> None:
    """A pinned search_path: functions and operators beside the tables cannot stand in for the catalogue's."""
    for statement in [
        "CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''called''; END'",
        "CREATE FUNCTION public.starts_with(text, varchar) RETURNS bool LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''called''; END'",
        "CREATE FUNCTION public.never(bigint, bigint) RETURNS bool LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.never)",
        'CREATE TABLE public.pg_class (oid oid, relname name, relnamespace oid, relkind "char")',
    ]:
        store.sql(statement)
    store.sql(f"ALTER DATABASE {store.config.database} SET search_path = public, pg_catalog")
    store.load(sample_rows(5))
    result = store.load(sample_rows(5, version=1), sequence=2)
    assert (result.inserted, result.updated) == (0, 5)
