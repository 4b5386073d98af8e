"""The newsroom's tables in PostgreSQL, derived from the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from ownlens_plugins.contracts import Column, Kind, LogicalType, Reference, TableContract, parents_first

_PLAIN_TYPES = {
    Kind.BOOL: "boolean",
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.TEXT: "text",
    Kind.UUID: "uuid",
    Kind.JSON: "jsonb",
    Kind.BYTES: "bytea",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.TIMESTAMPTZ: "timestamptz",
    Kind.ENUM: "text",
}


def quoted(name: str) -> str:
    """Quote an identifier for PostgreSQL."""
    return sql.Identifier(name).as_string()


def literal(value: str | list[str]) -> str:
    """Write a text or a list of texts as an SQL literal."""
    return sql.quote(value)


def column_type(logical: LogicalType) -> str:
    """Return the PostgreSQL type of a logical type; an enum is text under a CHECK."""
    if logical.kind is Kind.DECIMAL:
        return f"numeric({logical.precision},{logical.scale})"
    if logical.element is not None:
        return f"{column_type(logical.element)}[]"
    return _PLAIN_TYPES[logical.kind]


def create_schema(connection: psycopg.Connection, contracts: Sequence[TableContract]) -> None:
    """Create every table with its primary key, checks and foreign keys, parents first, in one transaction.

    Raises:
        psycopg.errors.DuplicateTable: one of the tables is already there.
    """
    with connection.transaction():
        run(connection, "SET LOCAL search_path = public")
        for contract in parents_first(contracts):
            run(connection, _create_table(contract))
        add_foreign_keys(connection, contracts)


def add_foreign_keys(connection: psycopg.Connection, contracts: Sequence[TableContract]) -> None:
    """Add the foreign keys of all contracts; PostgreSQL checks the rows that are there."""
    for contract in contracts:
        if contract.references:
            actions = (f"ADD {_foreign_key(contract, reference)}" for reference in contract.references)
            run(connection, f"ALTER TABLE {quoted(contract.table)} {', '.join(actions)}")


def drop_foreign_keys(connection: psycopg.Connection, contracts: Sequence[TableContract]) -> None:
    """Drop the foreign keys that `add_foreign_keys` made."""
    for contract in contracts:
        if contract.references:
            actions = (f"DROP CONSTRAINT {_foreign_key_name(contract, ref)}" for ref in contract.references)
            run(connection, f"ALTER TABLE {quoted(contract.table)} {', '.join(actions)}")


def run(connection: psycopg.Connection, statement: str) -> int:
    """Run one statement built by this package and return the number of rows it touched."""
    # As bytes: every part is one of our own templates, a quoted identifier or a quoted literal.
    return connection.execute(statement.encode()).rowcount


def _create_table(contract: TableContract) -> str:
    key = ", ".join(quoted(name) for name in contract.key)
    lines = [*(_column_line(column) for column in contract.columns), f"PRIMARY KEY ({key})", *_enum_checks(contract)]
    return f"CREATE TABLE {quoted(contract.table)} ({', '.join(lines)})"


def _column_line(column: Column) -> str:
    line = f"{quoted(column.name)} {column_type(column.type)}"
    return line if column.nullable else f"{line} NOT NULL"


def _enum_checks(contract: TableContract) -> Iterator[str]:
    for column in contract.columns:
        if column.type.kind is Kind.ENUM:
            labels = ", ".join(literal(label) for label in column.type.labels)
            yield f"CHECK ({quoted(column.name)} IN ({labels}))"


def _foreign_key(contract: TableContract, reference: Reference) -> str:
    return (
        f"CONSTRAINT {_foreign_key_name(contract, reference)} FOREIGN KEY ({quoted(reference.column)})"
        f" REFERENCES {quoted(reference.table)} ({quoted(reference.parent_column)})"
    )


def _foreign_key_name(contract: TableContract, reference: Reference) -> str:
    index = contract.references.index(reference)
    # The number keeps names apart that PostgreSQL would cut to the same 63 bytes.
    return quoted(f"fk{index}_{contract.table}"[:63])
