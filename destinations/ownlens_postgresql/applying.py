"""Bring a staged set's rows into its table, inside the load's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ownlens_plugins.api import Covers, LoadPlan, StagedPart
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.contracts import Reference, Strategy
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .catalog import find_table, tables_named
from .config import OnConflict, PostgreSQLOptions
from .connection import Connection
from .deleting import EVERYWHERE, NOWHERE, Deleting
from .ledger import Counts, Ledger
from .references import comparison
from .reshaping import Reshaping, finish
from .spreading import Taken
from .streaming import StagedRows
from .tables import drops, refreshes


@dataclass(frozen=True, slots=True)
class Target:
    """The table as this load finds it. `plain` says that COPY stores exactly the rows that it is sent.

    `has_kept` says that rows of it wait in the quarantine, `has_spared` that it holds rows that should go.
    """

    oid: int
    partitioned: bool
    plain: bool
    has_kept: bool
    has_spared: bool


@dataclass(frozen=True)
class Applying:
    """One staged set on its way into one table, from the `parts` that the receipts name, or from workers' tables."""

    connection: Connection
    schema: str
    ledger: Ledger
    plan: LoadPlan
    options: PostgreSQLOptions
    parts: Sequence[StagedPart]
    taken: Taken | None = None

    @property
    def table(self) -> str:
        return sql.qualified(self.schema, self.plan.table)

    def run(self) -> Counts:
        """Apply the strategy and count.

        Raises:
            Rejected: the parts do not hold the rows that the plan names, or cannot be read.
            Retryable: a part cannot be read now.
        """
        target = self._target()
        if self._copies_straight(target):
            return self._copy_straight()
        covers = None if self.plan.strategy is Strategy.APPEND else self.plan.covers
        if covers and covers.keys_only:
            return self._sweep(target)
        if self.plan.strategy is Strategy.OVERWRITE or (covers and covers.days is None):
            return self._overwrite(target)
        if covers:
            return self._replace_days(target, covers)
        if self.plan.rows == 0 and not (target.has_kept or target.has_spared):
            self._reshape()
            return Counts()
        return self._merge(target)

    def release(self) -> Counts:
        """Bring back rows from the quarantine whose parents have come; delete spared rows that nothing references."""
        target = self._target()
        return self._merge(target) if target.has_kept or target.has_spared else Counts()

    def _target(self) -> Target:
        kept, spared = self.ledger.quarantine.relation, self.ledger.spared.relation
        rows = self.connection.run(_TARGET.format(quarantine=kept, spared=spared), self.schema, self.plan.table)
        if not rows:
            raise Retryable(f"{self.plan.table}: postgresql table {self.table} vanished after open; run it again")
        return Target(*rows[0])

    def _copies_straight(self, target: Target) -> bool:
        return (
            self.plan.strategy is Strategy.APPEND
            and self.options.conflict is OnConflict.ERROR
            and not (self.options.enforces_references and self.plan.contract.references)
            and target.plain
            and not (target.has_kept or target.has_spared)
        )

    def _copy_straight(self) -> Counts:
        self._reshape()
        self._copy(self.plan.table, self.schema)
        return Counts(inserted=self.plan.rows)

    def _copy(self, table: str, schema: str | None, columns: Sequence[str] | None = None) -> None:
        if self.plan.rows == 0 and not self.parts:
            return
        if self.taken is not None:
            place = sql.STAGE if schema is None else sql.qualified(schema, table)
            self._check_count(self.taken.into(self.connection, place, self.plan, columns))
            return
        source = StagedRows(self.plan, self.parts, columns)
        try:
            sent = self.connection.copy(table, schema, source.reader())
        except Exception:
            if source.error is not None:
                raise source.translated() from source.error
            raise
        self._check_count(sent)

    def _check_count(self, found: int) -> None:
        if found != self.plan.rows:
            raise Rejected(
                f"{self.plan.table}: {self.plan.rows} rows are staged, but postgresql was sent {found}; "
                f"the staged set is damaged: load it anew with {refresh_options(self.plan.table)}"
            )

    # --- by way of a temporary table

    def _merge(self, target: Target) -> Counts:
        contract, conflict = self.plan.contract, self.options.conflict
        self._stage()
        if target.has_kept:
            self.ledger.quarantine.restore(self.connection, contract)
        orphans = self._mark_orphans(within_set=False)
        dropped = self.connection.run(sql.drop_superseded(contract), slow=True)[0][0] if target.has_kept else 0
        rejected, released = self._tally(dropped)
        revived = self.ledger.spared.names(contract, "s") if target.has_spared else ""
        merge = self._how(target, conflict, revived=revived)
        inserted, updated = self._apply(merge)
        self._check_keys(target)
        if conflict is OnConflict.ERROR and not revived:
            self._check_inserted(inserted + updated, self.plan.rows - dropped - rejected, released)
        deleted, spared = self._delete(target, NOWHERE) if target.has_spared else (0, 0)
        self._settle(target, orphans)
        unchanged = self.plan.rows - rejected + released - inserted - updated
        return Counts(inserted, updated, unchanged, deleted, rejected, released, spared)

    def _overwrite(self, target: Target) -> Counts:
        """Leave the staged rows, and rows that other tables still reference. A full refresh replaces the schema too."""
        emptied = self._stage()
        target = self._target() if emptied else target
        orphans = self._mark_orphans(within_set=True)
        rejected, _ = self._tally(0)
        inserted, updated = self._apply(self._how(target, OnConflict.UPDATE, any_version=True))
        self._check_keys(target)
        deleted, spared = self._delete(target, EVERYWHERE)
        if refreshes(self.plan):
            references = self.options.enforces_references
            finish(self.connection, self.schema, self.plan.contract, references=references)
        # Nothing was restored from the quarantine: what waited there is staged anew, or gone.
        self._settle(target, orphans)
        unchanged = self.plan.rows - rejected - inserted - updated
        return Counts(inserted, updated, unchanged, emptied + deleted, rejected, spared=spared)

    def _replace_days(self, target: Target, covers: Covers) -> Counts:
        """Leave the staged rows in the covered days, and everything in the others."""
        contract = self.plan.contract
        self._stage()
        if target.has_kept:
            self.ledger.quarantine.restore(self.connection, contract)
            self.connection.run(sql.drop_replaced(contract, covers), slow=True)
        orphans = self._mark_orphans(within_set=False)
        if target.has_kept:  # of two versions that wait, the older one
            self.connection.run(sql.drop_superseded(contract), slow=True)
        rejected, released = self._tally(0)
        inserted, updated = self._apply(self._how(target, OnConflict.UPDATE, any_version=True))
        self._check_keys(target)
        deleted, spared = self._delete(target, sql.of_days(covers))
        self._settle(target, orphans)
        unchanged = self.plan.rows - rejected + released - inserted - updated
        return Counts(inserted, updated, unchanged, deleted, rejected, released, spared)

    def _sweep(self, target: Target) -> Counts:
        """Delete the rows whose keys are not staged. The parts hold keys and nothing else."""
        contract = self.plan.contract
        self._stage(contract.key)
        self._tally(0)
        if target.has_kept:
            self.ledger.quarantine.forget_unstaged(self.connection, contract)
        elsewhere = self.connection.run(sql.count_new(self.table, contract), slow=True)[0][0]
        deleted, spared = self._delete(target, EVERYWHERE)
        return Counts(unchanged=self.plan.rows - elsewhere, deleted=deleted, spared=spared)

    def _how(self, target: Target, conflict: OnConflict, *, any_version: bool = False, revived: str = "") -> sql.Merge:
        return sql.Merge(
            self.table, self.plan.contract, conflict, target.has_kept, any_version, revived, target.partitioned
        )

    def _delete(self, target: Target, scope: str) -> tuple[int, int]:
        deleting = Deleting(self.connection, self.plan, self.table, target.oid, self.ledger.spared)
        # An overwrite leaves what is staged and can be loaded; elsewhere, a row whose new version waits stays as it is.
        return deleting.run(scope, waiting_stay=self.plan.strategy is not Strategy.OVERWRITE or scope == NOWHERE)

    def _settle(self, target: Target, orphans: int) -> None:
        """Leave in the quarantine what is without a parent now."""
        if target.has_kept:
            self.ledger.quarantine.forget_settled(self.connection, self.plan.table)
        if orphans:
            self.ledger.quarantine.keep_orphans(self.connection, self.plan)

    def _stage(self, columns: Sequence[str] | None = None) -> int:
        """Bring the set into a temporary table, and return how many rows had to leave for the contract's columns."""
        names = self.plan.contract.column_names if columns is None else columns
        self.connection.run(sql.create_stage(self.plan.contract, names))
        self._copy(sql.STAGE_NAME, None, columns)
        # After the rows' long way, for it locks out readers; before their first change, which would fire triggers.
        return self._reshape()

    def _reshape(self) -> int:
        contract, whole = self.plan.contract, refreshes(self.plan)
        existing = find_table(self.connection, self.schema, self.plan.table)
        if existing is None or not (whole or drops(contract)):
            return 0
        return Reshaping(self.connection, self.schema, contract, existing, self.ledger, whole=whole).run()

    def _tally(self, dropped: int) -> tuple[int, int]:
        staged, rejected, released = self.connection.run(sql.tally(), slow=True)[0]
        self._check_count(staged + dropped)
        return rejected, released

    def _apply(self, merge: sql.Merge) -> tuple[int, int]:
        new = (
            self.connection.run(sql.count_new(self.table, merge.contract), slow=True)[0][0] if merge.partitioned else 0
        )
        inserted, updated = self.connection.run(sql.apply_stage(merge), slow=True)[0]
        return (new, inserted - new) if merge.partitioned else (inserted, updated)

    def _check_keys(self, target: Target) -> None:
        """An upsert would count rows that a trigger swallows as unchanged."""
        if target.plain and not target.has_spared:
            return
        lost = self.connection.run(sql.count_new(self.table, self.plan.contract), slow=True)[0][0]
        if lost:
            raise self._swallowed(self.plan.rows - lost, self.plan.rows)

    def _check_inserted(self, changed: int, staged: int, released: int) -> None:
        """A plain insert stores every row or fails, unless a trigger swallows some."""
        if not staged <= changed <= staged + released:
            raise self._swallowed(changed, staged)

    def _swallowed(self, stored: int, staged: int) -> Rejected:
        return Rejected(
            f"{self.plan.table}: postgresql stored {stored} of {staged} rows; "
            f"a trigger or rule of {self.table} drops the others: disable it for the loader"
        )

    # --- references

    def _mark_orphans(self, *, within_set: bool) -> int:
        """Give a reason to staged rows without a parent; return how many.

        Raises:
            adbc.Error: the database refuses.
        """
        references = self.plan.contract.references if self.options.enforces_references else ()
        if not references:
            return 0
        present = tables_named(self.connection, self.schema, {reference.table for reference in references})
        others = [ref for ref in references if ref.table in present and ref.table != self.plan.table]
        own = [ref for ref in references if ref.table == self.plan.table]
        marked = sum(self._mark(ref, [sql.qualified(self.schema, ref.table)]) for ref in others)
        return marked + self._mark_own_orphans(own, within_set=within_set)

    def _mark(self, reference: Reference, parents: Sequence[str]) -> int:
        cast = comparison(self.connection, self.schema, self.plan.contract, reference)
        return self.connection.change(sql.mark_orphans(reference, parents, cast), slow=True)

    def _mark_own_orphans(self, references: Sequence[Reference], *, within_set: bool) -> int:
        # An overwrite removes what is not staged, so only staged rows count as parents. Each round can take the
        # parents of others.
        parents = [sql.STAGE] if within_set else [sql.STAGE, self.table]
        marked = 0
        while found := sum(self._mark(ref, parents) for ref in references):
            marked += found
        return marked


_TARGET = """
SELECT c.oid::bigint, c.relkind = 'p',
    c.relkind = 'r' AND NOT row_security_active(c.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
    EXISTS (SELECT FROM {quarantine} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text),
    EXISTS (SELECT FROM {spared} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text
"""
