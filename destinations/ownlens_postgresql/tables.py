"""Make the table that a contract describes, or check that the one that is there can hold its rows."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import ExistingTable, find_table, schema_exists, tables_named
from .config import OnConflict, PostgreSQLOptions
from .connection import Connection
from .evolution import adapt_labels, grow_columns
from .fitting import Fitting
from .ledger import Ledger
from .references import add_references, require_parents
from .reshaping import Reshaping

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('ownlens/' || $1::text, 0))::text"


def ensure_table(
    connection: Connection, schema: str, plan: LoadPlan, ledger: Ledger, options: PostgreSQLOptions
) -> bool:
    """Bring ledger, schema and table to what the plan's contract needs, in the caller's transaction.

    What a full refresh or `drop_columns` changes is looked at here, and changed in the transaction of the load: the
    rows that are there leave with it.

    Returns:
        Whether nothing is left for a later call: a foreign key to a table that does not exist yet is.

    Raises:
        Rejected: the table that is there cannot hold the contract's rows, or may not be changed.
    """
    contract = plan.contract
    # One definition of a table at a time: CREATE ... IF NOT EXISTS fails when two sessions run it at once.
    connection.run(_LOCK, f"{schema}.{contract.table}")
    if not (ledger.exists(connection) and schema_exists(connection, schema)):
        _make_schemas(connection, schema, ledger)
    _require_logged(connection, contract, ledger)
    if options.enforces_references:
        require_parents(connection, schema, contract)
    existing = find_table(connection, schema, contract.table)
    if existing is None:
        connection.run(sql.create_table(sql.qualified(schema, contract.table), contract))
    else:
        _adapt(connection, schema, plan, existing, ledger, updates=_updates(plan, options))
    oid = tables_named(connection, schema, [contract.table])[contract.table]
    ledger.describe_table(connection, contract, oid, made=existing is None)
    if existing is not None and refreshes(plan):
        return False
    return not options.enforces_references or add_references(connection, schema, contract, existing)


def _require_logged(connection: Connection, contract: TableContract, ledger: Ledger) -> None:
    if unlogged := ledger.unlogged(connection):
        raise Rejected(
            f"{contract.table}: postgresql's ledger table {unlogged} is UNLOGGED: a crash of the server would empty "
            f"it, and loads would be repeated; run ALTER TABLE {unlogged} SET LOGGED"
        )


def _make_schemas(connection: Connection, schema: str, ledger: Ledger) -> None:
    connection.run(_LOCK, "")
    ledger.create(connection)
    # IF NOT EXISTS would ask for the right to create schemas, which a loader with a ready schema does not need.
    if not schema_exists(connection, schema):
        connection.run(f"CREATE SCHEMA {sql.quote(schema)}")


def _adapt(
    connection: Connection, schema: str, plan: LoadPlan, existing: ExistingTable, ledger: Ledger, *, updates: bool
) -> None:
    """Make the table fit, as far as no rows or columns go."""
    contract, whole = plan.contract, refreshes(plan)
    former = ledger.former_columns(connection, contract.table, existing.oid)
    fitting = Fitting(connection, schema, contract, existing, former, updates)
    fitting.require_loadable()
    if not whole:
        fitting.require_fit()
    if whole or drops(contract):
        Reshaping(connection, schema, contract, existing, ledger, whole=whole).check()
    if not whole:
        grow_columns(connection, schema, contract, existing, ledger)
        adapt_labels(connection, schema, contract, existing, ledger)


def refreshes(plan: LoadPlan) -> bool:
    """Tell whether a load replaces the table's columns together with its rows."""
    return plan.full_refresh and plan.strategy is Strategy.OVERWRITE


def drops(contract: TableContract) -> bool:
    """Tell whether columns that left the contract leave the table with the next load."""
    return contract.drop_columns and contract.schema_policy == "evolve"


def _updates(plan: LoadPlan, options: PostgreSQLOptions) -> bool:
    """Tell whether a load may change rows that are there."""
    overwrites = plan.strategy is Strategy.OVERWRITE or (
        plan.covers is not None and plan.strategy is not Strategy.APPEND
    )
    returns = bool(options.enforces_references and plan.contract.references)
    return overwrites or returns or options.conflict is OnConflict.UPDATE
