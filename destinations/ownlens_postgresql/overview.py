"""Where all tables stand, in two statements of one connection: ledger, catalogue and sizes, then which have rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ownlens_plugins.powers import TableState

from . import sql
from .connection import Connection
from .database import Database
from .errors import is_missing
from .ledger import Ledger


def overview(database: Database, ledger: Ledger, schema: str, tables: Sequence[str]) -> Mapping[str, TableState]:
    """Return the state of the named tables of a schema that the ledger knows."""
    with database.transaction(database.context(None), reading=True) as connection:
        try:
            query = _KNOWN.format(tables=sql.qualified(ledger.schema, "tables"), loads=_loads(ledger))
            known = connection.run(query, schema, json.dumps(sorted(tables)))
        except Exception as error:
            if not is_missing(error):  # nothing was loaded into this database yet
                raise
            return {}
        # One that counts rows and shows none was emptied as a whole: its loads have to be looked at one by one.
        filled = _filled(connection, schema, [name for name, *_, is_same, counted in known if is_same and counted > 0])
    return {row[0]: _state(row, filled) for row in known}


def _loads(ledger: Ledger) -> str:
    return sql.qualified(ledger.schema, "loads")


def _filled(connection: Connection, schema: str, tables: Iterable[str]) -> set[str]:
    asked = [f"SELECT {sql.literal(name)} WHERE EXISTS (SELECT FROM {sql.qualified(schema, name)})" for name in tables]
    return {name for (name,) in connection.run(" UNION ALL ".join(asked), slow=True)} if asked else set()


def _state(row: Sequence[Any], filled: set[str]) -> TableState:
    name, sequence, digest, loaded_at, rows, seconds, size, is_same, counted = row
    if sequence is None:
        return TableState(bytes=size, is_sure=True)
    is_sure = bool(is_same) and (counted <= 0 or name in filled)
    return TableState(sequence, digest, loaded_at, rows, seconds, size, is_sure)


# The newest load of each table by the ledger's key: nothing here reads more of it the longer it gets. The document is
# for a ledger of an older version, which lacks the column. A table that this role may not read has to be asked for.
_KNOWN = """
SELECT t.table_name, l.sequence, l.digest, l.committed_at, l.rows, l.seconds,
    CASE c.relkind
        WHEN 'p' THEN (SELECT sum(pg_total_relation_size(p.relid))::bigint FROM pg_partition_tree(c.oid) AS p)
        ELSE pg_total_relation_size(c.oid)
    END,
    coalesce((to_jsonb(t) ->> 'table_oid')::bigint, c.oid::bigint) = c.oid::bigint
        AND has_table_privilege(c.oid, 'SELECT'),
    t.rows_loaded
FROM {tables} AS t
LEFT JOIN pg_namespace AS n ON n.nspname = t.table_schema
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.table_name AND c.relkind IN ('r', 'p')
LEFT JOIN LATERAL (
    SELECT sequence, digest, committed_at, rows, seconds FROM {loads} AS l
    WHERE l.table_schema = t.table_schema AND l.table_name = t.table_name ORDER BY sequence DESC LIMIT 1
) AS l ON true
WHERE t.table_schema = $1::text AND t.table_name = ANY (ARRAY(SELECT jsonb_array_elements_text($2::text::jsonb)))
"""
