"""What log and ledger say together of a load: the log decides, the ledger knows digests and counts of older loads."""

from __future__ import annotations

from dataclasses import dataclass

from deltalake import DeltaTable

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected

from .folder import TableFolder
from .forgetting import floor_of
from .identity import table_id
from .ledger import (
    MERGED,
    LedgerEntry,
    from_document,
    overtaken,
    read_entry,
    set_changed,
    with_metrics,
    write_entry,
)
from .marks import Marks


@dataclass(frozen=True)
class Records:
    """The loads of one version of a table, which is known to be the one that the ledger speaks of."""

    folder: TableFolder
    contract: TableContract
    table: DeltaTable
    marks: Marks

    def recorded(self, plan: LoadPlan) -> LoadResult | None:
        """Return the result of a load that is in or was overtaken, or None.

        Raises:
            StagedSetChanged: the load id is recorded with another digest.
            Rejected: the ledger knows the load, and the log has lost its mark.
        """
        if not self.marks.is_done(plan.sequence):
            self._require_unknown(plan)
            return None
        if self.marks.differs(plan.sequence, plan.digest):
            raise set_changed(plan)
        entry = self._entry(plan.sequence)
        if entry is None:  # a crash prevented it and the log is too young to tell, or the ledger has forgotten it
            in_log = self.marks.holds(plan.sequence)
            return LoadResult(plan.load_id, plan.digest, plan.rows, 0) if in_log else overtaken(plan)
        if entry.digest != plan.digest:
            raise set_changed(plan)
        return entry.result

    def _require_unknown(self, plan: LoadPlan) -> None:
        """Refuse a load below the newest one that lacks a mark, if the ledger says that it is in.

        Marks of older versions of OwnLens, and those of late sets, can expire one by one. Newer loads than any mark
        are another matter: there the newest files of the log were removed, with the rows.
        """
        if plan.sequence >= self.marks.position:
            return
        entry = read_entry(self.folder, plan.sequence)
        if plan.sequence <= floor_of(self.folder) if entry is None else self._is_own(entry):
            raise Rejected(
                f"{plan.table}: s3 has load {plan.sequence} in its ledger, and no mark of it in the table's log, where "
                "delta.setTransactionRetentionDuration may have dropped it; replace the table with --full-refresh"
            )

    def complete(self) -> None:
        """Enter the last set of the run in the ledger if a crash prevented it, before another one takes its mark.

        Of the sets below, only the ledger knows the digest.
        """
        if self.marks.last:
            self._entry(self.marks.last)

    def _entry(self, sequence: int) -> LedgerEntry | None:
        """Return the ledger's entry of a load that is done, written anew from the log if it is not of this load."""
        entry = read_entry(self.folder, sequence)
        if entry is not None and self._is_own(entry) and not self.marks.differs(sequence, entry.digest):
            return entry
        if not self.marks.holds(sequence) or (entry is None and sequence <= floor_of(self.folder)):
            return None
        return self._fill_in(sequence)

    def _is_own(self, entry: LedgerEntry) -> bool:
        return entry.table_id in ("", table_id(self.table))

    def _fill_in(self, sequence: int) -> LedgerEntry | None:
        """Write the ledger entry that a crash prevented, from the commit in the log."""
        columns = {column.name: str(column) for column in self.contract.columns}
        for commit in self.table.history():
            document = commit.get("ownlens")
            if isinstance(document, dict) and document.get("sequence") == sequence:
                entry = from_document({**document, "columns": columns})
                metrics = commit.get("operationMetrics") or {}
                if MERGED in metrics:  # else the counts were known before the commit
                    entry = with_metrics(entry, metrics)
                write_entry(self.folder, entry)
                return entry
        return None
