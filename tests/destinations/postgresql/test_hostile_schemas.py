"""A schema of an enemy, first in the role's search_path: nothing in it is ever called, read or written."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing import sample_contract, sample_rows

from .conftest import Store

# A twin of each operator, table and called function of the catalogue that can have one. The functions fail.
TWINS = """
CREATE SCHEMA enemy;
GRANT USAGE ON SCHEMA enemy TO PUBLIC;
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT *, pg_get_function_identity_arguments(oid) AS takes, pg_get_function_result(oid) AS gives
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset
        AND (proname = ANY (%(called)s::text[]) OR oid IN (SELECT oprcode FROM pg_operator)) LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION enemy.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS '
                '''BEGIN RAISE EXCEPTION ''''the enemy is called: %%s''''; END''', one.proname, one.takes, one.gives,
                one.proname);
        EXCEPTION WHEN OTHERS THEN NULL;  -- no twin of a function of internal types
        END;
    END LOOP;
    FOR one IN SELECT o.*, f.proname FROM pg_operator AS o JOIN pg_proc AS f ON f.oid = o.oprcode WHERE o.oprleft <> 0
    LOOP
        BEGIN
            EXECUTE format('CREATE OPERATOR enemy.%%s (LEFTARG = %%s, RIGHTARG = %%s, FUNCTION = enemy.%%I)',
                one.oprname, one.oprleft::regtype, one.oprright::regtype, one.proname);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('CREATE TABLE enemy.%%I ()', one.relname);
    END LOOP;
END $$;
CREATE DOMAIN enemy.text AS int4;
CREATE DOMAIN enemy.jsonb AS int4;
CREATE DOMAIN enemy.timestamptz AS int4;
CREATE DOMAIN enemy.regclass AS int4;
CREATE DOMAIN enemy.float8 AS int4;
GRANT ALL ON ALL TABLES IN SCHEMA enemy TO PUBLIC
"""
CALLED = [
    *("version", "set_config", "current_setting", "strpos", "format_type", "starts_with", "hashtextextended"),
    *("pg_advisory_xact_lock", "clock_timestamp", "now", "row_security_active", "has_schema_privilege"),
    *("has_database_privilege", "has_column_privilege", "has_table_privilege", "current_database", "jsonb_object"),
    *("jsonb_typeof", "to_char", "substr", "length", "pg_has_role"),
]
OURS = ("loads", "tables", "quarantine", "samples", "parents", "_ownlens_stage", "_ownlens_doomed")


@pytest.fixture
def besieged(lesser: Store) -> Store:
    with lesser.connect(lesser.config.database) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(TWINS.encode(), {"called": CALLED})
    for name in OURS:
        lesser.sql(f"CREATE TABLE enemy.{name} (); GRANT ALL ON enemy.{name} TO PUBLIC")
    for name in ("loads", "tables", "quarantine"):
        lesser.sql(f"CREATE TABLE public.{name} (enemy int)")
    lesser.sql(f"ALTER ROLE loader IN DATABASE {lesser.config.database} SET search_path = enemy, pg_catalog, public")
    return lesser


def test_the_enemy_is_there(besieged: Store) -> None:
    """Without these twins the other tests prove nothing."""
    twins = besieged.sql(
        "SELECT (SELECT count(*) FROM pg_operator WHERE oprnamespace = 'enemy'::regnamespace) > 600, "
        "ARRAY(SELECT unnest(%s::text[]) EXCEPT "
        "SELECT proname FROM pg_proc WHERE pronamespace = 'enemy'::regnamespace)",
        CALLED,
    )
    assert twins == [(True, [])]
    with besieged.session() as connection:
        connection.execute("SET ROLE loader; SET search_path = enemy, pg_catalog")
        for statement in ("SELECT version()", "SELECT 1 = 1"):
            with pytest.raises(psycopg.errors.RaiseException, match="the enemy is called"):
                connection.execute(statement.encode())


def test_loads_never_call_the_enemy(besieged: Store) -> None:
    store = besieged
    parents = sample_contract("reference", table="parents", columns={"id": "int64", "updated_at": "timestamptz"})
    for number, strategy in enumerate([Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE], start=1):
        store.load(sample_rows(number + 1), contract=parents, sequence=number)
        block: dict[str, Any] = {"strategy": strategy.value, "on_conflict": "update"}
        contract = sample_contract(
            extraction="whole", references={"id": "parents.id"}, destinations={"postgresql": block}
        )
        result = store.load(sample_rows(5, version=number), contract=contract, sequence=number)
        assert result.rejected == 4 - number
        assert store.landed(contract) == store.staged(sample_rows(number + 1, version=number), contract)
    plain = sample_contract(table="plain", destinations={"postgresql": {"strategy": "append", "on_conflict": "error"}})
    assert store.load(sample_rows(5), contract=plain).inserted == 5
    assert store.load(sample_rows(5), contract=plain).replayed
    for name in OURS:
        assert store.sql(f"SELECT count(*) FROM enemy.{name}") == [(0,)]
    store.destination.check()


def test_a_validation_never_calls_the_enemy(besieged: Store) -> None:
    besieged.load(sample_rows(3))
    target = besieged.destination.validation_target(besieged.plan(sample_rows(3)))
    engine = sa.create_engine(target.url)
    try:
        with engine.connect() as connection:
            relation = sa.table(target.relation, sa.column("id"), schema=target.schema)
            query = sa.select(sa.func.count()).select_from(relation).where(relation.c.id < 2)
            assert connection.execute(query).scalar() == 2
    finally:
        engine.dispose()
        besieged.destination.release_validation_target(target)
