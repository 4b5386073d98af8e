"""SQL text: quoting, transactions, table definitions, and the statements that apply a staged set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Column, Kind, Reference, TableContract

from .columns import labels_constraint, type_name
from .config import OnConflict, PostgreSQLConfig

STAGE_NAME = "_ownlens_stage"
STAGE = f'pg_temp."{STAGE_NAME}"'
GONE_NAME = "_ownlens_gone"
GONE = f'pg_temp."{GONE_NAME}"'
# A column of the gone rows: nothing that stays references the row.
FREE = '"_ownlens_free"'
# Two columns of the stage: the quarantine row that a row came back from, and why a row cannot be loaded now.
KEPT = '"_ownlens_kept"'
REASON = '"_ownlens_reason"'
IDLE_SECONDS = 60
KEEPALIVE_SECONDS = 10


def quote(name: str) -> str:
    """Return an identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text constant, for the places (DDL) where PostgreSQL binds no values."""
    return "'" + text.replace("'", "''") + "'"


def qualified(schema: str, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}"


def listed(names: Iterable[str], alias: str = "") -> str:
    """Return quoted names joined by commas, each behind `alias.` when there is one."""
    dot = f"{alias}." if alias else ""
    return ", ".join(f"{dot}{quote(name)}" for name in names)


# --- transactions


def settings(config: PostgreSQLConfig) -> str:
    """Return the SELECT that pins what a statement's meaning or patience depends on, for this transaction only.

    Its row: synchronous_commit, server_version_num.
    """
    pinned = {
        # The catalogue only: no function or operator of another schema can stand in for a built-in one.
        "search_path": "pg_catalog, pg_temp",
        "statement_timeout": f"{config.statement_timeout}s",
        "lock_timeout": f"{config.lock_timeout}s",
        # A client that stopped in the middle must not hold its locks for ever.
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        # In the middle of COPY no timeout above counts: a server whose client is gone must notice it by itself.
        "tcp_keepalives_idle": str(config.tcp_user_timeout),
        "tcp_keepalives_interval": str(KEEPALIVE_SECONDS),
        "tcp_keepalives_count": "3",
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "standard_conforming_strings": "on",
        # A policy that would hide rows from the loader is an error, not an incomplete answer.
        "row_security": "off",
        "jit": "off",
    }
    calls = [f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)" for name, value in pinned.items()]
    # Lets a server on Linux notice within seconds that the client of a long statement has died.
    calls.append(
        "CASE WHEN pg_catalog.strpos(pg_catalog.version(), 'linux') OPERATOR(pg_catalog.>) 0 "
        "THEN pg_catalog.set_config('client_connection_check_interval', '5s', true) END"
    )
    facts = ("synchronous_commit", "server_version_num")
    read = [f"pg_catalog.current_setting({literal(name)})" for name in facts]
    return f"SELECT {', '.join([*read, *calls])}"


# --- tables


def create_table(table: str, contract: TableContract) -> str:
    """Return the CREATE TABLE of a contract, without its foreign keys."""
    columns = [_column(column, nullable=column.nullable) for column in contract.columns]
    checks = [f"CONSTRAINT {quote(labels_constraint(c))} {_labels(c)}" for c in contract.columns if _is_enum(c)]
    return f"CREATE TABLE {table} ({', '.join([*columns, *checks, f'PRIMARY KEY ({listed(contract.key)})'])})"


def _column(column: Column, *, nullable: bool) -> str:
    return f"{quote(column.name)} {type_name(column.type)}{'' if nullable else ' NOT NULL'}"


def _is_enum(column: Column) -> bool:
    return column.type.kind is Kind.ENUM


def _labels(column: Column) -> str:
    return f"CHECK ({is_label(quote(column.name), column)})"


def is_label(value: str, column: Column) -> str:
    """Return the condition that a text is one of an enum column's labels."""
    return f"{value} IN ({', '.join(literal(label) for label in column.type.labels)})"


def alter_table(table: str, clauses: Iterable[str]) -> str:
    """Return one ALTER TABLE for all changes, so that the table is written anew at most once."""
    return f"ALTER TABLE {table} {', '.join(clauses)}"


def set_type(column: Column) -> str:
    return f"ALTER COLUMN {quote(column.name)} TYPE {type_name(column.type)}"


def convert(column: Column) -> str:
    """Return the clause that gives a column another kind of type. All its values become NULL: rows are to follow."""
    return f"{set_type(column)} USING NULL::{type_name(column.type)}"


def set_not_null(name: str) -> str:
    return f"ALTER COLUMN {quote(name)} SET NOT NULL"


def drop_not_null(name: str) -> str:
    return f"ALTER COLUMN {quote(name)} DROP NOT NULL"


def drop_column(name: str) -> str:
    return f"DROP COLUMN {quote(name)}"


def add_column(column: Column, *, nullable: bool = False) -> str:
    """Return the clause for a new column, `nullable` also where the contract's is not."""
    return f"ADD COLUMN {_column(column, nullable=nullable or column.nullable)}"


def add_primary_key(contract: TableContract) -> str:
    return f"ADD PRIMARY KEY ({listed(contract.key)})"


def breaks_labels(table: str, column: Column) -> str:
    """Return the SELECT that tells whether rows of a table hold texts that are no label."""
    return f"SELECT EXISTS (SELECT FROM {table} AS t WHERE NOT ({is_label(f't.{quote(column.name)}', column)}))"


def drop_constraint(name: str) -> str:
    return f"DROP CONSTRAINT {quote(name)}"


def add_labels(column: Column, *, validated: bool = True) -> str:
    """Return the clause for a column's check of labels. Not validated, it holds for new rows only."""
    return f"ADD CONSTRAINT {quote(labels_constraint(column))} {_labels(column)}{'' if validated else ' NOT VALID'}"


def add_foreign_key(table: str, reference: Reference, parent: str, *, validated: bool) -> str:
    """Return the statement for a foreign key. Not validated, it holds for new rows only."""
    return (
        f"ALTER TABLE {table} ADD FOREIGN KEY ({quote(reference.column)}) "
        f"REFERENCES {parent} ({quote(reference.parent_column)}){'' if validated else ' NOT VALID'}"
    )


def validate_constraint(table: str, name: str) -> str:
    return f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(name)}"


def has_orphans(table: str, reference: Reference, parent: str, cast: str = "") -> str:
    """Return the SELECT that tells whether rows of a table lack their parents. `cast` is put behind a child's value."""
    child = f"c.{quote(reference.column)}"
    return (
        f"SELECT EXISTS (SELECT FROM {table} AS c WHERE {child} IS NOT NULL "
        f"AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{quote(reference.parent_column)} = {child}{cast}))"
    )


def read(table: str, contract: TableContract) -> str:
    """Return the SELECT of a table's rows. Of a domain's values it takes the type below, which the driver knows."""
    columns = (f"{quote(column.name)}::{type_name(column.type)} AS {quote(column.name)}" for column in contract.columns)
    return f"SELECT {', '.join(columns)} FROM {table}"


# --- staging


def create_stage(contract: TableContract, names: Iterable[str]) -> str:
    columns = [f"{quote(name)} {type_name(contract.column(name).type)}" for name in names]
    return f"CREATE TEMP TABLE {quote(STAGE_NAME)} ({', '.join(columns)}, {KEPT} bigint, {REASON} text) ON COMMIT DROP"


def mark_orphans(reference: Reference, parents: Sequence[str], cast: str = "") -> str:
    """Return the UPDATE that gives a reason to staged rows whose parent is in none of the relations `parents`.

    `cast` is put behind a child's value.
    """
    column, parent_column = quote(reference.column), quote(reference.parent_column)
    reason = f"{reference.column}: no such row in {reference.table}.{reference.parent_column}"
    missing = " ".join(
        f"AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{parent_column} = s.{column}{cast}"
        f"{f' AND p.{REASON} IS NULL' if parent == STAGE else ''})"
        for parent in parents
    )
    return (
        f"UPDATE {STAGE} AS s SET {REASON} = {literal(reason)} "
        f"WHERE s.{REASON} IS NULL AND s.{column} IS NOT NULL {missing}"
    )


def drop_superseded(contract: TableContract) -> str:
    """Return the statement that leaves the newest row of each key, and counts what it took: staged rows, kept rows.

    A row that can be loaded never gives way to one that cannot.
    """
    # A staged row is newer than a kept one of the same version; of two kept rows, the later one.
    ranks = [*_version_ranks(contract), f"{{row}}.{KEPT} IS NULL", f"coalesce({{row}}.{KEPT}, 0)"]
    order = f"({', '.join(ranks)})"
    return (
        f"WITH dropped AS (DELETE FROM {STAGE} AS s USING {STAGE} AS w WHERE {same_key(contract, 'w', 's')} "
        f"AND {order.format(row='w')} > {order.format(row='s')} AND (w.{REASON} IS NULL OR s.{REASON} IS NOT NULL) "
        f"RETURNING s.{KEPT} IS NULL AS staged) "
        "SELECT count(*) FILTER (WHERE staged), count(*) FILTER (WHERE NOT staged) FROM dropped"
    )


def _version_ranks(contract: TableContract) -> list[str]:
    """Return what orders the versions of `{row}`. NULL is the oldest one; compared as it is, it would order nothing."""
    if not contract.version_by:
        return []
    version, kind = f"{{row}}.{quote(contract.version_by)}", contract.column(contract.version_by).type
    least = "0" if kind.kind in {Kind.INT16, Kind.INT32, Kind.INT64} else "-infinity"
    return [f"{version} IS NOT NULL", f"coalesce({version}, {literal(least)}::{type_name(kind)})"]


def tally() -> str:
    """Return the count of the stage: staged rows, those of them without a parent, kept rows that can be loaded."""
    return (
        f"SELECT count(*) FILTER (WHERE {KEPT} IS NULL), "
        f"count(*) FILTER (WHERE {KEPT} IS NULL AND {REASON} IS NOT NULL), "
        f"count(*) FILTER (WHERE {KEPT} IS NOT NULL AND {REASON} IS NULL) FROM {STAGE}"
    )


# --- applying


@dataclass(frozen=True, slots=True)
class Merge:
    """How the stage comes into a table.

    With `kept`, rows that come back from the quarantine never fail on an existing key, whatever `conflict` says.
    `any_version` updates rows even when the table holds a newer version. `revived` is a condition on the stage `s`:
    such rows replace one that was gone from the source, of any version. `partitioned` tables cannot tell new rows from
    updated ones: all count as inserted.
    """

    table: str
    contract: TableContract
    conflict: OnConflict
    kept: bool = False
    any_version: bool = False
    revived: str = ""
    partitioned: bool = False


def apply_stage(merge: Merge) -> str:
    """Return the statement that brings the stage into a table and counts inserted and updated rows."""
    # One statement, so that staged and returning rows may reference each other.
    parts = _inserts(merge)
    steps = ", ".join(f"{name} AS ({insert})" for name, insert in parts.items())
    rows = " UNION ALL ".join(f"SELECT fresh FROM {name}" for name in parts)
    return (
        f"WITH {steps} SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM ({rows}) AS changed"
    )


def _inserts(merge: Merge) -> dict[str, str]:
    which, parts = "", {}
    if merge.kept and merge.conflict is OnConflict.ERROR:
        back = OnConflict.UPDATE if merge.contract.version_by else OnConflict.SKIP
        parts["back"] = _insert(merge, back, f"AND s.{KEPT} IS NOT NULL")
        which = f"AND s.{KEPT} IS NULL"
    if merge.revived:
        anew = f"AND s.{KEPT} IS NULL AND {merge.revived}"
        parts["revived"] = _insert(replace(merge, any_version=True), OnConflict.UPDATE, anew)
        which += f" AND NOT (s.{KEPT} IS NULL AND {merge.revived})"
    return {"staged": _insert(merge, merge.conflict, which), **parts}


def _insert(merge: Merge, conflict: OnConflict, which: str) -> str:
    names = merge.contract.column_names
    # xmax is 0 for a row that is new.
    fresh = "true" if merge.partitioned else "t.xmax = 0"
    # Loads and other writers lock keys in one order, or they would deadlock.
    return (
        f"INSERT INTO {merge.table} AS t ({listed(names)}) OVERRIDING SYSTEM VALUE "
        f"SELECT {listed(names, 's')} FROM {STAGE} AS s WHERE s.{REASON} IS NULL {which} "
        f"ORDER BY {listed(merge.contract.key, 's')} {_on_conflict(merge, conflict)} RETURNING ({fresh}) AS fresh"
    )


def _on_conflict(merge: Merge, conflict: OnConflict) -> str:
    contract = merge.contract
    rest = [name for name in contract.column_names if name not in contract.key]
    if conflict is OnConflict.ERROR:
        return ""
    if conflict is OnConflict.SKIP or not rest:
        return f"ON CONFLICT ({listed(contract.key)}) DO NOTHING"
    values = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in rest)
    # *<> compares the stored bytes: -0 and 0, or 1.10 and 1.1 in a document, are equal to = and yet not the same.
    guard = f"ROW({listed(rest, 't')})::record *<> ROW({listed(rest, 'excluded')})::record"
    if contract.version_by and not merge.any_version:
        version = quote(contract.version_by)
        # A version of NULL is the oldest.
        guard = f"(t.{version} IS NULL OR excluded.{version} >= t.{version}) AND {guard}"
    return f"ON CONFLICT ({listed(contract.key)}) DO UPDATE SET {values} WHERE {guard}"


def count_new(table: str, contract: TableContract) -> str:
    """Return the count of the stage's loadable rows whose keys a table does not hold."""
    return (
        f"SELECT count(*) FROM {STAGE} AS s WHERE s.{REASON} IS NULL "
        f"AND NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key(contract, 't', 's')})"
    )


# --- deleting what is gone from the source


def of_days(covers: Covers) -> str:
    """Return the condition that a row of `t` is of one of the covered days."""
    days = ", ".join(f"date {literal(day.isoformat())}" for day in covers.days or ())
    return f"t.{quote(covers.column or '')} IN ({days})" if days else "false"


def drop_replaced(contract: TableContract, covers: Covers) -> str:
    """Return the DELETE of waiting rows that the set replaces: of its days, or with a key that is staged."""
    return (
        f"DELETE FROM {STAGE} AS t WHERE t.{KEPT} IS NOT NULL AND ({of_days(covers)} OR EXISTS "
        f"(SELECT FROM {STAGE} AS s WHERE s.{KEPT} IS NULL AND {same_key(contract, 's', 't')}))"
    )


def create_gone(table: str, contract: TableContract, scope: str, *, waiting_stay: bool) -> str:
    """Return the statement that lists the keys of the rows in a scope, a condition on `t`, that are not staged."""
    staged = same_key(contract, "s", "t") if waiting_stay else f"s.{REASON} IS NULL AND {same_key(contract, 's', 't')}"
    return (
        f"CREATE TEMP TABLE {quote(GONE_NAME)} ON COMMIT DROP AS SELECT {listed(contract.key, 't')}, true AS {FREE} "
        f"FROM {table} AS t WHERE ({scope}) AND NOT EXISTS (SELECT FROM {STAGE} AS s WHERE {staged})"
    )


def same_key(contract: TableContract, one: str, other: str) -> str:
    """Return the condition that two aliases have one key."""
    return " AND ".join(f"{one}.{quote(name)} = {other}.{quote(name)}" for name in contract.key)


def same_stored_key(contract: TableContract, stored: str, alias: str) -> str:
    """Return the condition that a jsonb object of texts, as the ledger keeps rows and keys, has an alias's key."""
    columns = (contract.column(name) for name in contract.key)
    return " AND ".join(
        f"({stored} ->> {literal(c.name)})::{type_name(c.type)} = {alias}.{quote(c.name)}" for c in columns
    )
