"""What in the database hangs on a table's columns, and the statement that takes each of these things away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected, Retryable

from .catalog import TREE
from .connection import Connection
from .validation import PREFIX

# PostgreSQL gives none of these a column of another type, though no value changes.
PINNED = frozenset(
    {"view", "materialized view", "rule", "trigger", "policy", "generated column", "publication", "function"}
)
# Nor is there a meaning that these keep when a column holds values of another kind.
WORDED = PINNED | {"check", "exclusion constraint", "typed index", "default", "reference", "foreign key", "primary key"}
# What would go with a column without a word from PostgreSQL, or holds it fast.
HELD = (WORDED - {"default"}) | {"index", "unique key", "statistics"}


@dataclass(frozen=True, slots=True)
class Dependent:
    """One thing that uses a column: `name` is qualified and quoted where it has a schema.

    A "foreign key" is the table's own, a "reference" one of another table to it. `constraint` is the bare name of one.
    """

    kind: str
    name: str
    column: str
    drop: str
    constraint: str = ""

    def __str__(self) -> str:
        return f"{self.kind.removeprefix('typed ')} {self.name}"

    @property
    def is_validation(self) -> bool:
        return self.kind == "view" and PREFIX in self.name


def dependents(connection: Connection, oid: int, columns: Iterable[str]) -> list[Dependent]:
    """Return what uses one of these columns of a table, in the order in which it can be dropped."""
    names = sorted(set(columns))
    if not names:
        return []
    found = connection.run(_VIEWS, oid, json.dumps(names)) + connection.run(_OTHERS, oid, json.dumps(names))
    return [Dependent(*row) for row in found]


def references_to(connection: Connection, oid: int) -> list[Dependent]:
    """Return the foreign keys by which other tables reference any of a table's columns."""
    return [Dependent(*row) for row in connection.run(_REFERENCES, oid)]


def require_none(contract: TableContract, held: Sequence[Dependent]) -> None:
    """Refuse to change columns that something uses.

    Raises:
        Rejected: its name, and what to run.
        Retryable: a validation is looking at the column.
    """
    if not held:
        return
    columns = ", ".join(repr(name) for name in sorted({each.column for each in held}))
    where = f"{contract.table}: postgresql cannot change column{'s' if ',' in columns else ''} {columns} while"
    statements = "; ".join(dict.fromkeys(each.drop for each in held))
    if all(each.is_validation for each in held):
        raise Retryable(
            f"{where} they are validated; run it again, or, if that validation was killed, run {statements} first"
        )
    things = ", ".join(dict.fromkeys(str(each) for each in held))
    raise Rejected(f"{where} {things} uses them; make that anew afterwards: run {statements}, and load again")


_WHERE = """
FROM pg_depend AS d
JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attnum > 0
JOIN pg_class AS t ON t.oid = a.attrelid
"""
_OF_COLUMNS = f"""
d.refclassid = 'pg_class'::regclass AND d.refobjid IN {TREE} AND $2::text::jsonb ? a.attname::text
"""

# Views of views go first.
_VIEWS = f"""
WITH RECURSIVE shown(oid, depth, attname) AS (
    SELECT r.ev_class, 1, a.attname::text {_WHERE}
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> d.refobjid
    WHERE {_OF_COLUMNS}
    UNION
    SELECT r.ev_class, s.depth + 1, s.attname FROM shown AS s
    JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
    JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> s.oid
)
SELECT k.kind, s.oid::regclass::text, min(s.attname), 'DROP ' || upper(k.kind) || ' ' || s.oid::regclass::text, ''
FROM shown AS s JOIN pg_class AS c ON c.oid = s.oid
CROSS JOIN LATERAL (SELECT CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END) AS k(kind)
WHERE c.relkind IN ('v', 'm')
GROUP BY s.oid, k.kind ORDER BY max(s.depth) DESC, 2
"""

_REFERENCES = f"""
SELECT 'reference', quote_ident(con.conname) || ' of ' || con.conrelid::regclass::text, a.attname::text,
    'ALTER TABLE ' || con.conrelid::regclass::text || ' DROP CONSTRAINT ' || quote_ident(con.conname), con.conname::text
FROM pg_constraint AS con JOIN pg_attribute AS a ON a.attrelid = con.confrelid AND a.attnum = con.confkey[1]
WHERE con.contype = 'f' AND con.confrelid IN {TREE} AND con.conrelid NOT IN {TREE} AND con.conparentid = 0
ORDER BY 2
"""

_OTHERS = f"""
SELECT 'rule', quote_ident(r.rulename), a.attname::text,
    'DROP RULE ' || quote_ident(r.rulename) || ' ON ' || r.ev_class::regclass::text, ''
{_WHERE} JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
JOIN pg_class AS on_ ON on_.oid = r.ev_class AND on_.relkind NOT IN ('v', 'm')
WHERE {_OF_COLUMNS}
UNION
SELECT 'trigger', quote_ident(g.tgname), a.attname::text,
    'DROP TRIGGER ' || quote_ident(g.tgname) || ' ON ' || g.tgrelid::regclass::text, ''
{_WHERE} JOIN pg_trigger AS g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
WHERE {_OF_COLUMNS} AND NOT g.tgisinternal AND g.tgparentid = 0
UNION
SELECT 'policy', quote_ident(p.polname), a.attname::text,
    'DROP POLICY ' || quote_ident(p.polname) || ' ON ' || p.polrelid::regclass::text, ''
{_WHERE} JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid WHERE {_OF_COLUMNS}
UNION
SELECT CASE WHEN o.attnum = a.attnum THEN 'default' ELSE 'generated column' END, quote_ident(o.attname),
    a.attname::text, 'ALTER TABLE ' || t.oid::regclass::text || CASE WHEN o.attnum = a.attnum
    THEN ' ALTER COLUMN ' || quote_ident(o.attname) || ' DROP DEFAULT'
    ELSE ' DROP COLUMN ' || quote_ident(o.attname) END, ''
{_WHERE} JOIN pg_attrdef AS v ON d.classid = 'pg_attrdef'::regclass AND v.oid = d.objid AND v.adrelid = d.refobjid
JOIN pg_attribute AS o ON o.attrelid = v.adrelid AND o.attnum = v.adnum
WHERE {_OF_COLUMNS} AND NOT t.relispartition AND NOT (o.attnum = a.attnum AND o.attgenerated <> '')
UNION
SELECT 'publication', quote_ident(p.pubname), a.attname::text,
    'ALTER PUBLICATION ' || quote_ident(p.pubname) || ' DROP TABLE ' || t.oid::regclass::text, ''
{_WHERE} JOIN pg_publication_rel AS m ON d.classid = 'pg_publication_rel'::regclass AND m.oid = d.objid
JOIN pg_publication AS p ON p.oid = m.prpubid WHERE {_OF_COLUMNS}
UNION
SELECT 'function', f.oid::regprocedure::text, a.attname::text, 'DROP ROUTINE ' || f.oid::regprocedure::text, ''
{_WHERE} JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid WHERE {_OF_COLUMNS}
UNION
SELECT 'statistics', n.name, a.attname::text, 'DROP STATISTICS ' || n.name, ''
{_WHERE} JOIN pg_statistic_ext AS s ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid
CROSS JOIN LATERAL (SELECT quote_ident(s.stxnamespace::regnamespace::text) || '.' || quote_ident(s.stxname)) AS n(name)
WHERE {_OF_COLUMNS}
UNION
SELECT CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL AND m.amname IN ('btree', 'hash') AND NOT EXISTS (
        SELECT FROM unnest(i.indclass::oid[], i.indcollation::oid[], i.indkey::smallint[]) AS k(opclass, l, number)
        JOIN pg_opclass AS o ON o.oid = k.opclass
        JOIN pg_attribute AS b ON b.attrelid = i.indrelid AND b.attnum = k.number
        WHERE NOT o.opcdefault OR k.l <> b.attcollation) THEN 'index' ELSE 'typed index' END,
    i.indexrelid::regclass::text, a.attname::text, 'DROP INDEX ' || i.indexrelid::regclass::text, ''
{_WHERE} JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
JOIN pg_class AS c ON c.oid = i.indexrelid AND NOT c.relispartition JOIN pg_am AS m ON m.oid = c.relam
WHERE {_OF_COLUMNS}
UNION
SELECT CASE con.contype WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion constraint' WHEN 'p' THEN 'primary key'
        WHEN 'u' THEN 'unique key' ELSE CASE WHEN k.own THEN 'foreign key' ELSE 'reference' END END,
    quote_ident(con.conname) || CASE WHEN k.own THEN '' ELSE ' of ' || con.conrelid::regclass::text END,
    a.attname::text, 'ALTER TABLE ' || con.conrelid::regclass::text || ' DROP CONSTRAINT ' || quote_ident(con.conname),
    con.conname::text
{_WHERE} JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid
CROSS JOIN LATERAL (SELECT con.conrelid = d.refobjid) AS k(own)
WHERE {_OF_COLUMNS} AND con.contype IN ('c', 'x', 'p', 'u', 'f') AND con.conparentid = 0
ORDER BY 1, 2, 3
"""
