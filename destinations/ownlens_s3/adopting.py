"""Take the rows of a Delta table, in whose log no load is marked, for those of one."""

from __future__ import annotations

from dataclasses import replace

from deltalake.exceptions import CommitFailedError

from ownlens_plugins.api import Covers, LoadPlan, LoadResult, new_attempt
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected, Retryable

from .delta import DeltaLake
from .identity import table_id
from .ledger import new_entry, write_entry
from .stats import count_rows


def adopt(lake: DeltaLake, plan: LoadPlan, rows: int) -> LoadResult:
    """Commit the marks of a load to the table's log, without a file.

    Raises:
        Rejected: a load is marked in the log, or the table is gone or shows another number of rows.
        Retryable: another commit came first.
    """
    # Older sets have nothing to add, as to a set of the whole table: a run that had them in its queue brings none.
    nothing = replace(plan, strategy=Strategy.APPEND, parts=(), covers=Covers(), full_refresh=False)
    if (table := lake.open()) is None:
        raise Rejected(f"{plan.table}: s3 has no table to adopt; load it as usual")
    if (position := table.transaction_version(f"ownlens/{plan.table}")) is not None:
        if done := lake.recorded(table, plan):
            return done
        raise Rejected(f"{plan.table}: s3 holds load {position} of this table; load it as usual")
    if (found := count_rows(table)) != rows:
        raise Rejected(f"{plan.table}: s3 shows {found} rows by now, {rows} were compared; run it again")
    entry = new_entry(nothing, new_attempt())
    entry = replace(entry, inserted=rows, table_id=table_id(table), table_version=table.version())
    # Through the handle that was looked at: a load that commits meanwhile marks the log too, and the two conflict.
    try:
        lake.append(table, nothing, (), entry)
    except CommitFailedError as error:
        raise Retryable(f"{plan.table}: s3: another commit to the table came first; run it again") from error
    write_entry(lake.folder, entry)
    return entry.result
