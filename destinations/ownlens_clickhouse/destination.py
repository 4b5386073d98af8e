"""The ClickHouse destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pyarrow as pa

from ownlens_plugins import faults
from ownlens_plugins.api import Destination, LoadPlan, LoadResult, LoadSession, new_attempt
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import OwnLensError, Rejected
from ownlens_plugins.powers import Chore, SliceCounts, SqlValidationTarget, TableState, Upkeep

from . import adopting, attempts, covering, lives, maintenance, overview, reading, schema, settling, sql, staging
from .attempts import Internal, parse
from .client import Store
from .config import ClickHouseConfig, ClickHouseOptions
from .definition import TableDefinition, define, flag, flagged
from .failures import reported
from .ledger import Entry, Ledger, Standing
from .session import ClickHouseSession, ReplaySession
from .staging import Blueprint
from .target import Survey, Target
from .turns import turn

_DATABASE_ENGINES = ("Atomic", "Replicated", "Shared")


class ClickHouseDestination(Destination[ClickHouseConfig, ClickHouseOptions]):
    """Tables of one database, on a ClickHouse server or in the embedded engine."""

    name = "clickhouse"
    aliases = ("ch",)
    config_type = ClickHouseConfig
    options_type = ClickHouseOptions
    follows_deletes = True
    strategies = frozenset({Strategy.APPEND, Strategy.REPLACE_PARTITION, Strategy.UPSERT, Strategy.OVERWRITE})

    def __init__(self, config: ClickHouseConfig) -> None:
        super().__init__(config)
        self._store = Store(config)
        self._ledger = Ledger(self._store)
        self._has_database = False
        self._told: set[str] = set()
        # The newest load of each table when it was last asked about: enough to see that all is as it was.
        self._newest: dict[str, Entry | None] = {}

    def check(self) -> None:
        with reported(self.config, self.name):
            self._store.rows("SELECT 1")

    def out_of_reach(self) -> str:
        """Return why workers of other processes cannot write here: the embedded engine admits one process."""
        return "" if self._store.shared else "the embedded ClickHouse admits one process"

    def position(self, contract: TableContract) -> int:
        """Return the highest sequence that the ledger holds of a table; 0 when it holds none."""
        with reported(self.config, contract.table):
            return self._ledger.position(contract.table)

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        """Return where each table stands, by two statements."""
        with reported(self.config, self.name):
            return overview.overview(self._store, self._ledger, [contract.table for contract in contracts])

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        target = self._target(plan)
        with reported(self.config, plan.table):
            newest = self._newest[plan.table] = self._ledger.newest(plan.table)
            if newest is None or newest.sequence < plan.sequence:
                return None  # whatever has become of the table since; `open` looks
            seen = lives.look_after(target, plan.sequence, newest)
            result = seen.standing.outcome(plan)
        if seen.standing.this is not None:
            # An attempt that died after its ledger row will not be opened again. The load is done all the same.
            with suppress(OwnLensError), reported(self.config, plan.table):
                settling.sweep(target, seen.standing, seen.survey)
        return result

    def open(self, plan: LoadPlan) -> LoadSession:
        own = attempts.internal(plan.table, plan.sequence, new_attempt(), "p0")
        target = self._target(plan).for_attempt(own)
        attempts.begin(own.attempt)
        try:
            with reported(self.config, plan.table):
                return self._opened(target, plan, own)
        except BaseException:
            attempts.end(own.attempt)
            raise

    def _opened(self, target: Target, plan: LoadPlan, own: Internal) -> LoadSession:
        self._ensure_database(plan.table, target.definition)
        # Before the table may change: what a crashed attempt staged has the table's present structure.
        standing, survey = self._cleared(target, own)
        if result := standing.outcome(plan):
            attempts.end(own.attempt)
            return ReplaySession(result)
        blueprint = self._blueprint(target, plan, own, survey)
        faults.reach("stage_open")
        # A table that was not there is made by now.
        has_parts = survey.here is None or survey.here.is_merge_tree
        return ClickHouseSession(replace(target, has_parts=has_parts), plan, blueprint, own)

    def _cleared(self, target: Target, own: Internal) -> tuple[Standing, Survey]:
        survey = target.survey(columns=True, definition=True)
        if any(attempts.is_dead(each.label, shared=self._store.shared) for each in survey.leftovers):
            with turn(target):
                standing = settling.settle(target, own)
            return standing, target.survey(columns=True, definition=True)
        newest = self._newest.get(target.table)
        if newest is not None and lives.is_known_anew(survey, newest) is None:
            return lives.standing(target, own.sequence), survey  # refuses another table before rows move
        return Standing(), survey

    def _ensure_database(self, table: str, definition: TableDefinition) -> None:
        if self._has_database:
            return
        database = self.config.database
        rows = self._store.rows("SELECT engine FROM system.databases WHERE name = {database:String}", database=database)
        if not rows:
            self._store.run(sql.create_database(database, definition.cluster))
        elif str(rows[0][0]) not in _DATABASE_ENGINES:
            raise Rejected(
                f"{table}: clickhouse database {database!r} has engine {rows[0][0]}, which cannot exchange tables; "
                "name a database with engine Atomic"
            )
        self._ledger.create(replicated=definition.replicated, cluster=definition.cluster)
        self._has_database = True

    def _blueprint(self, target: Target, plan: LoadPlan, own: Internal, survey: Survey) -> Blueprint:
        shape = schema.ensure(target, survey, replaced=plan.strategy is Strategy.OVERWRITE)
        if plan.table not in self._told:
            self._told.add(plan.table)
            staging.tell(target, shape)
        if covering.exchanges(plan):
            return staging.replacing(target, shape, own, plan.sequence)
        return staging.landing(target, shape, plan.sequence)

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        return reading.read(self._target(plan), uuid_as=_options(plan).uuid_as)

    def validation_target(self, plan: LoadPlan) -> SqlValidationTarget:
        """Make a view of the touched days, newest versions only."""
        target = self._target(plan)
        view = attempts.internal(plan.table, plan.sequence, new_attempt(), "view")
        attempts.begin(view.attempt)
        query = reading.view(target, where=covering.touched(plan))
        with reported(self.config, plan.table):
            self._store.run(f"CREATE VIEW {self._store.name(view.name)} AS {query}")
        flags = {name: flag(name) for name in flagged(plan.contract)}
        return SqlValidationTarget(self._url(), self.config.database, view.name, "clickhouse", flags)

    def count(self, plan: LoadPlan) -> SliceCounts:
        """Count the visible rows and keys of the touched days."""
        with reported(self.config, plan.table):
            return reading.count(self._target(plan), where=covering.touched(plan))

    def kept_since(self, plan: LoadPlan) -> date | None:
        """Return the oldest day whose rows are not past the table's TTL; tomorrow where that is not by days alone."""
        days = _options(plan).retention_days if plan.contract.partition_by else None
        if days is None:
            with reported(self.config, plan.table):
                days = reading.days_kept(self._target(plan))
        return None if days is None else datetime.now(UTC).date() - timedelta(days=days - 1)

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Delete old rows, merge parts that ClickHouse left unmerged, drop leftovers, and prune the ledger."""
        contract, options = upkeep.contract, cast(ClickHouseOptions, upkeep.options)
        plan = LoadPlan(contract, self.name, options.strategy, options, upkeep.settled, digest="", parts=())
        with reported(self.config, contract.table):
            return maintenance.maintain(self._target(plan), upkeep)

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        """Record a load of the rows that are there, when the ledger knows of none."""
        target = self._target(plan)
        with reported(self.config, plan.table):
            self._ensure_database(plan.table, target.definition)
            faults.reach("before_commit")
            result = adopting.adopt(target, plan, rows)
        faults.reach("commit_sent")
        return result

    def release_validation_target(self, target: SqlValidationTarget) -> None:
        """Drop the view that `validation_target` made."""
        view = parse(target.relation)
        if view is None:
            return
        with reported(self.config, target.relation):
            self._store.run(sql.drop(self._store.name(target.relation)))
        attempts.end(view.attempt)

    def _url(self) -> Any:
        from sqlalchemy.engine import URL

        config = self.config
        if config.interface == "chdb":
            query = {"interface": "chdb", "path": str(config.path)}
            return URL.create("clickhousedb", database=config.database, query=query)
        query = {"secure": str(config.secure).lower(), "verify": str(config.verify).lower()}
        if config.ca_cert:
            query["ca_cert"] = str(config.ca_cert)
        return URL.create(
            "clickhousedb",
            username=config.user,
            password=config.password.get_secret_value() if config.password else None,
            host=config.host,
            port=config.port_number,
            database=config.database,
            query=query,
        )

    def close(self) -> None:
        """Close the clients. When all are closed, another process may open the embedded engine's folder."""
        self._store.close()
        self._has_database = False

    def _target(self, plan: LoadPlan) -> Target:
        return Target(
            self._store,
            self._ledger,
            plan.contract,
            define(plan),
            replaces=covering.exchanges(plan),
            anew=plan.full_refresh and plan.strategy is Strategy.OVERWRITE,
        )


def _options(plan: LoadPlan) -> ClickHouseOptions:
    return cast(ClickHouseOptions, plan.options)
