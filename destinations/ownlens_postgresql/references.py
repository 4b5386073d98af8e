"""The foreign keys that a contract's references become."""

from __future__ import annotations

from collections.abc import Mapping

from ownlens_plugins.contracts import Kind, Reference, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import (
    ORDINARY,
    PARTITIONED,
    ExistingTable,
    ForeignKey,
    find_table,
    foreign_keys_from,
    partition_columns,
    storage_risks,
    tables_named,
    unique_keys,
)
from .columns import type_name
from .connection import Connection
from .evolution import not_owned


def add_references(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable | None
) -> bool:
    """Add or validate the foreign keys of a contract; tell whether all parents are there."""
    wanted = {reference.table for reference in contract.references}
    parents = tables_named(connection, schema, wanted) if wanted else {}
    keys = foreign_keys_from(connection, existing.oid) if existing else []
    for reference in contract.references:
        if reference.table in parents:
            found = [key for key in keys if matches(key, reference, parents[reference.table])]
            if not any(key.validated for key in found):
                _add_reference(connection, schema, contract, reference, found, existing)
    return len(parents) == len(wanted)


def require_parents(connection: Connection, schema: str, contract: TableContract) -> None:
    """Refuse parents that no foreign key can name, and those that a query shows and a foreign key does not see.

    Raises:
        Rejected: the first of them.
    """
    for reference in contract.references:
        parent = find_table(connection, schema, reference.table) if reference.table != contract.table else None
        if parent is not None:
            _require_whole(connection, schema, contract, reference, parent)
            _require_named(connection, schema, contract, reference, parent)


def _require_whole(
    connection: Connection, schema: str, contract: TableContract, reference: Reference, parent: ExistingTable
) -> None:
    if children := [risk.name for risk in storage_risks(connection, parent.oid) if risk.kind == "child"]:
        table = sql.qualified(schema, reference.table)
        raise Rejected(
            f"{contract.table}: postgresql table {table} has the inheritance child {children[0]}, whose rows no "
            f"foreign key sees; run ALTER TABLE {children[0]} NO INHERIT {table}, or set foreign_keys: ignore"
        )


def _require_named(
    connection: Connection, schema: str, contract: TableContract, reference: Reference, parent: ExistingTable
) -> None:
    table, column = sql.qualified(schema, reference.table), reference.parent_column
    where = f"{contract.table}: postgresql cannot reference column {column!r} of {table}"
    ignore = "set foreign_keys: ignore"
    if parent.kind not in (ORDINARY, PARTITIONED):
        raise Rejected(f"{where}, which is not a table; {ignore}")
    if column not in parent.columns:
        raise Rejected(f"{where}, which it has not got; load {reference.table} with this column, or {ignore}")
    theirs, ours = parent.columns[column].type, type_name(contract.column(reference.column).type)
    if _family(theirs) != _family(ours):
        raise Rejected(f"{where}: it is {theirs}, and {reference.column!r} is {ours}; make them alike, or {ignore}")
    if frozenset({column}) not in unique_keys(connection, parent.oid):
        run = f", or run ALTER TABLE {table} ADD UNIQUE ({sql.quote(column)})"
        able = parent.kind != PARTITIONED or set(partition_columns(connection, parent.oid) or ("",)) == {column}
        raise Rejected(f"{where}, which no unique key holds alone; {ignore}{run if able else ''}")


def _family(type_: str) -> str:
    """Return what types are comparable with one another are called here."""
    name = type_.partition("(")[0]
    return _FAMILIES.get(name, name)


_FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric"), "exact number"),
    **dict.fromkeys(("real", "double precision"), "binary fraction"),
    **dict.fromkeys(("text", "character varying", "character"), "text"),
}


def comparison(connection: Connection, schema: str, contract: TableContract, reference: Reference) -> str:
    """Return the cast by which a child's value is compared with a parent's, as the foreign key does; mostly none."""
    if contract.column(reference.column).type.kind not in (Kind.TEXT, Kind.ENUM) or reference.table == contract.table:
        return ""
    parent = find_table(connection, schema, reference.table)
    column = parent.columns.get(reference.parent_column) if parent else None
    # Padding counts for nothing in character(n), and for something in text.
    return "::bpchar" if column and column.type.startswith("character(") else ""


def matches(key: ForeignKey, reference: Reference, parent: int) -> bool:
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
    query = sql.has_orphans(table, reference, parent, comparison(connection, schema, contract, reference))
    orphans = existing is not None and connection.run(query, slow=True)[0][0]
    if not found:
        connection.run(sql.add_foreign_key(table, reference, parent, validated=not orphans), slow=True)
    elif not orphans:
        connection.run(sql.validate_constraint(table, found[0].name), slow=True)
