"""Make the table that a contract describes, or check that the one that is there can hold its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ownlens_plugins.contracts import Column, Reference, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import (
    ORDINARY,
    PARTITIONED,
    ExistingTable,
    ForeignKey,
    find_table,
    foreign_keys_from,
    key_risks,
    schema_exists,
    storage_risks,
    tables_named,
    unique_keys,
)
from .columns import type_name
from .connection import Connection
from .evolution import adapt_labels, alter, can_take_null, can_widen, not_owned, widen_columns
from .ledger import Ledger

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('ownlens/' || $1::text, 0))::text"


def ensure_table(
    connection: Connection, schema: str, contract: TableContract, ledger: Ledger, *, references: bool
) -> bool:
    """Bring ledger, schema and table to what the contract needs, in the caller's transaction.

    Returns:
        Whether nothing is left for a later call: a foreign key to a table that does not exist yet is.

    Raises:
        Rejected: the table that is there cannot hold the contract's rows, or may not be changed.
    """
    # One definition of a table at a time: CREATE ... IF NOT EXISTS fails when two sessions run it at once.
    connection.run(_LOCK, f"{schema}.{contract.table}")
    if not (ledger.exists(connection) and schema_exists(connection, schema)):
        _make_schemas(connection, schema, ledger)
    if unlogged := ledger.unlogged(connection):
        raise Rejected(
            f"{contract.table}: postgresql's ledger table {unlogged} is UNLOGGED: a crash of the server would empty "
            f"it, and loads would be repeated; run ALTER TABLE {unlogged} SET LOGGED"
        )
    existing = find_table(connection, schema, contract.table)
    if existing is None:
        connection.run(sql.create_table(sql.qualified(schema, contract.table), contract))
    else:
        _adapt(connection, schema, contract, existing, ledger)
    ledger.describe_table(connection, contract, tables_named(connection, schema, [contract.table])[contract.table])
    return not references or _add_references(connection, schema, contract, existing)


def _make_schemas(connection: Connection, schema: str, ledger: Ledger) -> None:
    connection.run(_LOCK, "")
    ledger.create(connection)
    # IF NOT EXISTS would ask for the right to create schemas, which a loader with a ready schema does not need.
    if not schema_exists(connection, schema):
        connection.run(f"CREATE SCHEMA {sql.quote(schema)}")


def _adapt(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, ledger: Ledger
) -> None:
    for problem in _problems(connection, schema, contract, existing):
        raise Rejected(f"{contract.table}: postgresql table {schema}.{contract.table} {problem}")
    widen_columns(connection, schema, contract, existing, ledger)
    table = sql.qualified(schema, contract.table)
    if missing := _missing(contract, existing):
        change = sql.add_columns(table, missing)
        if not existing.owned:
            raise not_owned(contract, table, "lacks columns", change)
        alter(connection, ledger, contract, change)
    adapt_labels(connection, schema, contract, existing, ledger)


def _missing(contract: TableContract, existing: ExistingTable) -> list[Column]:
    return [column for column in contract.columns if column.name not in existing.columns]


def _problems(connection: Connection, schema: str, contract: TableContract, existing: ExistingTable) -> Iterator[str]:
    if existing.kind not in (ORDINARY, PARTITIONED):
        yield "is not a table; rename what has its name, or rename the contract's table"
        return
    table = sql.qualified(schema, contract.table)
    yield from _storage_problems(connection, table, existing)
    yield from _key_problems(connection, table, contract, existing)
    yield from _missing_problems(contract, existing)
    yield from _column_problems(contract, existing)
    if frozenset(contract.key) not in unique_keys(connection, existing.oid):
        key = sql.listed(contract.key)
        yield f"has no unique key ({key}); run ALTER TABLE {table} ADD UNIQUE ({key})"


def _storage_problems(connection: Connection, table: str, existing: ExistingTable) -> Iterator[str]:
    for risk in storage_risks(connection, existing.oid):
        if risk.kind == "unlogged":
            yield (
                f"keeps {risk.name} UNLOGGED: a crash of the server empties it, and the ledger would not know; "
                f"run ALTER TABLE {risk.name} SET LOGGED"
            )
        elif risk.kind == "foreign":
            yield (
                f"has the foreign table {risk.name} as a partition, which does not commit with the ledger; "
                f"run ALTER TABLE {table} DETACH PARTITION {risk.name}"
            )
        else:
            yield (
                f"has the inheritance child {risk.name}, in which no unique key of the table holds: rows would be "
                f"there twice; run ALTER TABLE {risk.name} NO INHERIT {table}"
            )


def _key_problems(
    connection: Connection, table: str, contract: TableContract, existing: ExistingTable
) -> Iterator[str]:
    for risk in key_risks(connection, existing.oid, contract.key):
        if risk.kind == "deferrable":
            yield (
                f"has the deferrable constraint {risk.name} over its key, which ON CONFLICT does not take; "
                f"run ALTER TABLE {table} DROP CONSTRAINT {risk.name}, ADD UNIQUE ({sql.listed(contract.key)})"
            )
            continue
        cure = f"DROP INDEX {risk.name}"
        if risk.kind == "column":
            kind = type_name(contract.column(risk.column).type)
            column = sql.quote(risk.column)
            cure = f'ALTER TABLE {risk.name} ALTER COLUMN {column} TYPE {kind} COLLATE pg_catalog."default"'
        yield (
            f"compares key column {risk.column!r} by a nondeterministic collation: a row would replace another one; "
            f"run {cure}"
        )


def _missing_problems(contract: TableContract, existing: ExistingTable) -> Iterator[str]:
    for column in _missing(contract, existing):
        if contract.schema_policy == "freeze":
            yield f"lacks column {column.name!r}; add it, or set schema_policy: evolve"
        elif not column.nullable:
            yield f"lacks column {column.name!r}, which is not nullable; add it, or make it {column}? in the contract"


def _column_problems(contract: TableContract, existing: ExistingTable) -> Iterator[str]:
    for column in contract.columns:
        found = existing.columns.get(column.name)
        if found is None:
            continue
        if found.type != type_name(column.type) and not can_widen(contract, column, found):
            yield (
                f"has column {column.name!r} of type {found.type}, but the contract needs {type_name(column.type)}; "
                "change one of them"
            )
        if found.generated:
            yield f"generates column {column.name!r} itself; take it out of the contract"
        if found.required and column.nullable and not can_take_null(contract, found):
            yield f"does not allow NULL in column {column.name!r}; drop NOT NULL there, or make it {column.type}"
    known = frozenset(contract.column_names)
    for name, found in existing.columns.items():
        if name not in known and found.required and not found.filled:
            yield f"requires column {name!r}, which the contract lacks; add it there, or give the column a default"


def _add_references(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable | None
) -> bool:
    wanted = {reference.table for reference in contract.references}
    parents = tables_named(connection, schema, wanted) if wanted else {}
    _check_parents(connection, schema, contract, parents)
    keys = foreign_keys_from(connection, existing.oid) if existing else []
    for reference in contract.references:
        if reference.table in parents:
            found = [key for key in keys if _matches(key, reference, parents[reference.table])]
            if not any(key.validated for key in found):
                _add_reference(connection, schema, contract, reference, found, existing)
    return len(parents) == len(wanted)


def _check_parents(connection: Connection, schema: str, contract: TableContract, parents: Mapping[str, int]) -> None:
    """Refuse parents that a query shows, and a foreign key does not see."""
    for name, oid in parents.items():
        children = [risk.name for risk in storage_risks(connection, oid) if risk.kind == "child"]
        if children and name != contract.table:
            table = sql.qualified(schema, name)
            raise Rejected(
                f"{contract.table}: postgresql table {table} has the inheritance child {children[0]}, whose rows no "
                f"foreign key sees; run ALTER TABLE {children[0]} NO INHERIT {table}, or set foreign_keys: ignore"
            )


def _matches(key: ForeignKey, reference: Reference, parent: int) -> bool:
    return (key.columns, key.parent_columns, key.parent_oid) == (
        (reference.column,),
        (reference.parent_column,),
        parent,
    )


def _add_reference(
    connection: Connection,
    schema: str,
    contract: TableContract,
    reference: Reference,
    found: list[ForeignKey],
    existing: ExistingTable | None,
) -> None:
    """Add a foreign key, for new rows only while older ones lack their parents, or validate the one that is there."""
    table, parent = sql.qualified(schema, contract.table), sql.qualified(schema, reference.table)
    if existing is not None and not existing.owned:
        if not found:
            change = sql.add_foreign_key(table, reference, parent, validated=True)
            raise not_owned(contract, table, "lacks a foreign key", f"{change}; or set foreign_keys: ignore")
        return
    orphans = existing is not None and connection.run(sql.has_orphans(table, reference, parent), slow=True)[0][0]
    if not found:
        connection.run(sql.add_foreign_key(table, reference, parent, validated=not orphans), slow=True)
    elif not orphans:
        connection.run(sql.validate_constraint(table, found[0].name), slow=True)
