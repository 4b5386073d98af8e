"""Take the rows of a table, of which the ledger knows no load, for those of one."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .catalog import tables_named
from .connection import Connection
from .ledger import Counts, Ledger


def adopt(connection: Connection, schema: str, ledger: Ledger, plan: LoadPlan, rows: int) -> LoadResult:
    """Record a load of the rows that are there, in the caller's transaction.

    Raises:
        Rejected: the ledger knows a load of the table, or the table shows another number of rows.
    """
    ledger.lock_table(connection, plan)
    if done := ledger.find(connection, plan):
        return done
    if position := ledger.position(connection, plan.table):
        raise Rejected(f"{plan.table}: postgresql's ledger knows load {position} of this table; load it as usual")
    table = sql.qualified(schema, plan.table)
    connection.run(f"LOCK TABLE {table} IN SHARE MODE")  # rows that came after the count would be nobody's
    if (found := connection.run(f"SELECT count(*) FROM {table}", slow=True)[0][0]) != rows:
        raise Rejected(f"{plan.table}: postgresql shows {found} rows by now, {rows} were compared; run it again")
    if not ledger.claim(connection, plan):
        raise Retryable(f"{plan.table}: another process adopts the table in postgresql; run it again")
    ledger.adopt(connection, plan.table, tables_named(connection, schema, [plan.table])[plan.table])
    # The table's counted rows are these: by them a dump that is restored later is known again.
    return ledger.record(connection, plan, Counts(inserted=rows), 0.0)
