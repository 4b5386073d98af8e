"""What a load may not do without: the rights it needs, and the GRANT for each that its role lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected

from .config import OnConflict, PostgreSQLConfig, PostgreSQLOptions
from .connection import Connection
from .errors import Context
from .sql import qualified, quote

# No privilege of PostgreSQL's: that no row-level policy stands between the role and a table's rows.
ALL_ROWS = "ALL ROWS"


@dataclass(frozen=True, slots=True)
class Right:
    """A privilege on the database, a schema or columns of a table: on all columns when none is named.

    What is absent is made, which takes CREATE on what holds it, unless it is `optional`.
    """

    kind: Literal["DATABASE", "SCHEMA", "TABLE"]
    privilege: str
    schema: str = ""
    table: str = ""
    columns: tuple[str, ...] | None = None
    optional: bool = False


@dataclass(frozen=True)
class Rights:
    """What one role may do in one database."""

    connection: Connection
    config: PostgreSQLConfig
    context: Context

    def require(self, wanted: Iterable[Right], *, table: str = "") -> None:
        """Check that the role has all these rights; references are those of `table`, and made together with it.

        Raises:
            Rejected: some are missing; the message has the GRANT for each.
        """
        rights = list(wanted)
        lines = json.dumps([{"number": number, **asdict(right)} for number, right in enumerate(rights)])
        found = self.connection.run(_MISSING, lines, table)
        missing = [replace(rights[number], kind=kind, privilege=privilege) for number, kind, privilege in found]
        if grants := self._grants(right for right in missing if right.privilege != ALL_ROWS):
            run = "; ".join(grants)
            raise Rejected(f"{self.context.whereabouts}: user {self.config.user!r} lacks a right; run {run}")
        for right in missing:
            raise self._policed(right)

    def _grants(self, missing: Iterable[Right]) -> list[str]:
        places: dict[str, dict[str, None]] = {}
        for right in missing:
            places.setdefault(self._place(right), {})[right.privilege] = None
        role = quote(self.config.user)
        return [f"GRANT {', '.join(privileges)} ON {place} TO {role}" for place, privileges in places.items()]

    def _place(self, right: Right) -> str:
        if right.kind == "DATABASE":
            return f"DATABASE {quote(self.config.database)}"
        return f"SCHEMA {quote(right.schema)}" if right.kind == "SCHEMA" else qualified(right.schema, right.table)

    def _policed(self, right: Right) -> Rejected:
        """Return the error for rows that could be hidden: they would count as missing and be loaded twice."""
        place = self._place(right)
        owned, forced = self.connection.run(_FORCED, right.schema, right.table)[0]
        # A policy that is forced holds for the owner too.
        lifted = f"run ALTER TABLE {place} NO FORCE ROW LEVEL SECURITY" if forced else ""
        ways = [lifted, "" if owned else "load as the table's owner"]
        return Rejected(
            f"{self.context.whereabouts}: row-level security of {place} can hide rows from user "
            f"{self.config.user!r}; run ALTER ROLE {quote(self.config.user)} BYPASSRLS, "
            f"or {' and '.join(way for way in ways if way)}"
        )


def needed(
    config: PostgreSQLConfig, ledger: Iterable[Right], plan: LoadPlan, options: PostgreSQLOptions
) -> Iterator[Right]:
    """Yield the rights that a load needs; `ledger` are those on the ledger's tables."""
    schema = config.db_schema
    yield Right("DATABASE", "TEMPORARY")
    yield Right("SCHEMA", "USAGE", schema)
    yield Right("SCHEMA", "USAGE", config.ledger_schema)
    yield from ledger
    for privilege in _on_table(plan, options):
        yield Right("TABLE", privilege, schema, plan.table, plan.contract.column_names)
    yield Right("TABLE", ALL_ROWS, schema, plan.table, optional=True)
    references = plan.contract.references if options.enforces_references else ()
    for reference in references:
        for privilege in ("SELECT", "REFERENCES", ALL_ROWS):
            yield Right("TABLE", privilege, schema, reference.table, (reference.parent_column,), optional=True)


def _on_table(plan: LoadPlan, options: PostgreSQLOptions) -> Iterator[str]:
    overwrites = plan.strategy is Strategy.OVERWRITE or (plan.covers and plan.strategy is not Strategy.APPEND)
    # Rows that come back from the quarantine can be newer than those that are there.
    returns = options.enforces_references and plan.contract.references and plan.contract.version_by
    yield from ("SELECT", "INSERT")
    if overwrites or returns or options.conflict is OnConflict.UPDATE:
        yield "UPDATE"
    if overwrites:
        yield "DELETE"


_FORCED = """
SELECT pg_has_role(c.relowner, 'USAGE'), c.relforcerowsecurity
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text
"""

_MISSING = f"""
SELECT w.number, f.kind, f.privilege
FROM jsonb_to_recordset($1::text::jsonb)
    AS w(number int, kind text, privilege text, schema text, "table" text, columns jsonb, optional boolean)
LEFT JOIN pg_namespace AS n ON n.nspname = w.schema
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table
CROSS JOIN LATERAL (SELECT
    CASE WHEN w.kind = 'DATABASE' OR n.oid IS NULL THEN 'DATABASE'
         WHEN w.kind = 'SCHEMA' OR c.oid IS NULL THEN 'SCHEMA' ELSE 'TABLE' END,
    CASE WHEN w.kind <> 'DATABASE' AND n.oid IS NULL OR w.kind = 'TABLE' AND c.oid IS NULL THEN 'CREATE'
         ELSE w.privilege END) AS f(kind, privilege)
WHERE (c.oid IS NOT NULL OR NOT w.optional)
    -- No right makes a table of a view: it is refused as what it is.
    AND (w.kind <> 'TABLE' OR c.oid IS NULL OR c.relkind IN ('r', 'p'))
    AND (f.privilege <> 'REFERENCES'
        OR NOT EXISTS (SELECT FROM pg_class AS t WHERE t.relnamespace = n.oid AND t.relname = $2::text))
    AND CASE
    WHEN f.kind = 'DATABASE' THEN NOT has_database_privilege(current_database(), f.privilege)
    WHEN f.kind = 'SCHEMA' THEN NOT has_schema_privilege(n.oid, f.privilege)
    WHEN f.privilege = '{ALL_ROWS}' THEN row_security_active(c.oid)
    WHEN f.privilege = 'DELETE' THEN NOT has_table_privilege(c.oid, f.privilege)
    ELSE EXISTS (
        SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (jsonb_typeof(w.columns) = 'null' OR w.columns IS NULL OR w.columns ? a.attname::text)
        AND NOT has_column_privilege(c.oid, a.attnum, f.privilege))
    END
ORDER BY w.number
"""
