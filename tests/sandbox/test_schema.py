"""The newsroom's tables carry what the contracts say."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from ownlens_plugins.contracts import TableContract, parse_type
from ownlens_sandbox.newsroom import create_schema
from ownlens_sandbox.newsroom.schema import column_type

KEYS = """
    SELECT c.conrelid::regclass::text, array_agg(a.attname::text ORDER BY k.place)
    FROM pg_constraint AS c, unnest(c.conkey) WITH ORDINALITY AS k (attnum, place), pg_attribute AS a
    WHERE c.contype = 'p' AND c.connamespace = 'public'::regnamespace
        AND a.attrelid = c.conrelid AND a.attnum = k.attnum GROUP BY c.oid
"""
REFERENCES = """
    SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text
    FROM pg_constraint AS c JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.convalidated
"""
COLUMNS = """
    SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = 'public'
"""


def test_every_table_has_the_keys_and_columns_of_its_contract(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    keys = {table: tuple(columns) for table, columns in newsroom.execute(KEYS)}
    assert keys == {contract.table: contract.key for contract in contracts}
    columns = {(contract.table, column.name, column.nullable) for contract in contracts for column in contract.columns}
    assert set(newsroom.execute(COLUMNS)) == columns


def test_foreign_keys_stand_and_are_checked_after_the_fill(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    wanted = {(contract.table, ref.column, ref.table) for contract in contracts for ref in contract.references}
    assert set(newsroom.execute(REFERENCES)) == wanted
    assert len(wanted) > 100


def test_an_unknown_enum_label_is_refused(newsroom: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        newsroom.execute("UPDATE users SET subscription_status = 'gone'")


def test_schema_is_created_whole_or_not_at_all(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    newsroom.execute("DROP TABLE audit_logs")
    with pytest.raises(psycopg.errors.DuplicateTable):
        create_schema(newsroom, contracts)
    with closing(newsroom.execute("SELECT to_regclass('audit_logs')")) as cursor:
        assert cursor.fetchone() == (None,)


@pytest.mark.parametrize(
    ("logical", "expected"),
    [
        ("decimal(12,2)", "numeric(12,2)"),
        ("array<decimal(5,1)>", "numeric(5,1)[]"),
        ("array<text>", "text[]"),
        ("json", "jsonb"),
        ("bytes", "bytea"),
        ("enum(a, b)", "text"),
    ],
)
def test_column_types(logical: str, expected: str) -> None:
    assert column_type(parse_type(logical)[0]) == expected
