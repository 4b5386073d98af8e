"""Which table the ledger speaks of: one that was dropped, emptied or put in another's place is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .catalog import tables_named
from .connection import Connection
from .ledger import Known, Ledger


class Standing(Enum):
    """What the table is to the loads that the ledger records."""

    SAME = "the table that they filled"
    LOST = "gone, or without any of their rows"
    RESTORED = "another table with as many rows, as a restored dump is"
    OTHER = "another table with other rows"


@dataclass(frozen=True)
class Identity:
    """The tables of one schema, compared with what the ledger knows of them."""

    schema: str
    ledger: Ledger

    def standing(self, connection: Connection, table: str) -> Standing:
        """Compare a table with the one that the ledger's loads filled. It may be missing."""
        return self._compare(connection, table, self._oid(connection, table))

    def _oid(self, connection: Connection, table: str) -> int | None:
        return tables_named(connection, self.schema, [table]).get(table)

    def _compare(self, connection: Connection, table: str, oid: int | None) -> Standing:
        known = self.ledger.known(connection, table)
        if oid is None:
            return Standing.LOST
        if known is None or not known.loaded:
            return Standing.SAME
        if known.oid in (None, oid):
            # Emptied as a whole, by TRUNCATE say: as lost as a table that was dropped.
            return Standing.LOST if known.rows > 0 and not self._has_rows(connection, table) else Standing.SAME
        return self._stranger(connection, table, known)

    def _stranger(self, connection: Connection, table: str, known: Known) -> Standing:
        if not self._has_rows(connection, table):
            return Standing.LOST
        # pg_dump restores rows and ledger, but no oids.
        found = connection.run(f"SELECT count(*) FROM {sql.qualified(self.schema, table)}", slow=True)[0][0]
        return Standing.RESTORED if found == known.rows else Standing.OTHER

    def _has_rows(self, connection: Connection, table: str) -> bool:
        query = f"SELECT EXISTS (SELECT FROM {sql.qualified(self.schema, table)})"
        return bool(connection.run(query, slow=True)[0][0])

    def adopt_restored(self, connection: Connection, table: str) -> bool:
        """Make a restored table the known one, so that its rows are counted once; False when a load is at it."""
        return (
            self.ledger.try_lock_table(connection, table)
            and self.standing(connection, table) is Standing.RESTORED
            and self.ledger.adopt(connection, table, self._oid(connection, table) or 0)
        )

    def settle(self, connection: Connection, plan: LoadPlan, *, vouched: bool) -> None:
        """Make the table that is there the known one, under its lock and in the transaction that loads into it.

        The loads of a table that is gone are forgotten with the commit of the first load into the new one: until
        then, every run finds the table lost, and begins with the oldest set. `vouched` says that this process was told
        of loads that this one follows.

        Raises:
            Retryable: the table was lost after the load was decided on, which is not the first one to bring back.
            Rejected: the loads before this one are not in the table, and this one does not replace them.
        """
        oid = self._oid(connection, plan.table)
        standing = self._compare(connection, plan.table, oid)
        if oid is None:
            raise Retryable(
                f"{plan.table}: postgresql table {sql.qualified(self.schema, plan.table)} vanished after open; "
                "run it again"
            )
        if standing in (Standing.LOST, Standing.OTHER):
            if not replaces(plan):
                self._require_first(plan, standing, vouched=vouched)
            self.ledger.forget_loads(connection, plan.table)
        self.ledger.adopt(connection, plan.table, oid)

    def _require_first(self, plan: LoadPlan, standing: Standing, *, vouched: bool) -> None:
        if standing is Standing.OTHER:
            raise self.refused(plan)
        if vouched:
            raise Retryable(
                f"{plan.table}: postgresql table {sql.qualified(self.schema, plan.table)} was dropped or emptied while "
                "the run went on; run it again"
            )
        if plan.window.start is not None:
            raise Rejected(
                f"{plan.table}: postgresql table {sql.qualified(self.schema, plan.table)} was dropped or emptied, and "
                f"{plan.load_id} holds only what came after {plan.window.start:%Y-%m-%d %H:%M}; "
                "load the table again with --full-refresh"
            )

    def refused(self, plan: LoadPlan) -> Rejected:
        """Return the error for a table that is not the one that the ledger speaks of."""
        return Rejected(
            f"{plan.table}: postgresql table {sql.qualified(self.schema, plan.table)} is not the one that was loaded, "
            "and holds other rows; put the loaded one back, or replace its rows with --full-refresh"
        )


def replaces(plan: LoadPlan) -> bool:
    """Tell whether a load leaves nothing of what was in the table before."""
    if plan.covers and plan.covers.keys_only:
        return False
    whole = plan.covers is not None and plan.covers.days is None and plan.strategy is not Strategy.APPEND
    return whole or plan.strategy is Strategy.OVERWRITE
