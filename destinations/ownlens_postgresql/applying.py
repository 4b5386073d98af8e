"""Bring a staged set's rows into its table, inside the load's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ownlens_plugins.api import LoadPlan, StagedPart
from ownlens_plugins.contracts import Reference, Strategy
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .catalog import foreign_keys_to, tables_named
from .config import OnConflict, PostgreSQLOptions
from .connection import Connection
from .ledger import Counts, Ledger
from .streaming import StagedRows


@dataclass(frozen=True, slots=True)
class Target:
    """The table as this load finds it. `plain` says that COPY stores exactly the rows that it is sent."""

    oid: int
    partitioned: bool
    plain: bool
    has_kept: bool


@dataclass(frozen=True)
class Applying:
    """One staged set on its way into one table. `parts` are those that the receipts name."""

    connection: Connection
    schema: str
    ledger: Ledger
    plan: LoadPlan
    options: PostgreSQLOptions
    parts: Sequence[StagedPart]

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
        if self.plan.strategy is Strategy.OVERWRITE:
            return self._overwrite(target)
        if self.plan.rows == 0 and not target.has_kept:
            return Counts()
        return self._merge(target)

    def release(self) -> Counts:
        """Bring back rows from the quarantine whose parents have come."""
        target = self._target()
        return self._merge(target) if target.has_kept else Counts()

    def _target(self) -> Target:
        rows = self.connection.run(_TARGET.format(quarantine=self.ledger.quarantine), self.schema, self.plan.table)
        if not rows:
            raise Retryable(f"{self.plan.table}: postgresql table {self.table} vanished after open; run it again")
        return Target(*rows[0])

    def _copies_straight(self, target: Target) -> bool:
        return (
            self.plan.strategy is Strategy.APPEND
            and self.options.conflict is OnConflict.ERROR
            and not (self.options.enforces_references and self.plan.contract.references)
            and target.plain
            and not target.has_kept
        )

    def _copy_straight(self) -> Counts:
        self._copy(self.plan.table, self.schema)
        return Counts(inserted=self.plan.rows)

    def _copy(self, table: str, schema: str | None) -> None:
        if self.plan.rows == 0 and not self.parts:
            return
        source = StagedRows(self.plan, self.parts)
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
                "the staged set is damaged: stage the table again"
            )

    # --- by way of a temporary table

    def _merge(self, target: Target) -> Counts:
        contract = self.plan.contract
        self._stage()
        if target.has_kept:
            self.ledger.restore_kept(self.connection, contract)
        orphans = self._mark_orphans(within_set=False)
        dropped = self.connection.run(sql.drop_superseded(contract), slow=True)[0][0] if target.has_kept else 0
        rejected, released = self._tally(dropped)
        conflict = self.options.conflict
        merge = sql.Merge(self.table, contract, conflict, kept=target.has_kept, partitioned=target.partitioned)
        inserted, updated = self._apply(merge)
        self._check_keys(target)
        if conflict is OnConflict.ERROR:
            self._check_inserted(inserted + updated, self.plan.rows - dropped - rejected, released)
        self._settle(target, orphans)
        unchanged = self.plan.rows - rejected + released - inserted - updated
        return Counts(inserted, updated, unchanged, rejected=rejected, released=released)

    def _overwrite(self, target: Target) -> Counts:
        """Leave the staged rows, and rows that other tables still reference."""
        self._stage()
        orphans = self._mark_orphans(within_set=True)
        rejected, _ = self._tally(0)
        merge = sql.Merge(
            self.table, self.plan.contract, OnConflict.UPDATE, any_version=True, partitioned=target.partitioned
        )
        inserted, updated = self._apply(merge)
        self._check_keys(target)
        deleted = self._delete_unstaged(target)
        self._settle(target, orphans)
        unchanged = self.plan.rows - rejected - inserted - updated
        return Counts(inserted, updated, unchanged, deleted, rejected)

    def _settle(self, target: Target, orphans: int) -> None:
        """Leave in the quarantine what is without a parent now."""
        if target.has_kept:
            self.ledger.forget_settled(self.connection, self.plan.table)
        if orphans:
            self.ledger.keep_orphans(self.connection, self.plan)

    def _stage(self) -> None:
        self.connection.run(sql.create_stage(self.plan.contract))
        self._copy(sql.STAGE_NAME, None)

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
        if target.plain:
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
        return self.connection.change(sql.mark_orphans(reference, parents), slow=True)

    def _mark_own_orphans(self, references: Sequence[Reference], *, within_set: bool) -> int:
        # An overwrite removes what is not staged, so only staged rows count as parents. Each round can take the
        # parents of others.
        parents = [sql.STAGE] if within_set else [sql.STAGE, self.table]
        marked = 0
        while found := sum(self._mark(ref, parents) for ref in references):
            marked += found
        return marked

    def _delete_unstaged(self, target: Target) -> int:
        contract = self.plan.contract
        keys = foreign_keys_to(self.connection, target.oid)
        own = [key for key in keys if key.is_own]
        self.connection.run(sql.create_doomed(self.table, contract, [key for key in keys if not key.is_own]), slow=True)
        while sum(self.connection.change(sql.spare_parents(self.table, contract, key), slow=True) for key in own):
            pass
        return self.connection.change(sql.delete_doomed(self.table, contract), slow=True)


_TARGET = """
SELECT c.oid::bigint, c.relkind = 'p',
    c.relkind = 'r' AND NOT row_security_active(c.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
    EXISTS (SELECT FROM {quarantine} AS q WHERE q.table_schema = $1::text AND q.table_name = $2::text)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname = $2::text
"""
