"""One attempt to load one staged set: a single transaction that holds the ledger row and the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ownlens_plugins.api import LoadPlan, LoadResult, LoadSession, Receipt, StagedPart, StagedWriter
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.faults import reach
from ownlens_plugins.stopping import safe_point

from .applying import Applying
from .config import PostgreSQLConfig, PostgreSQLOptions
from .connection import Connection
from .database import Database
from .identity import Identity
from .ledger import Ledger
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
        self._schema = config.db_schema
        self._ledger = ledger
        self._plan = plan
        self._options = options
        self._forget_table = forget_table
        self._vouch = vouch
        self._identity = Identity(config.db_schema, ledger)
        self._vouched = vouched
        self._started = time.monotonic()

    # Rows reach PostgreSQL only inside the transaction that commits them.
    writer = StagedWriter()

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        parts = self._received(receipts)
        explain = Violations(self._database, self._schema, self._plan, self._options).explain
        context = self._database.context(self._plan.table, explain=explain)
        try:
            with self._database.transaction(context) as connection:
                result = self._apply(connection, parts)
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

    def _apply(self, connection: Connection, parts: Sequence[StagedPart]) -> LoadResult:
        plan = self._plan
        self._ledger.lock_table(connection, plan)
        # Before the look for the load: the loads of a table that is gone are no loads of this one.
        self._identity.settle(connection, plan, vouched=self._vouched)
        if done := self._ledger.find(connection, plan):
            return done
        reach("before_ledger")
        if not self._ledger.claim(connection, plan):
            raise Retryable(f"{plan.table}: postgresql holds load {plan.load_id} of a rival attempt; run it again")
        counts = Applying(connection, self._schema, self._ledger, plan, self._options, parts).run()
        return self._ledger.record(connection, plan, counts, time.monotonic() - self._started)

    def abort(self) -> None:
        reach("abort")
