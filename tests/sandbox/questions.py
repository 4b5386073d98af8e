"""What the sandbox's tests ask a newsroom."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from ownlens_plugins.contracts import TableContract


def ask(connection: psycopg.Connection, query: str, *names: str) -> Any:
    """Return the single value that a query answers; `{}` in it stands for the next name, quoted."""
    row = connection.execute(sql.SQL(query).format(*map(sql.Identifier, names))).fetchone()
    assert row is not None
    return row[0]


def count_rows(connection: psycopg.Connection, contracts: list[TableContract]) -> dict[str, int]:
    """Return the rows of each table."""
    return {contract.table: ask(connection, "SELECT count(*) FROM {}", contract.table) for contract in contracts}


def digest(connection: psycopg.Connection, contracts: list[TableContract]) -> dict[str, str]:
    """Return a digest of each table's rows, whatever their order."""
    query = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {} AS t"
    connection.execute("SET timezone = 'UTC'")
    return {contract.table: ask(connection, query, contract.table) for contract in contracts}
