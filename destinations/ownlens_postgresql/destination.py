"""The PostgreSQL destination."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import ClassVar

import pyarrow as pa

from ownlens_plugins.api import Destination, LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import CommitUnknown, Rejected, Retryable, StagedSetChanged
from ownlens_plugins.faults import reach
from ownlens_plugins.powers import Chore, SliceCounts, SqlValidationTarget, TableState, Upkeep

from . import adopting, kept, maintenance, overview, sql
from .applying import Applying
from .catalog import tables_named
from .columns import as_contract
from .config import PostgreSQLConfig, PostgreSQLOptions
from .connection import Connection
from .counting import Counting
from .database import Database
from .errors import Context, is_forbidden, is_missing, translate
from .identity import Identity, Standing
from .ledger import Ledger
from .rights import Right, Rights, needed
from .session import PostgreSQLSession
from .tables import ensure_table
from .validation import create_view, drop_stale_views, drop_view, validation_url
from .violations import Violations

Wanted = tuple[str, Strategy, bool, PostgreSQLOptions]


class PostgreSQLDestination(Destination[PostgreSQLConfig, PostgreSQLOptions]):
    """Tables of one schema of a PostgreSQL database, 15 or newer. Each load is one transaction."""

    name: ClassVar[str] = "postgresql"
    aliases: ClassVar[tuple[str, ...]] = ("postgres",)
    config_type = PostgreSQLConfig
    options_type = PostgreSQLOptions
    enforces_references: ClassVar[bool] = True
    follows_deletes: ClassVar[bool] = True
    strategies: ClassVar[frozenset[Strategy]] = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE})

    def __init__(self, config: PostgreSQLConfig) -> None:
        super().__init__(config)
        self._database = Database(config)
        self._ledger = Ledger(config.ledger_schema, config.db_schema)
        self._identity = Identity(config.db_schema, self._ledger)
        self._ensured: dict[str, Wanted] = {}
        # Tables of which a load was found or made here: a later load of them is no beginning.
        self._vouched: set[str] = set()
        self._lock = threading.Lock()

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        context = self._database.context(plan.table)
        with self._database.transaction(context, reading=True) as connection:
            try:
                found, standing = self._look(connection, plan)
            except Exception as error:
                if is_missing(error):  # nothing was loaded into this database yet
                    return None
                if not is_forbidden(error):
                    raise
                refused = translate(error, context)
            else:
                return self._if_there(plan, found, standing)
        with self._database.transaction(context) as connection:
            self._require_rights(connection, context, plan, self._options(plan))
        raise refused

    def _look(self, connection: Connection, plan: LoadPlan) -> tuple[LoadResult | None, Standing | None]:
        """Return a load that the ledger holds, and what has become of the table that it went into."""
        try:
            found = self._ledger.find(connection, plan)
        except StagedSetChanged:
            standing = self._identity.standing(connection, plan.table)
            if standing is not Standing.LOST:  # else nothing of that other set is left
                raise
            return None, standing
        return found, self._identity.standing(connection, plan.table) if found else None

    def _if_there(self, plan: LoadPlan, found: LoadResult | None, standing: Standing | None) -> LoadResult | None:
        """Return a load that the ledger holds, if the table that it went into is still there."""
        if standing is Standing.OTHER:
            raise self._identity.refused(plan)
        if standing is Standing.RESTORED:
            self._adopt_restored(plan.table)
        with self._lock:
            if standing is Standing.LOST:
                self._vouched.discard(plan.table)
                self._ensured.pop(plan.table, None)
                return None
            if found:
                self._vouched.add(plan.table)
        return found

    def _adopt_restored(self, table: str) -> None:
        context = self._database.context(table)
        # Another time will do: the next load adopts the table too.
        with suppress(Retryable, Rejected, CommitUnknown), self._database.transaction(context) as connection:
            if self._identity.adopt_restored(connection, table):
                self._database.commit(connection, context)

    def open(self, plan: LoadPlan) -> PostgreSQLSession:
        options = self._options(plan)
        self.require_strategy(plan)
        self._ensure(plan, options)
        reach("stage_open")
        vouch, vouched = self._vouched.add, plan.table in self._vouched
        return PostgreSQLSession(
            self._database, self.config, self._ledger, plan, options, self._forget_table, vouch, vouched=vouched
        )

    def position(self, contract: TableContract) -> int:
        """Return the highest sequence that the ledger holds of a table; 0 when it holds none."""
        context = self._database.context(contract.table)
        with self._database.transaction(context, reading=True) as connection:
            try:
                return self._ledger.position(connection, contract.table)
            except Exception as error:
                if is_missing(error):  # nothing was loaded into this database yet
                    return 0
                raise

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        """Record a load of the rows that are there, when the ledger knows of none."""
        self._forget_table(plan.table)  # the ledger that was looked at before may be gone
        self._ensure(plan, self._options(plan))
        context = self._database.context(plan.table)
        with self._database.transaction(context) as connection:
            result = adopting.adopt(connection, self.config.db_schema, self._ledger, plan, rows)
            reach("before_commit")
            self._database.commit(connection, context)
        reach("commit_sent")
        return result

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        """Return where each table stands, by two statements."""
        tables = [contract.table for contract in contracts]
        return overview.overview(self._database, self._ledger, self.config.db_schema, tables)

    def release(self, plan: LoadPlan) -> LoadResult | None:
        options = self._options(plan)
        if not self._has_aside(plan.table):
            return None
        self._ensure(plan, options)
        explain = Violations(self._database, self.config.db_schema, plan, options).explain
        context = self._database.context(plan.table, explain=explain)
        with self._database.transaction(context) as connection:
            result = self._release(connection, plan, options)
            if result is None:
                return None
            reach("before_commit")
            try:
                self._database.commit(connection, context)
            except CommitUnknown as error:  # what is still aside then comes back with the next call
                raise Retryable(str(error)) from None
        reach("commit_sent")
        return result

    def _release(self, connection: Connection, plan: LoadPlan, options: PostgreSQLOptions) -> LoadResult | None:
        self._ledger.lock_table(connection, plan)
        if self._identity.standing(connection, plan.table) in (Standing.LOST, Standing.OTHER):
            return None  # what was kept belongs to another table: the next run loads this one
        # Without parts a set that covers the table would say that all rows are gone.
        nothing_new = replace(plan, parts=(), covers=None)
        counts = Applying(connection, self.config.db_schema, self._ledger, nothing_new, options, ()).release()
        if not (counts.released or counts.deleted):
            return None
        return self._ledger.record_release(connection, plan, counts)

    def _has_aside(self, table: str) -> bool:
        with self._database.transaction(self._database.context(table), reading=True) as connection:
            return self._ledger.has_aside(connection, table)

    def kept_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the rows that wait for their parents, by table and reason."""
        return kept.counts(self._database, self._ledger, self.config.db_schema)

    def kept_rows(self, table: str) -> pa.RecordBatchReader:
        """Stream a table's rows that wait for their parents, oldest first."""
        return kept.rows(self._database, self._ledger, self.config.db_schema, table)

    def _options(self, plan: LoadPlan) -> PostgreSQLOptions:
        if not isinstance(plan.options, PostgreSQLOptions):
            raise Rejected(f"{plan.table}: the plan was made for another destination than postgresql; plan it again")
        return plan.options

    def _ensure(self, plan: LoadPlan, options: PostgreSQLOptions) -> None:
        """Make the table and the ledger fit, once per contract and process."""
        wanted = (plan.contract.fingerprint, plan.strategy, plan.covers is not None, options)
        if self._ensured.get(plan.table) == wanted:
            return
        context = self._database.context(plan.table)
        with self._database.transaction(context) as connection:
            self._require_rights(connection, context, plan, options)
            complete = ensure_table(connection, self.config.db_schema, plan, self._ledger, options)
            try:
                self._database.commit(connection, context)
            except CommitUnknown as error:  # definitions can be made again without harm
                raise Retryable(str(error)) from None
        if complete:
            with self._lock:
                self._ensured[plan.table] = wanted

    def _require_rights(
        self, connection: Connection, context: Context, plan: LoadPlan, options: PostgreSQLOptions
    ) -> None:
        wanted = needed(self.config, self._ledger.rights_needed(), plan, options)
        Rights(connection, self.config, context).require(wanted, table=plan.table)

    def _forget_table(self, table: str) -> None:
        with self._lock:
            self._ensured.pop(table, None)

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        rows = self._rows(plan)
        # The first batch now, so that a refusal is an error here and not inside Arrow.
        first = next(rows, None)
        return pa.RecordBatchReader.from_batches(plan.schema, rows if first is None else chain([first], rows))

    def _rows(self, plan: LoadPlan) -> Iterator[pa.RecordBatch]:
        schema = self.config.db_schema
        with self._database.transaction(self._database.context(plan.table), reading=True) as connection:
            if plan.table not in tables_named(connection, schema, [plan.table]):
                return  # no load has made it yet
            for batch in connection.stream(sql.read(sql.qualified(schema, plan.table), plan.contract)):
                yield as_contract(batch, plan.schema)

    def count(self, plan: LoadPlan) -> SliceCounts:
        """Count what the table shows of the plan's slice."""
        with self._database.transaction(self._database.context(plan.table), reading=True) as connection:
            return Counting(connection, self.config.db_schema, self._ledger, plan).count()

    def kept_since(self, plan: LoadPlan) -> date | None:
        """Return the oldest day that maintenance leaves in the table; None when it keeps everything."""
        days = plan.options.retention_days
        if days is None or plan.contract.partition_by is None:
            return None
        return datetime.now(UTC).date() - timedelta(days=days - 1)

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Delete old rows that nothing references, prune quarantine and ledger, and analyse what changed."""
        return maintenance.maintain(self._database, self.config, self._ledger, upkeep)

    def check(self) -> None:
        """Connect and return.

        Raises:
            Retryable: not reachable now.
            Rejected: the server refuses, is older than 15, or runs with synchronous_commit off.
        """
        with self._database.transaction(self._database.context(None)):
            pass

    def validation_target(self, plan: LoadPlan) -> SqlValidationTarget:
        """Return the table, or a view of the touched slice that `release_validation_target` drops."""
        schema, relation = self.config.db_schema, plan.table
        if plan.touched is not None:
            context = self._database.context(plan.table)
            with self._database.transaction(context) as connection:
                Rights(connection, self.config, context).require([Right("SCHEMA", "CREATE", schema)])
                drop_stale_views(connection, schema)
                relation = create_view(connection, schema, plan, plan.touched)
                self._database.commit(connection, context)
        return SqlValidationTarget(validation_url(self.config), schema, relation, "postgresql")

    def release_validation_target(self, target: SqlValidationTarget) -> None:
        """Drop the view, if the target is one."""
        context = self._database.context(target.relation)
        with self._database.transaction(context) as connection:
            drop_view(connection, self.config.db_schema, target.relation)
            self._database.commit(connection, context)
