"""Connections to ClickHouse: pooled clients, statements, and streams of Arrow batches."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from math import ceil
from typing import Any, BinaryIO

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from ownlens_plugins.errors import Rejected

from . import sql
from .config import ClickHouseConfig

# The first four keep ClickHouse from changing values or hiding them in a queue. The deletes must be done, and their
# sub-queries answered, before the statement returns; a load may span more partitions than an interactive insert may.
# A key is one row also when older versions of it lie in other partitions, and what a join does not find is no NULL:
# a user's profile may say otherwise. Statements about 1,700 columns with long names exceed the usual size.
SETTINGS: dict[str, Any] = {
    "async_insert": 0,
    "input_format_null_as_default": 0,
    "insert_null_as_default": 0,
    "date_time_overflow_behavior": "throw",
    "lightweight_deletes_sync": 2,
    "mutations_execute_subqueries_on_initiator": 1,
    "max_partitions_per_insert_block": 0,
    "do_not_merge_across_partitions_select_final": 0,
    "join_use_nulls": 0,
    "max_query_size": 100_000_000,
    "allow_suspicious_low_cardinality_types": 1,
    "enable_time_time64_type": 1,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
}
UNKNOWN_TABLE, UNKNOWN_DATABASE, TABLE_EXISTS, ACCESS_DENIED = 60, 81, 57, 497
NOT_FOUND_COLUMN = 10
UNKNOWN_COLUMN, UNKNOWN_SETTING, DIFFERENT_COLUMNS = 47, 115, 122
# A partition does not fit the table that it is to be attached to: columns, or anything else of the two definitions.
UNLIKE = (DIFFERENT_COLUMNS, 36)
# A column that keys, indexes, projections, views or other columns are made of.
CANNOT_FOLLOW = (36, 44, 47, 48, 122, 524)


class ClientPool:
    """Idle clients of one configuration. A client serves one thread at a time."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._guard = threading.Lock()
        self._idle: list[Client] = []
        self._era = 0

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Lend a client; one whose connection failed is not used again."""
        with self._guard:
            era = self._era
            client = self._idle.pop() if self._idle else None
        client = client or _connect(self._config)
        healthy = False
        try:
            yield client
            healthy = True
        except DatabaseError as error:
            healthy = error.code is not None
            raise
        finally:
            self._take_back(client, era, healthy)

    def _take_back(self, client: Client, era: int, healthy: bool) -> None:
        with self._guard:
            if healthy and era == self._era:
                self._idle.append(client)
                return
        client.close()

    def close(self) -> None:
        """Close idle clients now and lent ones when they come back."""
        with self._guard:
            idle, self._idle, self._era = self._idle, [], self._era + 1
        for client in idle:
            client.close()


_POOLS: dict[ClickHouseConfig, ClientPool] = {}
_POOLS_GUARD = threading.Lock()


def pool_for(config: ClickHouseConfig) -> ClientPool:
    """Return this process's pool for a configuration, which destinations and writers share."""
    with _POOLS_GUARD:
        return _POOLS.setdefault(config, ClientPool(config))


def _connect(config: ClickHouseConfig) -> Client:
    if config.interface == "chdb":
        return clickhouse_connect.get_client(interface="chdb", path=str(config.path), settings=SETTINGS)
    if config.ca_cert and not config.ca_cert.is_file():
        raise Rejected(f"clickhouse: ca_cert {config.ca_cert} is no file; name the PEM file of the server's authority")
    return clickhouse_connect.get_client(
        host=config.host,
        port=config.port_number,
        username=config.user,
        password=config.password.get_secret_value() if config.password else "",
        secure=config.secure,
        verify=config.verify,
        ca_cert=str(config.ca_cert) if config.ca_cert else None,
        compress={"auto": True, "none": False}.get(config.compression, config.compression),
        # The driver cuts fractions off, and takes zero seconds for an error.
        connect_timeout=ceil(config.connect_timeout),
        send_receive_timeout=ceil(config.answer_timeout),
        # A session would serialise the requests of one client and could expire between them.
        autogenerate_session_id=False,
        settings=SETTINGS,
    )


class Store:
    """Statements in one database. Raises the driver's errors; `failures.reported` turns them into OwnLens errors."""

    def __init__(self, config: ClickHouseConfig, *, statements: str = "") -> None:
        self.config = config
        self._pool = pool_for(config)
        self._statements = statements
        self._numbers = itertools.count(1)

    def naming(self, statements: str) -> Store:
        """Return the same store; the ids of its statements begin like that and end with a number."""
        return Store(self.config, statements=statements)

    def _query_id(self) -> dict[str, str] | None:
        # The embedded engine gives ids of its own.
        if not self._statements or self.config.interface == "chdb":
            return None
        return {"query_id": f"{self._statements}{next(self._numbers)}"}

    @property
    def database(self) -> str:
        return self.config.database

    @property
    def shared(self) -> bool:
        """Whether other processes may write to the same tables. The embedded engine admits one process."""
        return self.config.interface != "chdb"

    def name(self, table: str) -> str:
        """Return a table's quoted name with its database."""
        return f"{sql.identifier(self.database)}.{sql.identifier(table)}"

    def run(self, statement: str, /, **values: Any) -> None:
        """Execute a statement without a result; values are bound to `{name:Type}` places."""
        with self._pool.client() as client:
            client.command(statement, parameters=values or None, settings=self._query_id())

    def rows(self, query: str, /, **values: Any) -> Sequence[Sequence[Any]]:
        """Return a query's rows."""
        with self._pool.client() as client:
            return client.query(query, parameters=values or None, settings=self._query_id()).result_rows

    def has_table(self, table: str) -> bool:
        """Tell whether the database has a table of this name."""
        query = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {table:String}"
        return bool(self.rows(query, database=self.database, table=table)[0][0])

    def insert_parquet(self, table: str, columns: Sequence[str], file: BinaryIO) -> None:
        """Insert a Parquet file's columns, matched by name, in one statement."""
        with self._pool.client() as client:
            client.raw_insert(
                self.name(table),
                [sql.identifier(name) for name in columns],
                insert_block=file,
                settings=self._query_id(),
                fmt="Parquet",
            )

    def arrow(self, query: str) -> Iterator[pa.RecordBatch]:
        """Stream a query's result; memory stays at a few blocks."""
        return self._arrow_http(query) if self.config.interface == "http" else self._arrow_embedded(query)

    def _arrow_http(self, query: str) -> Iterator[pa.RecordBatch]:
        with self._pool.client() as client:
            stream = client.raw_stream(query, fmt="ArrowStream")
            with stream, pa.ipc.open_stream(stream) as reader:
                yield from reader

    def _arrow_embedded(self, query: str) -> Iterator[pa.RecordBatch]:
        import chdb  # a large library, which loads into a server do not need

        # clickhouse_connect would hold the whole Arrow result in memory; the engine itself streams blocks, each a
        # complete Arrow stream.
        shown = ("output_format_arrow", "do_not_merge_across")
        settings = {name: SETTINGS[name] for name in SETTINGS if name.startswith(shown)}
        statement = f"{query} SETTINGS {sql.settings(settings)}"
        with (
            self._pool.client(),
            closing(chdb.connect(os.path.realpath(self.config.path or ""))) as connection,
            connection.send_query(statement, "ArrowStream") as chunks,
        ):
            for chunk in chunks:
                with pa.ipc.open_stream(chunk.bytes()) as reader:
                    yield from reader

    def close(self) -> None:
        self._pool.close()


def has_code(error: BaseException, *codes: int) -> bool:
    """Tell whether ClickHouse refused a statement with one of these error codes."""
    return isinstance(error, ClickHouseError) and getattr(error, "code", None) in codes
