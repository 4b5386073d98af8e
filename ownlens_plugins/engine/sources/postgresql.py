"""Extract tables from PostgreSQL by ADBC, all in one exported snapshot."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from ...contracts import TableContract
from ...errors import SourceInvalid
from ...settings import PostgreSQLSourceConfig
from .postgresql_columns import quote, select_expressions
from .postgresql_errors import refused, snapshot_gone, translated, unreachable
from .postgresql_selection import rows_of, unseen
from .postgresql_snapshot import PINNED, SnapshotFacts, take_snapshot
from .postgresql_types import NativeType
from .source import Extracted, Seen, Selection


@dataclass(frozen=True)
class PostgreSQLSource:
    """A PostgreSQL database, read with the rights of its configured role."""

    config: PostgreSQLSourceConfig
    lag: timedelta = timedelta(0)

    @contextmanager
    def snapshot(self) -> Iterator[PostgreSQLSnapshot]:
        """Export one snapshot that every table's connection adopts, so that foreign keys agree."""
        with _connect(self.config) as connection:
            try:
                facts = take_snapshot(connection, self.config.db_schema, self.lag)
            except psycopg.Error as error:
                raise translated("source postgresql", error) from error
            with closing(_SnapshotConnections(self.config, facts.name)) as connections:
                yield PostgreSQLSnapshot(self.config, facts, connections)


class _SnapshotConnections:
    """Read-only connections inside one snapshot, lent to one table at a time. Opening one costs 75 ms."""

    def __init__(self, config: PostgreSQLSourceConfig, snapshot: str) -> None:
        self._config, self._snapshot = config, snapshot
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @contextmanager
    def lend(self, table: str) -> Iterator[Any]:
        connection = self._take(table)
        try:
            yield connection
        except BaseException:
            # Its transaction has failed, and with it the snapshot.
            connection.close()
            raise
        self._idle.put(connection)

    def _take(self, table: str) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._open(table)

    def _open(self, table: str) -> Any:
        import adbc_driver_postgresql.dbapi as adbc

        try:
            connection = adbc.connect(_conninfo(self._config))
        except adbc.Error as error:
            raise refused(self._config, error) or error from None
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")
            except adbc.Error as error:
                raise snapshot_gone(table, error) or error from error
            for name, value in PINNED.items():
                cursor.execute(f"SET {name} = '{value}'")
        return connection

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


@dataclass(frozen=True)
class PostgreSQLSnapshot:
    """One exported snapshot, which every connection that reads has adopted."""

    config: PostgreSQLSourceConfig
    facts: SnapshotFacts
    connections: _SnapshotConnections

    @property
    def closes_at(self) -> datetime:
        return self.facts.moment

    @property
    def held(self) -> str:
        return self.facts.held

    def identity(self, contract: TableContract) -> dict[str, str]:
        place = {"database": self.config.database, "schema": self.config.db_schema, "table": contract.table}
        return {"kind": "postgresql", "system": self.facts.seen.system, **place}

    def seen(self, contract: TableContract) -> Seen | None:
        tables = self.facts.telling.get(contract.table)
        return None if tables is None else replace(self.facts.seen, tables=tables)

    def files(self, contract: TableContract) -> dict[str, str]:  # noqa: ARG002  # no table of a database has any
        return {}

    def columns(self, contract: TableContract) -> tuple[str, ...]:
        return tuple(self._columns(contract))

    def day_rows(self, contract: TableContract) -> dict[date, int]:
        day = quote(contract.partition_by or "")
        self._columns(contract)
        counted = f"SELECT {day} AS day, count(*) AS held FROM {self._relation(contract)}"
        table = self._answer(contract, f"{counted} WHERE isfinite({day}) GROUP BY 1")
        return dict(zip(table.column("day").to_pylist(), table.column("held").to_pylist(), strict=True))

    def changed_days(self, contract: TableContract, unseen_by: Seen) -> frozenset[date]:
        day = quote(contract.partition_by or "")
        self._columns(contract)
        found = f"SELECT DISTINCT {day} AS day FROM {self._relation(contract)} WHERE isfinite({day})"
        return frozenset(self._answer(contract, f"{found} AND {unseen(unseen_by)}").column("day").to_pylist())

    def _answer(self, contract: TableContract, statement: str) -> pa.Table:
        with self._reading(contract, statement) as reader:
            return _flat(reader, contract.table).read_all()

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        """Stream the selected rows of a table; whole tables come ordered by key, so equal rows stage equal bytes."""
        with self._reading(contract, self._statement(contract, selection)) as reader:
            yield Extracted(_flat(reader, contract.table), checked=self.facts.checked)

    @contextmanager
    def _reading(self, contract: TableContract, statement: str) -> Iterator[pa.RecordBatchReader]:
        import adbc_driver_manager

        try:
            with self.connections.lend(contract.table) as connection, connection.cursor() as cursor:
                cursor.execute(statement)
                yield cursor.fetch_record_batch()
        except adbc_driver_manager.Error as error:
            raise translated(contract.table, error) from error

    def _statement(self, contract: TableContract, selection: Selection) -> str:
        columns = self._columns(contract)
        wanted = [contract.column(name) for name in contract.key] if selection.keys_only else contract.columns
        expressions = select_expressions(contract, wanted, columns, schema=self.config.db_schema)
        relation = self._relation(contract)
        zone = contract.cursor_zone or self.facts.zone
        return f"SELECT {', '.join(expressions)} FROM {relation}{rows_of(contract, selection, relation, columns, zone)}"

    def _relation(self, contract: TableContract) -> str:
        return f"{quote(self.config.db_schema)}.{quote(contract.table)}"

    def _columns(self, contract: TableContract) -> dict[str, NativeType]:
        columns = self.facts.catalog.get(contract.table)
        if columns is None:
            raise SourceInvalid(
                f"{contract.table}: the source has no table {self.config.db_schema}.{contract.table}; "
                "create it, grant SELECT on it, or leave the table out with --tables"
            )
        return columns


def _flat(reader: pa.RecordBatchReader, table: str) -> pa.RecordBatchReader:
    """Strip the driver's wrapper from types it does not know, such as numeric, which come as exact text."""
    schema = pa.schema([_storage(field) for field in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, _stripped(reader, schema, table))


def _stripped(reader: pa.RecordBatchReader, schema: pa.Schema, table: str) -> Iterator[pa.RecordBatch]:
    try:
        for batch in reader:
            yield _strip(batch, schema)
    except (pa.ArrowException, OSError) as error:  # the driver's errors, once rows flow
        raise translated(table, error) from error


def _storage(field: pa.Field) -> pa.Field:
    opaque = isinstance(field.type, pa.OpaqueType)
    return pa.field(field.name, field.type.storage_type if opaque else field.type)


def _strip(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [column.storage if isinstance(column.type, pa.OpaqueType) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _conninfo(config: PostgreSQLSourceConfig, **session: str | None) -> str:
    password = config.password.get_secret_value() if config.password else None
    settings = {**_session(config), **session}
    return make_conninfo(
        host=config.host,
        port=config.port,
        dbname=config.database,
        user=config.user,
        password=password,
        sslmode=config.sslmode,
        sslrootcert=config.sslrootcert,
        connect_timeout=config.connect_timeout,
        application_name="ownlens",
        options=" ".join(f"-c {name}={_option(value)}" for name, value in settings.items() if value is not None),
    )


def _option(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def _session(config: PostgreSQLSourceConfig) -> dict[str, str]:
    return {
        # No object of another schema stands in for one of the catalogue. Functions of views may need the tables'.
        "search_path": f"pg_catalog,{quote(config.db_schema)},pg_temp",
        # A policy that hides rows is an error: they would be missing everywhere.
        "row_security": "off",
        "statement_timeout": f"{config.statement_timeout}s",
        # The connection that holds the snapshot is idle for as long as others read in it.
        "idle_in_transaction_session_timeout": "0",
        **PINNED,
    }


@contextmanager
def _connect(config: PostgreSQLSourceConfig) -> Iterator[psycopg.Connection[Any]]:
    try:
        # The snapshot's own connection asks for the server's time zone before it sets its own.
        connection = psycopg.connect(_conninfo(config, timezone=None))
    except psycopg.OperationalError as error:
        raise unreachable(config, error) from None
    with closing(connection):
        yield connection
