"""The role of docs/postgresql-loader.sql: what it may do, what it needs on tables of others, what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.postgresql_servers import LOADER_SCRIPT, PostgreSQLServer

from .conftest import Store

COLUMNS = {"id": "int64", "status": EVERY_TYPE["status"], "title": "text?", "updated_at": "timestamptz"}
TABLE = "CREATE TABLE samples (id bigint PRIMARY KEY, status text, title text, updated_at timestamptz NOT NULL)"
# Strategy, on_conflict, and what the table's owner grants for it.
GRANTS = [
    (Strategy.APPEND, "error", "SELECT, INSERT"),
    (Strategy.APPEND, "skip", "SELECT, INSERT"),
    (Strategy.UPSERT, "update", "SELECT, INSERT, UPDATE"),
    (Strategy.OVERWRITE, "update", "SELECT, INSERT, UPDATE, DELETE"),
]


def contract(strategy: Strategy = Strategy.UPSERT, on_conflict: str = "update", **changes: Any) -> TableContract:
    block = {"strategy": strategy.value, "on_conflict": on_conflict}
    fields = {"columns": COLUMNS, "extraction": "whole", "destinations": {"postgresql": block}, **changes}
    return sample_contract("reference", **fields)


def restricted(store: Store, *statements: str) -> None:
    """Take the right to create tables, and run statements as the database's owner."""
    for statement in ("REVOKE CREATE ON SCHEMA public FROM loader", *statements):
        store.sql(statement)


def refusal(store: Store, contract: TableContract, sequence: int = 1) -> str:
    """Load rows in vain; return the message."""
    plan = store.plan(sample_rows(3), contract=contract, sequence=sequence)
    with pytest.raises(Rejected) as caught:
        load(PostgreSQLDestination(store.config), plan)
    message = str(caught.value)
    assert message.startswith("samples: postgresql")
    assert "\n" not in message
    return message


def test_the_script_makes_a_role_that_can_only_load(lesser: Store) -> None:
    rights = lesser.sql(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolconfig, "
        "has_database_privilege('loader', current_database(), 'CREATE'), "
        "(SELECT count(*) FROM pg_auth_members WHERE member = r.oid) FROM pg_roles AS r WHERE rolname = 'loader'"
    )
    assert rights == [(False, False, False, False, False, True, ["synchronous_commit=on"], False, 0)]


def test_the_script_can_be_run_again_and_with_other_names(lesser: Store, server15: PostgreSQLServer) -> None:
    names = {"schema": 'news "room', "ledger_schema": "Ledger s", "creates_tables": "off"}
    for _ in range(2):
        server15.run_script(LOADER_SCRIPT, lesser.config.database, names)
    rights = lesser.sql(
        "SELECT has_schema_privilege('loader', oid, 'USAGE'), has_schema_privilege('loader', oid, 'CREATE') "
        "FROM pg_namespace WHERE nspname IN ('news \"room', 'Ledger s') ORDER BY nspname"
    )
    assert rights == [(True, True), (True, False)]


@pytest.mark.parametrize(("strategy", "on_conflict", "grants"), GRANTS)
def test_a_table_of_another_owner_needs_the_documented_grants_and_no_more(
    lesser: Store, strategy: Strategy, on_conflict: str, grants: str
) -> None:
    restricted(lesser, TABLE, f"GRANT {grants} ON samples TO loader")
    mine = contract(strategy, on_conflict)
    assert lesser.load(sample_rows(3), contract=mine).inserted == 3
    more = sample_rows(3, first=3)
    lesser.load(more, contract=mine, sequence=2)
    expected = more if strategy is Strategy.OVERWRITE else sample_rows(6)
    assert lesser.landed(mine) == lesser.staged(expected, mine)
    for last in grants.split(", "):
        lesser.sql(f"REVOKE {last} ON samples FROM loader")
        message = refusal(lesser, mine, sequence=3)
        assert message.endswith(f'user \'loader\' lacks a right; run GRANT {last} ON "public"."samples" TO "loader"')
        lesser.sql(message.partition("; run ")[2])
    assert len(lesser.ledger()) == 2
    assert lesser.landed(mine) == lesser.staged(expected, mine)


def test_deletes_that_follow_need_the_grants_of_an_overwrite(lesser: Store) -> None:
    restricted(lesser, TABLE, "GRANT SELECT, INSERT, UPDATE ON samples TO loader")
    mine = contract()
    lesser.load(sample_rows(3), contract=mine)
    plan = replace(lesser.plan(sample_rows(1), contract=mine, sequence=2), covers=Covers())
    with pytest.raises(Rejected, match=r"lacks a right; run GRANT DELETE") as caught:
        load(lesser.destination, plan)
    lesser.sql(str(caught.value).partition("; run ")[2])
    assert load(lesser.destination, plan).deleted == 2
    lesser.sql("CREATE TABLE mine (id bigint REFERENCES samples)")
    plan = replace(lesser.plan([], contract=mine, sequence=3), covers=Covers())
    with pytest.raises(Rejected, match=r"run GRANT SELECT ON public.mine TO loader") as caught:
        load(lesser.destination, plan)
    lesser.sql(str(caught.value).partition("; run ")[2])
    assert load(lesser.destination, plan).deleted == 1


TAKEN = [
    "USAGE ON SCHEMA public",
    "CREATE ON SCHEMA public",
    "USAGE ON SCHEMA ownlens",
    "CREATE ON SCHEMA ownlens",
    "TEMPORARY ON DATABASE {database}",
]


@pytest.mark.parametrize("right", TAKEN)
def test_a_right_of_the_script_that_is_missing_is_named(lesser: Store, right: str) -> None:
    right = right.format(database=lesser.config.database)
    lesser.sql(f"REVOKE {right} FROM loader, PUBLIC")
    message = refusal(lesser, contract())
    kind, _, name = right.rpartition(" ")
    assert message.endswith(f'run GRANT {kind} "{name}" TO "loader"')
    assert lesser.sql("SELECT to_regclass('samples') IS NULL, to_regclass('ownlens.loads') IS NULL") == [(True, True)]
    lesser.sql(message.partition("; run ")[2])
    assert lesser.load(sample_rows(3), contract=contract()).inserted == 3


@pytest.mark.parametrize("table", ["loads", "tables", "quarantine", "spared"])
def test_a_ledger_that_the_role_may_not_use_is_named(lesser: Store, table: str) -> None:
    lesser.load(sample_rows(1), contract=contract())
    lesser.sql(f"ALTER TABLE ownlens.{table} OWNER TO postgres")
    lesser.sql(f"REVOKE ALL ON ownlens.{table} FROM loader")
    message = refusal(lesser, contract(), sequence=2)
    lesser.sql(message.partition("; run ")[2])
    assert lesser.load(sample_rows(3), contract=contract(), sequence=2).inserted == 2


def test_a_right_that_is_taken_away_during_the_load(lesser: Store) -> None:
    """The rights are looked at when the load opens: later the database's own refusal is passed on."""
    mine = contract()
    lesser.load(sample_rows(1), contract=mine)
    lesser.sql("REVOKE INSERT ON samples FROM loader")
    plan = lesser.plan(sample_rows(3), contract=mine, sequence=2)
    with pytest.raises(Rejected, match=r"permission denied for table samples \[42501\]; grant the right"):
        load(lesser.destination, plan)
    assert lesser.landed(mine) == lesser.staged(sample_rows(1), mine)


# --- definitions that belong to another role


def test_labels_of_another_owners_table_are_its_own_affair(lesser: Store) -> None:
    restricted(lesser, TABLE, "GRANT SELECT, INSERT, UPDATE ON samples TO loader")
    assert lesser.load(sample_rows(3), contract=contract()).inserted == 3
    assert lesser.sql("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'ownlens%'") == [(0,)]


def test_a_column_that_another_owners_table_lacks(lesser: Store) -> None:
    restricted(lesser, TABLE, "GRANT SELECT, INSERT, UPDATE ON samples TO loader")
    wider = contract(columns={**COLUMNS, "large": "int64?"})
    message = refusal(lesser, wider)
    assert (
        "lacks columns, or has narrower ones than the contract, and belongs to another role, which must run ALTER TABLE"
        in message
    )
    lesser.sql(message.partition("must run ")[2])
    assert lesser.load(sample_rows(3), contract=wider).inserted == 3


def test_a_foreign_key_that_another_owners_table_lacks(lesser: Store) -> None:
    parents = contract(table="parents", columns={"id": "int64", "updated_at": "timestamptz"})
    lesser.load(sample_rows(2), contract=parents)
    restricted(lesser, TABLE, "GRANT SELECT, INSERT, UPDATE ON samples TO loader")
    child = contract(references={"id": "parents.id"})
    message = refusal(lesser, child)
    statement, _, rest = message.partition("must run ")[2].partition("; or ")
    assert rest == "set foreign_keys: ignore"
    lesser.sql(statement)
    result = lesser.load(sample_rows(3), contract=child)
    assert (result.inserted, result.rejected) == (2, 1)


# --- row-level security

POLICY = "CREATE POLICY own ON samples USING (id < 2)"


@pytest.mark.parametrize("owner", ["postgres", "loader"])
def test_a_policy_that_could_hide_rows_is_refused(lesser: Store, owner: str) -> None:
    """Rows that the role cannot see would be loaded twice, or counted as new. FORCE makes policies hold for owners."""
    mine = contract()
    lesser.load(sample_rows(3), contract=mine)
    lesser.sql(f"ALTER TABLE samples OWNER TO {owner}")
    for change in (
        "GRANT SELECT, INSERT, UPDATE ON samples TO loader",
        POLICY,
        "ALTER TABLE samples FORCE ROW LEVEL SECURITY",
        "ALTER TABLE samples ENABLE ROW LEVEL SECURITY",
    ):
        lesser.sql(change)
    message = refusal(lesser, mine, sequence=2)
    assert 'row-level security of "public"."samples" can hide rows from user \'loader\'; run ALTER ROLE' in message
    with pytest.raises(Rejected, match="row-level security"):
        lesser.landed(mine)
    lesser.sql("ALTER ROLE loader BYPASSRLS")
    try:
        assert lesser.load(sample_rows(4), contract=mine, sequence=2).inserted == 1
    finally:
        lesser.sql("ALTER ROLE loader NOBYPASSRLS")


def test_a_policy_does_not_bind_the_tables_owner(lesser: Store) -> None:
    mine = contract()
    lesser.load(sample_rows(3), contract=mine)
    lesser.sql(POLICY)
    lesser.sql("ALTER TABLE samples ENABLE ROW LEVEL SECURITY")
    assert lesser.load(sample_rows(4, version=1), contract=mine, sequence=2).updated == 3
    assert lesser.landed(mine) == lesser.staged(sample_rows(4, version=1), mine)


def test_a_policy_of_a_parent_is_refused_too(lesser: Store) -> None:
    parents = contract(table="parents", columns={"id": "int64", "updated_at": "timestamptz"})
    lesser.load(sample_rows(3), contract=parents)
    lesser.sql("ALTER TABLE parents ENABLE ROW LEVEL SECURITY")
    lesser.sql("ALTER TABLE parents FORCE ROW LEVEL SECURITY")
    assert 'row-level security of "public"."parents"' in refusal(lesser, contract(references={"id": "parents.id"}))
