"""What the database says about a table: columns, keys, foreign keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .connection import Connection

ORDINARY = "r"
PARTITIONED = "p"


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """One column as it is: `type` as format_type() prints it, `filled` when the server has a default for it."""

    type: str
    required: bool
    filled: bool
    generated: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key; `child` is qualified and quoted. `is_own` says that the table asked for references itself."""

    name: str
    child: str
    columns: tuple[str, ...]
    parent_oid: int
    parent_columns: tuple[str, ...]
    validated: bool
    is_own: bool


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """One relation as it is; `owned` says that this role may change its definition."""

    oid: int
    kind: str
    owned: bool
    columns: Mapping[str, ExistingColumn]


def find_table(connection: Connection, schema: str, table: str) -> ExistingTable | None:
    """Return the relation of that name, whatever kind it is, or None."""
    rows = connection.run(_RELATION, schema, table)
    if not rows:
        return None
    oid, kind, owned = rows[0]
    columns = {name: ExistingColumn(*facts) for name, *facts in connection.run(_COLUMNS, oid)}
    return ExistingTable(oid, kind, owned, columns)


_RELATION = """
SELECT c.oid::bigint, c.relkind::text, pg_has_role(c.relowner, 'USAGE')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text
"""

_COLUMNS = """
SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '', attgenerated <> ''
FROM pg_attribute WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped
"""


def tables_named(connection: Connection, schema: str, names: Iterable[str]) -> dict[str, int]:
    """Return the oids of those tables that exist, by name."""
    return dict(connection.run(_TABLES, schema, json.dumps(sorted(names))))


_TABLES = """
SELECT c.relname::text, c.oid::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p')
  AND c.relname = ANY (ARRAY(SELECT jsonb_array_elements_text($2::text::jsonb)))
"""


def schema_exists(connection: Connection, schema: str) -> bool:
    return bool(connection.run("SELECT 1 FROM pg_namespace WHERE nspname = $1::text", schema))


def unique_keys(connection: Connection, oid: int) -> set[frozenset[str]]:
    """Return the column sets that ON CONFLICT can name: unique, immediate, whole, and over plain columns."""
    return {frozenset(names) for (names,) in connection.run(_UNIQUE, oid)}


_UNIQUE = """
SELECT ARRAY(
    SELECT a.attname::text FROM pg_attribute AS a
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attnum > 0)
FROM pg_index AS i
WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indimmediate AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts
"""


def constraint_names(connection: Connection, oid: int, column: str, prefix: str) -> list[str]:
    """Return the CHECK constraints over one column alone whose names start with a prefix."""
    return [name for (name,) in connection.run(_CHECKS, oid, column, prefix)]


_CHECKS = """
SELECT con.conname::text FROM pg_constraint AS con
JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND con.conkey = ARRAY[a.attnum]
WHERE con.conrelid = $1::bigint::oid AND con.contype = 'c' AND a.attname = $2::text
  AND starts_with(con.conname::text, $3::text)
"""


def foreign_keys_from(connection: Connection, oid: int) -> list[ForeignKey]:
    """Return the foreign keys of a table."""
    return _foreign_keys(connection, "con.conrelid = $1::bigint::oid AND con.conparentid = 0", oid)


def foreign_keys_to(connection: Connection, oid: int) -> list[ForeignKey]:
    """Return the foreign keys, of any table, that reference a table or one of its partitions."""
    return _foreign_keys(connection, _TO_THE_TREE, oid)


def _foreign_keys(connection: Connection, which: str, oid: int) -> list[ForeignKey]:
    return [_foreign_key(*row) for row in connection.run(_FOREIGN_KEYS.format(which=which, tree=_TREE), oid)]


def _foreign_key(
    name: str, child: str, columns: list[str], parent: int, parent_columns: list[str], validated: bool, own: bool
) -> ForeignKey:
    return ForeignKey(name, child, tuple(columns), parent, tuple(parent_columns), validated, own)


# The table with its partitions; pg_partition_tree() has no rows for one that is neither.
_TREE = "(SELECT $1::bigint::oid UNION ALL SELECT relid FROM pg_partition_tree($1::bigint::oid))"

# A foreign key's copies for partitions say nothing new, unless the table is itself a partition of the referenced one.
_TO_THE_TREE = f"""
con.confrelid IN {_TREE} AND NOT EXISTS (
    SELECT FROM pg_constraint AS whole WHERE whole.oid = con.conparentid AND whole.confrelid IN {_TREE})
"""

# search_path holds the catalogue only, so that regclass prints every other name qualified.
_FOREIGN_KEYS = """
SELECT con.conname::text, con.conrelid::regclass::text,
    ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY AS k(number, place)
          JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place),
    con.confrelid::bigint,
    ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY AS k(number, place)
          JOIN pg_attribute AS a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place),
    con.convalidated, con.conrelid IN {tree}
FROM pg_constraint AS con
WHERE con.contype = 'f' AND {which}
ORDER BY con.conname
"""
