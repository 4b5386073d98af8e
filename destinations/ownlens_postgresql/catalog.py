"""What the database says about a table: columns, keys, foreign keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .connection import Connection

ORDINARY = "r"
PARTITIONED = "p"


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """One column as it is: `type` as format_type() prints it, `filled` when the server has a default for it.

    The type of a `domain` is what is below it. `identity` and `generated` are the catalogue's letters, or nothing.
    PostgreSQL does not alter the type of a `fixed` column: it is another table's too, or one of a partition key's. Nor
    does it let columns hold NULL that are `not_null_for_good`: another table's, a primary key's, an identity's.
    """

    type: str
    required: bool
    filled: bool
    generated: str
    identity: str
    domain: bool
    fixed: bool
    not_null_for_good: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key; `child` is qualified and quoted.

    `validated` says that there is nothing to validate: NOT ENFORCED is its owner's word. `is_own` says that the table
    asked for references itself, `by_period` that the last columns need to overlap only (PERIOD). `grant` is what this
    role lacks to read the columns.
    """

    name: str
    child: str
    columns: tuple[str, ...]
    parent_oid: int
    parent_columns: tuple[str, ...]
    validated: bool
    is_own: bool
    by_period: bool
    grant: str


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
SELECT a.attname::text, b.type, a.attnotnull OR b.required, a.atthasdef OR a.attidentity <> '',
    a.attgenerated::text, a.attidentity::text, b.depth > 0,
    a.attinhcount > 0 OR EXISTS (
        SELECT FROM pg_partitioned_table AS p WHERE p.partrelid = a.attrelid AND a.attnum = ANY (p.partattrs)),
    a.attinhcount > 0 OR a.attidentity <> '' OR b.required OR EXISTS (
        SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND (i.indisprimary OR i.indisreplident)
        AND a.attnum = ANY (i.indkey))
FROM pg_attribute AS a
CROSS JOIN LATERAL (
    WITH RECURSIVE below(oid, typmod, depth, required) AS (
        SELECT a.atttypid, a.atttypmod, 0, false
        UNION ALL
        SELECT t.typbasetype, t.typtypmod, o.depth + 1, o.required OR t.typnotnull
        FROM below AS o JOIN pg_type AS t ON t.oid = o.oid AND t.typtype = 'd'
    )
    SELECT format_type(oid, typmod), depth, required FROM below ORDER BY depth DESC LIMIT 1) AS b(type, depth, required)
WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


def inherited_from(connection: Connection, oid: int) -> list[tuple[str, str]]:
    """Return the tables whose columns a table has, each with the end of the ALTER TABLE that frees it of them."""
    return [(parent, change) for parent, change in connection.run(_PARENTS, oid)]


_PARENTS = """
SELECT 'ALTER TABLE ' || CASE WHEN c.relispartition THEN p.parent ELSE c.oid::regclass::text END,
    CASE WHEN c.relispartition THEN ' DETACH PARTITION ' || c.oid::regclass::text ELSE ' NO INHERIT ' || p.parent END
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT i.inhparent::regclass::text) AS p(parent)
WHERE i.inhrelid = $1::bigint::oid ORDER BY i.inhseqno
"""


def partition_columns(connection: Connection, oid: int) -> list[str] | None:
    """Return the columns that a partitioned table is divided by; None for one that is divided by an expression."""
    rows = connection.run(_PARTITION_COLUMNS, oid)
    return None if any(name is None for (name,) in rows) else [name for (name,) in rows]


_PARTITION_COLUMNS = """
SELECT a.attname::text FROM pg_partitioned_table AS p CROSS JOIN LATERAL unnest(p.partattrs::smallint[]) AS k(number)
LEFT JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = k.number AND k.number > 0
WHERE p.partrelid = $1::bigint::oid
"""


def primary_key(connection: Connection, oid: int) -> str | None:
    """Return the name of a table's primary key constraint."""
    rows = connection.run(
        "SELECT conname::text FROM pg_constraint WHERE conrelid = $1::bigint::oid AND contype = 'p'", oid
    )
    return rows[0][0] if rows else None


def keys_over(connection: Connection, oid: int, columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return what keeps columns not null, each with the end of the ALTER TABLE that takes it away."""
    return [(what, change) for what, change in connection.run(_KEYS_OVER, oid, json.dumps([*columns]))]


_KEYS_OVER = """
SELECT CASE WHEN i.indisprimary THEN 'the primary key ' ELSE 'the replica identity ' END || n.name,
    CASE WHEN i.indisprimary THEN 'DROP CONSTRAINT ' || n.name ELSE 'REPLICA IDENTITY FULL' END
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
CROSS JOIN LATERAL (SELECT quote_ident(c.relname)) AS n(name)
WHERE i.indrelid = $1::bigint::oid AND (i.indisprimary OR i.indisreplident) AND EXISTS (
    SELECT FROM pg_attribute AS a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    AND $2::text::jsonb ? a.attname::text)
ORDER BY 1
"""


def rules_of(connection: Connection, oid: int) -> list[str]:
    """Return the names, quoted, of the rules that act in place of or beside a load's statements."""
    return [name for (name,) in connection.run(_RULES, oid)]


_RULES = """
SELECT quote_ident(rulename) FROM pg_rewrite
WHERE ev_class = $1::bigint::oid AND ev_type <> '1' AND ev_enabled <> 'D' ORDER BY 1
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
    """Return the column sets that ON CONFLICT can name: unique by =, immediate, whole, and over plain columns.

    What an index INCLUDEs is no part of its key; a key WITHOUT OVERLAPS is one of exclusion.
    """
    return {frozenset(names) for (names,) in connection.run(_UNIQUE, oid)}


_UNIQUE = """
SELECT ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.place <= i.indnkeyatts)
FROM pg_index AS i
WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indimmediate AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion
"""


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """A CHECK of one column's labels, by its name; `labels` are the texts in it."""

    name: str
    column: str
    labels: tuple[str, ...]


def label_checks(connection: Connection, oid: int) -> list[LabelCheck]:
    """Return the CHECK constraints over one column alone whose names start like those of labels."""
    return [LabelCheck(name, column, _texts(check)) for name, column, check in connection.run(_CHECKS, oid)]


def _texts(expression: str) -> tuple[str, ...]:
    return tuple(text.replace("''", "'") for text in _TEXT_OR_NAME.findall(expression) if text)


# A quoted name is taken as a whole, so that no quote in it begins a text.
_TEXT_OR_NAME = re.compile(r"""\"(?:[^"]|"")*"|'((?:[^']|'')*)'""")

_CHECKS = """
SELECT con.conname::text, a.attname::text, pg_get_expr(con.conbin, con.conrelid) FROM pg_constraint AS con
JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND con.conkey = ARRAY[a.attnum]
WHERE con.conrelid = $1::bigint::oid AND con.contype = 'c' AND starts_with(con.conname::text, 'ownlens_labels_')
ORDER BY con.conname
"""


def foreign_keys_from(connection: Connection, oid: int) -> list[ForeignKey]:
    """Return the foreign keys of a table."""
    return _foreign_keys(connection, "con.conrelid = $1::bigint::oid AND con.conparentid = 0", oid)


def foreign_keys_to(connection: Connection, oid: int) -> list[ForeignKey]:
    """Return the foreign keys, of any table, that reference a table or one of its partitions."""
    return _foreign_keys(connection, _TO_THE_TREE, oid)


def _foreign_keys(connection: Connection, which: str, oid: int) -> list[ForeignKey]:
    return [_foreign_key(*row) for row in connection.run(_FOREIGN_KEYS.format(which=which, tree=TREE), oid)]


def _foreign_key(
    name: str, child: str, columns: list[str], parent: int, parent_columns: list[str], *facts: Any
) -> ForeignKey:
    return ForeignKey(name, child, tuple(columns), parent, tuple(parent_columns), *facts)


# The table with its partitions; pg_partition_tree() has no rows for one that is neither.
TREE = "(SELECT $1::bigint::oid UNION ALL SELECT relid FROM pg_partition_tree($1::bigint::oid))"

# A foreign key's copies for partitions say nothing new, unless the table is itself a partition of the referenced one.
_TO_THE_TREE = f"""
con.confrelid IN {TREE} AND NOT EXISTS (
    SELECT FROM pg_constraint AS whole WHERE whole.oid = con.conparentid AND whole.confrelid IN {TREE})
"""


@dataclass(frozen=True, slots=True)
class Risk:
    """What makes a table unfit to be loaded: `name` is the table or index, qualified and quoted."""

    kind: str
    name: str
    column: str = ""


def storage_risks(connection: Connection, oid: int) -> list[Risk]:
    """Return what of a table is not kept like the ledger: unlogged, foreign, or in an inheritance child."""
    return [Risk(*row) for row in connection.run(_STORAGE_RISKS.format(tree=TREE), oid)]


_STORAGE_RISKS = """
SELECT CASE WHEN c.relkind = 'f' THEN 'foreign' ELSE 'unlogged' END, c.oid::regclass::text
FROM pg_class AS c WHERE c.oid IN {tree} AND (c.relkind = 'f' OR c.relkind = 'r' AND c.relpersistence <> 'p')
UNION ALL
SELECT 'child', i.inhrelid::regclass::text
FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent AND p.relkind = 'r' WHERE p.oid = $1::bigint::oid
ORDER BY 1, 2
"""


def key_risks(connection: Connection, oid: int, key: Iterable[str]) -> list[Risk]:
    """Return what of a key takes different texts for equal, columns and indexes, and constraints that are deferrable.

    ON CONFLICT takes every unique index over a key's columns, whatever its collation, and none that is deferrable.
    """
    return [Risk(*row) for row in connection.run(_KEY_RISKS, oid, json.dumps(sorted(key)))]


_KEY_RISKS = """
SELECT 'column', a.attrelid::regclass::text, a.attname::text
FROM pg_attribute AS a JOIN pg_collation AS l ON l.oid = a.attcollation AND NOT l.collisdeterministic
WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND $2::text::jsonb ? a.attname::text
UNION ALL
SELECT 'index', i.indexrelid::regclass::text, a.attname::text
FROM pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indcollation::oid[]) AS k(number, collation_oid)
JOIN pg_collation AS l ON l.oid = k.collation_oid AND NOT l.collisdeterministic
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number AND a.attcollation <> l.oid
WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND $2::text::jsonb ? a.attname::text
UNION ALL
SELECT 'deferrable', quote_ident(con.conname), ''
FROM pg_constraint AS con
WHERE con.conrelid = $1::bigint::oid AND con.contype IN ('p', 'u') AND con.condeferrable
    AND cardinality(con.conkey) = jsonb_array_length($2::text::jsonb)
    AND NOT EXISTS (
        SELECT FROM pg_attribute AS a WHERE a.attrelid = con.conrelid AND a.attnum = ANY (con.conkey)
        AND NOT $2::text::jsonb ? a.attname::text)
ORDER BY 1, 2
"""

# search_path holds the catalogue only, so that regclass prints every other name qualified.
_FOREIGN_KEYS = """
SELECT con.conname::text, con.conrelid::regclass::text,
    ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY AS k(number, place)
          JOIN pg_attribute AS a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.place),
    con.confrelid::bigint,
    ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY AS k(number, place)
          JOIN pg_attribute AS a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.place),
    con.convalidated OR NOT coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true), con.conrelid IN {tree},
    coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false),
    CASE WHEN EXISTS (
        SELECT FROM unnest(con.conkey) AS k(number) WHERE NOT has_column_privilege(con.conrelid, k.number, 'SELECT'))
    THEN 'GRANT SELECT ON ' || con.conrelid::regclass::text || ' TO ' || quote_ident(current_user) ELSE '' END
FROM pg_constraint AS con
WHERE con.contype = 'f' AND {which}
ORDER BY con.conname
"""
