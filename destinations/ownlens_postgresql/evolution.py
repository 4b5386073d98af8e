"""Let a table grow with its contract: columns, types, labels, NULL. No value that is there changes."""

from __future__ import annotations

from ownlens_plugins.contracts import Column, Kind, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import ExistingColumn, ExistingTable, LabelCheck, label_checks
from .columns import is_floating, labels_constraint, type_name, wider_than
from .connection import Connection
from .dependents import PINNED, Dependent, dependents, require_none
from .ledger import Ledger


def can_widen(contract: TableContract, column: Column, found: ExistingColumn) -> bool:
    """Tell whether the column's type may become the contract's: no value is lost, and PostgreSQL can do it."""
    alterable = not (found.fixed or found.domain)
    return contract.schema_policy == "evolve" and alterable and wider_than(column.type, found.type)


def can_take_null(contract: TableContract, found: ExistingColumn) -> bool:
    """Tell whether NOT NULL may be dropped from a column."""
    return contract.schema_policy == "evolve" and not found.not_null_for_good


def grow_columns(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, ledger: Ledger
) -> None:
    """Add the contract's new columns, widen types, and let columns hold NULL, in the caller's transaction.

    What left the contract takes NULL from now on, as new rows have nothing for it.

    Raises:
        Rejected: the table belongs to another role, or something of others uses a column.
        Retryable: a validation is looking at a column.
    """
    pairs = [(column, existing.columns[column.name]) for column in contract.columns if column.name in existing.columns]
    retyped = [(column, found) for column, found in pairs if found.type != type_name(column.type)]
    clauses = [sql.set_type(column) for column, _ in retyped]
    clauses += [sql.drop_not_null(column.name) for column, found in pairs if found.required and column.nullable]
    clauses += [sql.drop_not_null(name) for name in _left(connection, contract, existing, ledger)]
    clauses += [sql.add_column(column) for column in contract.columns if column.name not in existing.columns]
    if not clauses:
        return
    table = sql.qualified(schema, contract.table)
    change = sql.alter_table(table, clauses)
    if not existing.owned:
        raise not_owned(contract, table, "lacks columns, or has narrower ones than the contract", change)
    require_none(contract, _users(connection, existing, [column.name for column, _ in retyped]))
    alter(connection, ledger, contract, change)
    for column, found in retyped:
        if is_floating(column.type):
            ledger.quarantine.widen(connection, contract.table, column, found.type)


def _left(connection: Connection, contract: TableContract, existing: ExistingTable, ledger: Ledger) -> list[str]:
    """Return the required columns that left the contract and stay in the table."""
    if contract.drop_columns:
        return []  # they go with the rows of the load: see reshaping.py
    former = ledger.former_columns(connection, contract.table, existing.oid)
    return [
        name
        for name, found in existing.columns.items()
        if name in former and name not in contract.column_names and found.required and not found.filled
    ]


def _users(connection: Connection, existing: ExistingTable, columns: list[str]) -> list[Dependent]:
    return [each for each in dependents(connection, existing.oid, columns) if each.kind in PINNED]


def alter(connection: Connection, ledger: Ledger, contract: TableContract, change: str) -> None:
    """Change the table when no load of it is running."""
    # Like a load: the ledger before the table. The other way round, the two would wait for each other.
    ledger.wait_for_loads(connection, contract.table)
    connection.run(change, slow=True)


def not_owned(contract: TableContract, table: str, lack: str, change: str) -> Rejected:
    return Rejected(
        f"{contract.table}: postgresql table {table} {lack}, and belongs to another role, which must run {change}"
    )


# --- labels


def adapt_labels(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, ledger: Ledger
) -> None:
    """Make the checks of labels those of the contract, unless rows have others.

    Raises:
        Rejected: the contract lacks labels that rows have, or the table may not be changed.
    """
    table = sql.qualified(schema, contract.table)
    checks = label_checks(connection, existing.oid)
    for column in contract.columns:
        if column.type.kind in (Kind.ENUM, Kind.TEXT):
            found = [check for check in checks if check.column == column.name]
            if change := _label_change(contract, table, column, existing, found):
                _require_labels(connection, contract, table, column, ledger)
                alter(connection, ledger, contract, change)


def _label_change(
    contract: TableContract, table: str, column: Column, existing: ExistingTable, found: list[LabelCheck]
) -> str | None:
    is_enum = column.type.kind is Kind.ENUM
    outdated = [check for check in found if not (is_enum and check.name == labels_constraint(column))]
    # Staged values are among the labels; the check guards against other writers, and is the owner's affair.
    kept = contract.schema_policy == "freeze" or not existing.owned
    lacks = is_enum and len(outdated) == len(found)
    if not outdated and (not lacks or (kept and column.name in existing.columns)):
        return None
    _require_evolving(contract, table, column, outdated)
    added = [sql.add_labels(column)] if lacks else []
    change = sql.alter_table(table, [*(sql.drop_constraint(check.name) for check in outdated), *added])
    if outdated and not existing.owned:
        raise not_owned(contract, table, "has other labels than the contract", change)
    return change


def _require_evolving(contract: TableContract, table: str, column: Column, outdated: list[LabelCheck]) -> None:
    mine = all(labels_constraint(column, check.labels) == check.name for check in outdated)
    if outdated and (contract.schema_policy == "freeze" or not mine):
        change = sql.alter_table(table, [sql.drop_constraint(check.name) for check in outdated])
        raise Rejected(
            f"{contract.table}: postgresql checks other labels of column {column.name!r} than the contract has; "
            f"run {change}"
        )


def _require_labels(
    connection: Connection, contract: TableContract, table: str, column: Column, ledger: Ledger
) -> None:
    """Labels may leave once no row has them, nor one that waits for its parent."""
    if column.type.kind is not Kind.ENUM:
        return
    waiting = ledger.quarantine.breaks_labels(connection, contract.table, column)
    if waiting or connection.run(sql.breaks_labels(table, column), slow=True)[0][0]:
        raise Rejected(
            f"{contract.table}: postgresql table {table} has rows whose {column.name!r} is no label of the contract; "
            "add the label, change these rows in the source and here, or load the table anew with --full-refresh"
        )
