"""One attempt to load one staged set: a single transaction that holds the ledger row and the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ownlens_plugins.api import LoadPlan, LoadResult, LoadSession, PartWriter, Receipt, StagedPart, StagedWriter
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.faults import reach
from ownlens_plugins.stopping import safe_point

from .applying import Applying
from .config import PostgreSQLConfig, PostgreSQLOptions
from .connection import Connection
from .database import Database
from .identity import Identity
from .ledger import Ledger
from .spreading import Spread, Taken, clear_settled, spread
from .violations import Violations


class PostgreSQLSession(LoadSession):
    """Does everything in `commit`. It holds no connection before or after, so a zombie holds no lock either."""

    def __init__(
        self,
        database: Database,
        config: PostgreSQLConfig,
        ledger: Ledger,
        plan: LoadPlan,
        options: PostgreSQLOptions,
        forget_table: Callable[[str], None],
        vouch: Callable[[str], None],
        *,
        vouched: bool,
    ) -> None:
        self._database = database
        self._config = config
        self._schema = config.db_schema
        self._ledger = ledger
        self._plan = plan
        self._options = options
        self._forget_table = forget_table
        self._vouch = vouch
        self._identity = Identity(config.db_schema, ledger)
        self._vouched = vouched
        self._started = time.monotonic()
        self._spread: Spread | None = None

    # Rows reach PostgreSQL only inside the transaction that commits them.
    writer = StagedWriter()

    def spread(self) -> PartWriter:
        """Return a writer for workers of other processes: their rows wait in tables of their own for the commit.

        Raises:
            Rejected: the role lacks a right. Retryable: not reachable now.
        """
        self._spread = spread(self._config, self._plan)
        return self._spread.begin(self._database)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        parts, taken = self._received(receipts), self._taken(receipts)
        explain = Violations(self._database, self._schema, self._plan, self._options).explain
        context = self._database.context(self._plan.table, explain=explain)
        try:
            with self._database.transaction(context) as connection:
                result = self._apply(connection, parts, taken)
                if not result.replayed:
                    reach("before_commit")
                    safe_point(self._plan.table, self._plan.destination)  # the rows' own transaction is rolled back
                    self._database.commit(connection, context)
                    reach("commit_sent")
        except (Retryable, Rejected):
            # The table may have changed since it was opened: look at it again before the next load.
            self._forget_table(self._plan.table)
            raise
        self._vouch(self._plan.table)
        reach("after_commit")
        reach("cleanup")
        if result.replayed:
            self._end()
        return result

    def _received(self, receipts: Sequence[Receipt]) -> list[StagedPart]:
        """Return the parts that the receipts name, each once, whichever attempt's receipt it is."""
        named = {receipt.part_id for receipt in receipts}
        known = {part.part_id for part in self._plan.parts}
        if named != known:
            raise Rejected(
                f"{self._plan.table}: postgresql got receipts for {len(named & known)} of {len(known)} parts "
                f"and {len(named - known)} unknown ones; start the load again"
            )
        return list(self._plan.parts)

    def _taken(self, receipts: Sequence[Receipt]) -> Taken | None:
        """Return the tables that workers filled, None when the rows come from the parts."""
        named = {receipt.part_id: str(receipt.payload["table"]) for receipt in receipts if "table" in receipt.payload}
        if named and len(named) < len(self._plan.parts):
            raise Rejected(f"{self._plan.table}: postgresql got receipts of two kinds of writers; start the load again")
        return Taken(self._config.ledger_schema, list(named.values())) if named else None

    def _apply(self, connection: Connection, parts: Sequence[StagedPart], taken: Taken | None) -> LoadResult:
        plan = self._plan
        self._ledger.lock_table(connection, plan)
        # Before the look for the load: the loads of a table that is gone are no loads of this one.
        self._identity.settle(connection, plan, vouched=self._vouched)
        if done := self._ledger.find(connection, plan):
            return done
        reach("before_ledger")
        if not self._ledger.claim(connection, plan):
            raise Retryable(f"{plan.table}: postgresql holds load {plan.load_id} of a rival attempt; run it again")
        counts = Applying(connection, self._schema, self._ledger, plan, self._options, parts, taken).run()
        # In the same step as the rows come: what goes is what is settled by it, of dead attempts and zombies too.
        clear_settled(connection, self._config, plan.table, plan.sequence)
        return self._ledger.record(connection, plan, counts, time.monotonic() - self._started)

    def abort(self) -> None:
        reach("abort")
        self._end()

    def _end(self) -> None:
        if self._spread is not None:
            self._spread.end(self._database)
