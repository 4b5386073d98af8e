"""What the database says about a table: columns, keys, foreign keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .connection import Connection

ORDINARY = "r"
PARTITIONED = "p"


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """One column as it is: `type` as format_type() prints it, `filled` when the server has a default for it.

    PostgreSQL does not alter the type of a `fixed` column: it is another table's too, or one of a partition key's. Nor
    does it let columns hold NULL that are `not_null_for_good`: another table's, a primary key's, an identity's.
    """

    type: str
    required: bool
    filled: bool
    generated: bool
    fixed: bool
    not_null_for_good: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key; `child` is qualified and quoted.

    `validated` says that there is nothing to validate: NOT ENFORCED is its owner's word. `is_own` says that the table
    asked for references itself.
    """

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
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> '',
    a.attgenerated <> '',
    a.attinhcount > 0 OR EXISTS (
        SELECT FROM pg_partitioned_table AS p WHERE p.partrelid = a.attrelid AND a.attnum = ANY (p.partattrs)),
    a.attinhcount > 0 OR a.attidentity <> '' OR EXISTS (
        SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND (i.indisprimary OR i.indisreplident)
        AND a.attnum = ANY (i.indkey))
FROM pg_attribute AS a WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
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


@dataclass(frozen=True, slots=True)
class View:
    """A view that shows a column of a table; `relation` is qualified and quoted."""

    name: str
    relation: str
    column: str


def views_of(connection: Connection, oid: int, columns: Iterable[str]) -> list[View]:
    """Return the views that use one of these columns of a table."""
    return [View(*row) for row in connection.run(_VIEWS, oid, json.dumps(sorted(columns)))]


_VIEWS = """
SELECT DISTINCT v.relname::text, v.oid::regclass::text, a.attname::text
FROM pg_depend AS d
JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
JOIN pg_rewrite AS r ON r.oid = d.objid
JOIN pg_class AS v ON v.oid = r.ev_class AND v.oid <> d.refobjid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::bigint::oid
  AND $2::text::jsonb ? a.attname::text
ORDER BY 2, 3
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


@dataclass(frozen=True, slots=True)
class Risk:
    """What makes a table unfit to be loaded: `name` is the table or index, qualified and quoted."""

    kind: str
    name: str
    column: str = ""


def storage_risks(connection: Connection, oid: int) -> list[Risk]:
    """Return what of a table is not kept like the ledger: unlogged, foreign, or in an inheritance child."""
    return [Risk(*row) for row in connection.run(_STORAGE_RISKS.format(tree=_TREE), oid)]


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
    con.convalidated OR NOT coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true), con.conrelid IN {tree}
FROM pg_constraint AS con
WHERE con.contype = 'f' AND {which}
ORDER BY con.conname
"""
