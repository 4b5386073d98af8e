"""SQL text: quoting, transactions, table definitions, and the statements that apply a staged set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ownlens_plugins.contracts import Column, Kind, Reference, TableContract

from .catalog import ForeignKey
from .columns import labels_constraint, type_name
from .config import OnConflict, PostgreSQLConfig

STAGE_NAME = "_ownlens_stage"
STAGE = f'pg_temp."{STAGE_NAME}"'
DOOMED_NAME = "_ownlens_doomed"
DOOMED = f'pg_temp."{DOOMED_NAME}"'
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
    columns = [_column(column) for column in contract.columns]
    checks = [f"CONSTRAINT {quote(labels_constraint(c))} {_labels(c)}" for c in contract.columns if _is_enum(c)]
    return f"CREATE TABLE {table} ({', '.join([*columns, *checks, f'PRIMARY KEY ({listed(contract.key)})'])})"


def _column(column: Column) -> str:
    return f"{quote(column.name)} {type_name(column.type)}{'' if column.nullable else ' NOT NULL'}"


def _is_enum(column: Column) -> bool:
    return column.type.kind is Kind.ENUM


def _labels(column: Column) -> str:
    return f"CHECK ({quote(column.name)} IN ({', '.join(literal(label) for label in column.type.labels)}))"


def add_columns(table: str, columns: Iterable[Column]) -> str:
    return f"ALTER TABLE {table} {', '.join(f'ADD COLUMN {_column(column)}' for column in columns)}"


def add_labels(table: str, column: Column) -> str:
    return f"ALTER TABLE {table} ADD CONSTRAINT {quote(labels_constraint(column))} {_labels(column)}"


def add_foreign_key(table: str, reference: Reference, parent: str, *, validated: bool) -> str:
    """Return the statement for a foreign key. Not validated, it holds for new rows only."""
    return (
        f"ALTER TABLE {table} ADD FOREIGN KEY ({quote(reference.column)}) "
        f"REFERENCES {parent} ({quote(reference.parent_column)}){'' if validated else ' NOT VALID'}"
    )


def validate_constraint(table: str, name: str) -> str:
    return f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(name)}"


def has_orphans(table: str, reference: Reference, parent: str) -> str:
    """Return the SELECT that tells whether rows of a table lack their parents."""
    child = f"c.{quote(reference.column)}"
    return (
        f"SELECT EXISTS (SELECT FROM {table} AS c WHERE {child} IS NOT NULL "
        f"AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{quote(reference.parent_column)} = {child}))"
    )


# --- staging


def create_stage(contract: TableContract) -> str:
    columns = [f"{quote(column.name)} {type_name(column.type)}" for column in contract.columns]
    return f"CREATE TEMP TABLE {quote(STAGE_NAME)} ({', '.join(columns)}, {KEPT} bigint, {REASON} text) ON COMMIT DROP"


def mark_orphans(reference: Reference, parents: Sequence[str]) -> str:
    """Return the UPDATE that gives a reason to staged rows whose parent is in none of the relations `parents`."""
    column, parent_column = quote(reference.column), quote(reference.parent_column)
    reason = f"{reference.column}: no such row in {reference.table}.{reference.parent_column}"
    missing = " ".join(
        f"AND NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{parent_column} = s.{column}"
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
    ranks = [f"{{row}}.{quote(contract.version_by)}"] if contract.version_by else []
    order = f"({', '.join([*ranks, f'{{row}}.{KEPT} IS NULL', f'coalesce({{row}}.{KEPT}, 0)'])})"
    return (
        f"WITH dropped AS (DELETE FROM {STAGE} AS s USING {STAGE} AS w WHERE {_same_key(contract, 'w', 's')} "
        f"AND {order.format(row='w')} > {order.format(row='s')} AND (w.{REASON} IS NULL OR s.{REASON} IS NOT NULL) "
        f"RETURNING s.{KEPT} IS NULL AS staged) "
        "SELECT count(*) FILTER (WHERE staged), count(*) FILTER (WHERE NOT staged) FROM dropped"
    )


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
    `any_version` updates rows even when the table holds a newer version. `partitioned` tables cannot tell new rows
    from updated ones: all count as inserted.
    """

    table: str
    contract: TableContract
    conflict: OnConflict
    kept: bool = False
    any_version: bool = False
    partitioned: bool = False


def apply_stage(merge: Merge) -> str:
    """Return the statement that brings the stage into a table and counts inserted and updated rows."""
    if merge.conflict is OnConflict.ERROR and merge.kept:
        back = OnConflict.UPDATE if merge.contract.version_by else OnConflict.SKIP
        # One statement, so that staged and returning rows may reference each other.
        parts = {
            "staged": _insert(merge, merge.conflict, f"AND {KEPT} IS NULL"),
            "back": _insert(merge, back, f"AND {KEPT} IS NOT NULL"),
        }
    else:
        parts = {"staged": _insert(merge, merge.conflict, "")}
    steps = ", ".join(f"{name} AS ({insert})" for name, insert in parts.items())
    rows = " UNION ALL ".join(f"SELECT fresh FROM {name}" for name in parts)
    return (
        f"WITH {steps} SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM ({rows}) AS changed"
    )


def _insert(merge: Merge, conflict: OnConflict, which: str) -> str:
    names = listed(merge.contract.column_names)
    # xmax is 0 for a row that is new.
    fresh = "true" if merge.partitioned else "t.xmax = 0"
    # Loads and other writers lock keys in one order, or they would deadlock.
    return (
        f"INSERT INTO {merge.table} AS t ({names}) OVERRIDING SYSTEM VALUE "
        f"SELECT {names} FROM {STAGE} WHERE {REASON} IS NULL {which} ORDER BY {listed(merge.contract.key)} "
        f"{_on_conflict(merge, conflict)} RETURNING ({fresh}) AS fresh"
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
        guard = f"excluded.{version} >= t.{version} AND {guard}"
    return f"ON CONFLICT ({listed(contract.key)}) DO UPDATE SET {values} WHERE {guard}"


def count_new(table: str, contract: TableContract) -> str:
    """Return the count of the stage's loadable rows whose keys a table does not hold."""
    return (
        f"SELECT count(*) FROM {STAGE} AS s WHERE s.{REASON} IS NULL "
        f"AND NOT EXISTS (SELECT FROM {table} AS t WHERE {_same_key(contract, 't', 's')})"
    )


# --- deleting what an overwrite no longer holds


def create_doomed(table: str, contract: TableContract, children: Iterable[ForeignKey]) -> str:
    """Return the statement that lists the keys that are not staged and that no other table references."""
    free = " ".join(f"AND NOT EXISTS (SELECT FROM {child.child} AS c WHERE {_child_of_t(child)})" for child in children)
    return (
        f"CREATE TEMP TABLE {quote(DOOMED_NAME)} ON COMMIT DROP AS "
        f"SELECT {listed(contract.key, 't')} FROM {table} AS t WHERE NOT EXISTS "
        f"(SELECT FROM {STAGE} AS s WHERE s.{REASON} IS NULL AND {_same_key(contract, 's', 't')}) {free}"
    )


def spare_parents(table: str, contract: TableContract, itself: ForeignKey) -> str:
    """Return the DELETE that takes from the doomed the rows that a row which stays references."""
    stays = f"NOT EXISTS (SELECT FROM {DOOMED} AS x WHERE {_same_key(contract, 'x', 'c')})"
    return (
        f"DELETE FROM {DOOMED} AS d USING {table} AS t WHERE {_same_key(contract, 'd', 't')} "
        f"AND EXISTS (SELECT FROM {table} AS c WHERE {_child_of_t(itself)} AND {stays})"
    )


def delete_doomed(table: str, contract: TableContract) -> str:
    return f"DELETE FROM {table} AS t USING {DOOMED} AS d WHERE {_same_key(contract, 'd', 't')}"


def _same_key(contract: TableContract, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{quote(name)} = {other}.{quote(name)}" for name in contract.key)


def _child_of_t(key: ForeignKey) -> str:
    pairs = zip(key.columns, key.parent_columns, strict=True)
    return " AND ".join(f"c.{quote(column)} = t.{quote(parent)}" for column, parent in pairs)
