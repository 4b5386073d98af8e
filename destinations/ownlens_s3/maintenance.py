"""Keeping a Delta table small: old partitions leave, and files that nobody can need any more are deleted."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected, Retryable

from .config import S3Options
from .delta import DeltaLake
from .destination import S3Destination
from .failures import explained
from .paths import Layout
from .sql import partition_literal, quoted

# Delta's own rule: readers and writers of older versions get a week.
_KEPT_HOURS = 168
# With delta-rs's own drafts of such files, which a kill leaves in a local folder.
_DELTA_FILE = re.compile(r"(?:[^/]+=[^/]+/)?part-[^/]+\.parquet(?:#\d+)?")


@dataclass(frozen=True, slots=True)
class Retired:
    """What retention removed. `files` left the table; `deleted` files, of this or earlier runs, left the disk."""

    partitions: int
    rows: int
    files: int
    deleted: int


def apply_retention(destination: S3Destination, contract: TableContract, *, today: date | None = None) -> Retired:
    """Delete the partitions older than the contract's `retention_days`, then files that no version needs.

    A day stays as long as it is younger than `retention_days`; a month as long as one of its days is. Rows leave at
    once, files a week after they left the table.

    Raises:
        Rejected: the contract sets no `retention_days`. Retryable: loads kept changing the table.
    """
    options = S3Options.model_validate(contract.options_for(destination.name))
    lake = destination.delta(contract, options)
    oldest = options.oldest_kept(today or datetime.now(UTC).date())
    if oldest is None or lake.layout is None:
        raise Rejected(f"{contract.table}: s3 has no retention_days for this table; set it in destinations.s3")
    with explained(contract.table, "delete old partitions"):
        table = lake.open()
        if table is None:
            return Retired(0, 0, 0, 0)
        partitions, rows, files = _retire(table, lake.layout, lake.layout.value_of(oldest), contract.table)
        return Retired(partitions, rows, files, clean(lake))


def _retire(table: DeltaTable, layout: Layout, oldest: str, name: str) -> tuple[int, int, int]:
    files = pa.table(table.get_add_actions(flatten=True))
    values = files[f"partition.{layout.column}"].cast(pa.string())
    old = files.append_column("value", values).filter(pc.less(values, oldest))
    if old.num_rows == 0:
        return 0, 0, 0
    try:
        table.delete(f"{quoted(layout.column)} < {partition_literal(layout, oldest)}")
    except CommitFailedError as error:
        raise Retryable(f"{name}: s3 table changed while old partitions were deleted; run it again") from error
    return pc.count_distinct(old["value"]).as_py(), pc.sum(old["num_records"]).as_py() or 0, old.num_rows


def clean(lake: DeltaLake) -> int:
    """Delete files that left the table, or never came into it, more than a week ago; return how many.

    The week spares readers of older versions and every load that is still running. Only files in the table's own
    folder and partition folders are looked at: other tables may lie in folders below.
    """
    table = lake.open()
    if table is None:
        return 0
    expired = table.vacuum(retention_hours=_KEPT_HOURS, dry_run=False)
    orphans = _orphans(lake, table)
    lake.folder.delete(orphans)
    return len(expired) + len(orphans)


def _orphans(lake: DeltaLake, table: DeltaTable) -> list[str]:
    horizon = time.time() - _KEPT_HOURS * 3600
    files = (entry for entry in lake.folder.entries() if _DELTA_FILE.fullmatch(entry.name))
    known = lake.referenced(table)
    return [entry.name for entry in files if entry.modified < horizon and entry.name not in known]
