"""Extract tables from PostgreSQL by ADBC, all in one exported snapshot."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from ...contracts import Extraction, TableContract
from ...errors import Retryable, SourceInvalid
from ...settings import PostgreSQLSourceConfig
from .postgresql_columns import NativeType, quote, select_expressions
from .source import Extracted, Selection

# A row stamped with its transaction's start time can appear as late as that transaction ends. Sessions of other
# users are visible here only to members of pg_read_all_stats; the lag covers the rest. Our own snapshots only read.
_CLOSES_AT = """
SELECT least(now() - %(lag)s, (
    SELECT min(xact_start) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'ownlens'))
"""
_COLUMNS = """
SELECT c.relname, a.attname, t.typname, coalesce(e.typname, ''), t.typtype = 'e', a.attnotnull
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type d ON d.oid = a.atttypid
JOIN pg_type t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_SNAPSHOT_GONE = "42704"
Catalog = dict[str, dict[str, NativeType]]


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
                closes_at, name = self._exported(connection)
                catalog = _catalog(connection, self.config)
            except psycopg.Error as error:
                raise _translated("source postgresql", error) from error
            with closing(_SnapshotConnections(_conninfo(self.config), name)) as connections:
                yield PostgreSQLSnapshot(self.config, closes_at, connections, catalog)

    def _exported(self, connection: psycopg.Connection[Any]) -> tuple[datetime, str]:
        # The end is read before the snapshot is taken: transactions that end in between are then inside it.
        closes_at = _one(connection, _CLOSES_AT, {"lag": self.lag})
        connection.commit()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return closes_at, _one(connection, "SELECT pg_export_snapshot()")


def _one(connection: psycopg.Connection[Any], statement: str, values: dict[str, Any] | None = None) -> Any:
    row = connection.execute(statement.encode(), values).fetchone()
    assert row is not None
    return row[0]


def _catalog(connection: psycopg.Connection[Any], config: PostgreSQLSourceConfig) -> Catalog:
    tables: Catalog = {}
    for table, column, *native in connection.execute(_COLUMNS, {"schema": quote(config.db_schema)}):
        tables.setdefault(table, {})[column] = NativeType(*native)
    return tables


class _SnapshotConnections:
    """Read-only connections inside one snapshot, lent to one table at a time. Opening one costs 75 ms."""

    def __init__(self, conninfo: str, snapshot: str) -> None:
        self._conninfo, self._snapshot = conninfo, snapshot
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @contextmanager
    def lend(self) -> Iterator[Any]:
        connection = self._take()
        try:
            yield connection
        except BaseException:
            # Its transaction has failed, and with it the snapshot.
            connection.close()
            raise
        self._idle.put(connection)

    def _take(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._open()

    def _open(self) -> Any:
        import adbc_driver_postgresql.dbapi as adbc

        connection = adbc.connect(self._conninfo)
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")
        return connection

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().close()


@dataclass(frozen=True)
class PostgreSQLSnapshot:
    """One exported snapshot, which every connection that reads has adopted."""

    config: PostgreSQLSourceConfig
    closes_at: datetime
    connections: _SnapshotConnections
    catalog: Catalog

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        """Stream the selected rows of a table; whole tables come ordered by key, so equal rows stage equal bytes."""
        statement = self._statement(contract, selection)
        import adbc_driver_manager

        try:
            with self.connections.lend() as connection, connection.cursor() as cursor:
                cursor.execute(statement)
                yield Extracted(_flat(cursor.fetch_record_batch(), contract.table), checked=True)
        except adbc_driver_manager.Error as error:
            raise _translated(contract.table, error) from error

    def _statement(self, contract: TableContract, selection: Selection) -> str:
        columns = self._columns(contract)
        expressions = select_expressions(contract, columns, schema=self.config.db_schema)
        relation = f"{quote(self.config.db_schema)}.{quote(contract.table)}"
        return f"SELECT {', '.join(expressions)} FROM {relation}{_rows(contract, selection, relation, columns)}"

    def _columns(self, contract: TableContract) -> dict[str, NativeType]:
        columns = self.catalog.get(contract.table)
        if columns is None:
            raise SourceInvalid(
                f"{contract.table}: the source has no table {self.config.db_schema}.{contract.table}; "
                "create it, grant SELECT on it, or leave the table out with --tables"
            )
        return columns


def _rows(contract: TableContract, selection: Selection, relation: str, columns: Mapping[str, NativeType]) -> str:
    if selection.extraction is Extraction.WHOLE:
        return f" ORDER BY {', '.join(quote(name) for name in contract.key)}"
    condition = _window(contract, selection, columns)
    if selection.extraction is Extraction.DAYS and condition:
        day = contract.partition_by or ""
        touched = f"{quote(day)} IN (SELECT {quote(day)} FROM {relation} WHERE {condition})"
        return f" WHERE {_or_null(touched, day, columns)}"
    return f" WHERE {condition}" if condition else ""


def _window(contract: TableContract, selection: Selection, columns: Mapping[str, NativeType]) -> str:
    if not contract.cursor:
        return ""
    cursor = contract.cursor[0]
    kind = contract.column(cursor).type.kind.value
    bounds = [(">=", selection.window.start), ("<", selection.window.end)]
    # Both bounds are datetimes of our own making, printed in ISO format: no outside text reaches the statement.
    terms = [f"{quote(cursor)} {sign} '{bound.isoformat()}'::{kind}" for sign, bound in bounds if bound is not None]
    return _or_null(" AND ".join(terms), cursor, columns) if terms else ""


def _or_null(condition: str, column: str, columns: Mapping[str, NativeType]) -> str:
    # No window holds a null; its row goes to quarantine now, instead of being passed over for good.
    return condition if columns[column].not_null else f"({condition} OR {quote(column)} IS NULL)"


def _flat(reader: pa.RecordBatchReader, table: str) -> pa.RecordBatchReader:
    """Strip the driver's wrapper from types it does not know, such as numeric, which come as exact text."""
    schema = pa.schema([_storage(field) for field in reader.schema])
    return pa.RecordBatchReader.from_batches(schema, _stripped(reader, schema, table))


def _stripped(reader: pa.RecordBatchReader, schema: pa.Schema, table: str) -> Iterator[pa.RecordBatch]:
    try:
        for batch in reader:
            yield _strip(batch, schema)
    except (pa.ArrowException, OSError) as error:  # the driver's errors, once rows flow
        raise _translated(table, error) from error


def _storage(field: pa.Field) -> pa.Field:
    opaque = isinstance(field.type, pa.OpaqueType)
    return pa.field(field.name, field.type.storage_type if opaque else field.type)


def _strip(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [column.storage if isinstance(column.type, pa.OpaqueType) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _conninfo(config: PostgreSQLSourceConfig) -> str:
    password = config.password.get_secret_value() if config.password else None
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
        options=" ".join(f"-c {name}={_option(value)}" for name, value in _session(config).items()),
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
        # What `::text` prints must not depend on the role's or the database's own settings.
        "timezone": "UTC",
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "extra_float_digits": "1",
        "bytea_output": "hex",
    }


@contextmanager
def _connect(config: PostgreSQLSourceConfig) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(_conninfo(config))
    except psycopg.OperationalError as error:
        raise _unreachable(config, error) from None
    with closing(connection):
        yield connection


def _unreachable(config: PostgreSQLSourceConfig, error: psycopg.OperationalError) -> Exception:
    place = f"source postgresql at {config.host}:{config.port}"
    for sign, fix in _REFUSALS.items():
        if re.search(sign, str(error)):
            return SourceInvalid(f"{place}: {fix.format(config=config)}")
    return Retryable(f"{place}: not reachable; check that the server runs and that host and port are right")


_REFUSALS = {
    "password authentication failed|no password supplied": (
        "the password of {config.user!r} is refused; set OWNLENS_SOURCE__PASSWORD"
    ),
    'role ".*" (does not exist|is not permitted to log in)': (
        "role {config.user!r} does not exist or may not log in; check the profile's user"
    ),
    'database ".*" does not exist|permission denied for database': (
        "database {config.database!r} does not exist or may not be entered; check the profile's database"
    ),
    "pg_hba.conf": "the server's pg_hba.conf refuses this connection for {config.user!r}",
    "certificate": "the server's certificate is not trusted; set sslrootcert",
    "does not support SSL": "the server offers no TLS; set sslmode to what it offers",
}


def _translated(table: str, error: Any) -> Exception:
    # Once rows flow, the driver's errors come through Arrow, without a state.
    state = getattr(error, "sqlstate", None) or ""
    if state == "42501" and "row-level security" in str(error):
        return SourceInvalid(
            f"{table}: row-level security hides rows of this table from the source role; give it BYPASSRLS, or load a "
            "view of the rows that it may see"
        )
    if state == "42501":
        return SourceInvalid(f"{table}: the source role may not read this table; grant SELECT on it")
    if state == _SNAPSHOT_GONE:
        return Retryable(f"{table}: the snapshot of this run has ended at the source; run it again")
    if state.startswith(("22", "42")):
        return SourceInvalid(
            f"{table}: the source cannot run the extraction (SQLSTATE {state}); check the contract's types"
        )
    return Retryable(
        f"{table}: reading from the source broke off (SQLSTATE {state or 'unknown'}); run it again, "
        "and read the log for the source's words if it recurs"
    )
