"""Widen what a table holds when its contract does: types, labels, NULL. No value that is there changes."""

from __future__ import annotations

from collections.abc import Iterable

from ownlens_plugins.contracts import Column, Kind, TableContract
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .catalog import ExistingColumn, ExistingTable, LabelCheck, View, label_checks, views_of
from .columns import is_floating, labels_constraint, type_name, wider_than
from .connection import Connection
from .ledger import Ledger
from .validation import PREFIX


def can_widen(contract: TableContract, column: Column, found: ExistingColumn) -> bool:
    """Tell whether the column's type may become the contract's: no value is lost, and PostgreSQL can do it."""
    return contract.schema_policy == "evolve" and not found.fixed and wider_than(column.type, found.type)


def can_take_null(contract: TableContract, found: ExistingColumn) -> bool:
    """Tell whether NOT NULL may be dropped from a column."""
    return contract.schema_policy == "evolve" and not found.not_null_for_good


def widen_columns(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, ledger: Ledger
) -> None:
    """Give the columns the contract's types, and let them hold NULL, in the caller's transaction.

    Raises:
        Rejected: the table belongs to another role, or a view shows the column.
        Retryable: a validation is looking at the column.
    """
    columns = [
        (column, existing.columns[column.name]) for column in contract.columns if column.name in existing.columns
    ]
    retyped = [(column, found) for column, found in columns if found.type != type_name(column.type)]
    clauses = [sql.set_type(column) for column, _ in retyped]
    clauses += [sql.drop_not_null(column) for column, found in columns if found.required and column.nullable]
    if not clauses:
        return
    table = sql.qualified(schema, contract.table)
    change = sql.alter_table(table, clauses)
    if not existing.owned:
        raise not_owned(contract, table, "has narrower columns than the contract", change)
    _require_no_views(connection, contract, existing, [column for column, _ in retyped])
    alter(connection, ledger, contract, change)
    for column, found in retyped:
        if is_floating(column.type):
            ledger.quarantine.widen(connection, contract.table, column, found.type)


def alter(connection: Connection, ledger: Ledger, contract: TableContract, change: str) -> None:
    """Change the table when no load of it is running."""
    # Like a load: the ledger before the table. The other way round, the two would wait for each other.
    ledger.wait_for_loads(connection, contract.table)
    connection.run(change, slow=True)


def not_owned(contract: TableContract, table: str, lack: str, change: str) -> Rejected:
    return Rejected(
        f"{contract.table}: postgresql table {table} {lack}, and belongs to another role, which must run {change}"
    )


def _require_no_views(
    connection: Connection, contract: TableContract, existing: ExistingTable, columns: Iterable[Column]
) -> None:
    for view in views_of(connection, existing.oid, [column.name for column in columns]):
        raise _shown(contract, view)


def _shown(contract: TableContract, view: View) -> Rejected | Retryable:
    where = f"{contract.table}: postgresql cannot widen column {view.column!r} while it is"
    if view.name.startswith(PREFIX):
        return Retryable(
            f"{where} validated; run it again, or, if that validation was killed, run DROP VIEW {view.relation} first"
        )
    return Rejected(f"{where} shown by view {view.relation}; drop the view, load again, and make it anew")


# --- labels


def adapt_labels(
    connection: Connection, schema: str, contract: TableContract, existing: ExistingTable, ledger: Ledger
) -> None:
    """Make the checks of labels those of the contract, unless it allows fewer than they do.

    Raises:
        Rejected: the contract lacks labels that the table has, or the table may not be changed.
    """
    table = sql.qualified(schema, contract.table)
    checks = label_checks(connection, existing.oid)
    for column in contract.columns:
        if column.type.kind in (Kind.ENUM, Kind.TEXT):
            found = [check for check in checks if check.column == column.name]
            if change := _label_change(contract, table, column, existing, found):
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
    _require_more_labels(contract, table, column, outdated)
    added = [sql.add_labels(column)] if lacks else []
    change = sql.alter_table(table, [*(sql.drop_constraint(check.name) for check in outdated), *added])
    if outdated and not existing.owned:
        raise not_owned(contract, table, "allows fewer labels than the contract", change)
    return change


def _require_more_labels(contract: TableContract, table: str, column: Column, outdated: list[LabelCheck]) -> None:
    if outdated and (contract.schema_policy == "freeze" or not all(_allows_all(column, c) for c in outdated)):
        change = sql.alter_table(table, [sql.drop_constraint(check.name) for check in outdated])
        raise Rejected(
            f"{contract.table}: postgresql checks other labels of column {column.name!r} than the contract has; "
            f"run {change}"
        )


def _allows_all(column: Column, check: LabelCheck) -> bool:
    """Tell whether the contract allows all labels of a check, which must be one that was made here."""
    labels = check.labels
    if labels_constraint(column, labels) != check.name:
        return False
    return column.type.kind is Kind.TEXT or set(labels) <= set(column.type.labels)
