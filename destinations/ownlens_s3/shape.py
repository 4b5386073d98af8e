"""How a Delta table has to look for a load: columns, partitions, key, and the hold that other programs have on it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected, Retryable

from .altering import Alteration, partition_columns
from .columns import TAG
from .config import S3Options
from .evolution import HeldColumn, changes, fits, is_alike, require_key
from .folder import TableFolder
from .foreign import (
    complete_features,
    constraints,
    has_deletion_vectors,
    is_guarded,
    is_plain,
    require_constraints_fit,
)
from .ledger import read_entry
from .paths import Layout


@dataclass(frozen=True)
class Shape:
    """The shape that one contract asks for."""

    folder: TableFolder
    contract: TableContract
    options: S3Options
    layout: Layout | None

    def is_ready(self, table: DeltaTable, plan: LoadPlan, position: int | None) -> bool:
        """Tell whether a plan can be loaded; if not, take one step towards it, which can be taken again.

        `position` is the highest sequence that is marked in the table.

        Raises:
            CommitFailedError: another commit came first; look again.
            Rejected: the contract does not fit the table, and cannot be made to.
        """
        if plan.full_refresh:
            self._require_replaceable(table, plan)
            return True
        self._require_key(plan, position)
        if not complete_features(table):
            self.require_layout(table)
            needed = changes(self.contract, self._columns(table))
            if not needed:
                return True
            Alteration(self.folder, self.layout, self.options).step(table, plan, needed)
        return False

    def _require_key(self, plan: LoadPlan, position: int | None) -> None:
        if plan.strategy is Strategy.UPSERT and position is not None:
            newest = read_entry(self.folder, position)
            require_key(self.contract, () if newest is None else newest.key)

    def _require_replaceable(self, table: DeltaTable, plan: LoadPlan) -> None:
        require_constraints_fit(table, plan, self._columns(table).keys() - set(self.contract.column_names))
        if self.reshapes(table, plan) and self.streams(table, plan) and not is_plain(table):
            held = f"constraints ({', '.join(constraints(table))})" if constraints(table) else "deletion vectors"
            raise Rejected(
                f"{self.contract.table}: the table in s3 has {held} beside features that only other programs can "
                f"write; drop them there, or delete the folder {self.folder.uri}"
            )

    def reshapes(self, table: DeltaTable, plan: LoadPlan) -> bool:
        """Tell whether this load replaces the table's schema, and not its rows alone."""
        if not plan.full_refresh:
            return False
        alike = list(table.metadata().partition_columns) == partition_columns(self.layout)
        return not (alike and is_alike(self.contract, self._columns(table)) and is_plain(table, mapped=True))

    def streams(self, table: DeltaTable, plan: LoadPlan) -> bool:
        """Tell whether delta-rs has to write the rows of this load itself, instead of taking files that are written."""
        if self.reshapes(table, plan):
            return bool(constraints(table)) or has_deletion_vectors(table)
        return is_guarded(table)

    def require_layout(self, table: DeltaTable) -> None:
        """Refuse a table that is partitioned in another way than the contract asks for.

        Raises:
            Rejected: naming both.
        """
        there = list(table.metadata().partition_columns)
        if there != partition_columns(self.layout):
            raise Rejected(
                f"{self.contract.table}: the table in s3 is partitioned by {there or 'nothing'} and the contract asks "
                f"for {partition_columns(self.layout) or 'nothing'}; change it back, or replace it with --full-refresh"
            )

    def _columns(self, table: DeltaTable) -> dict[str, HeldColumn]:
        columns = held_columns(table)
        if self.layout is not None and self.layout.derived:
            columns.pop(self.layout.column, None)
        return columns

    def require_fitting(self, table: DeltaTable, plan: LoadPlan) -> None:
        """Refuse to commit rows whose files have other types than the table, which another process altered.

        Raises:
            Retryable: the next attempt alters the table again, or says why it may not.
        """
        if not plan.full_refresh and not fits(self.contract, self._columns(table)):
            raise Retryable(f"{self.contract.table}: columns in s3 were changed during the load; run it again")


def held_columns(table: DeltaTable) -> dict[str, HeldColumn]:
    fields = json.loads(table.schema().to_json())["fields"]
    physical = pa.schema(table.schema().to_arrow())
    return {
        field["name"]: HeldColumn(
            field["metadata"].get(TAG, ""), str(physical.field(field["name"]).type), field["nullable"]
        )
        for field in fields
    }
