"""Transactions on one database: settings pinned, errors translated, connections always released."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ownlens_plugins.errors import Rejected

from . import sql
from .config import PostgreSQLConfig
from .connection import Connection, Connector
from .errors import Context, DriverError, Explain, translate, unknown_commit, unreachable

OLDEST_VERSION = 15


class Database:
    """One database as one role sees it. Connections are opened per transaction: no state outlives one."""

    def __init__(self, config: PostgreSQLConfig) -> None:
        self._config = config
        self._connector = Connector(config)

    def context(self, table: str | None, *, explain: Explain | None = None) -> Context:
        return Context(table, self._config.place, explain)

    @contextmanager
    def transaction(self, context: Context, *, reading: bool = False) -> Iterator[Connection]:
        """Yield a connection inside a transaction, which is rolled back at the end unless `commit` was called.

        Raises:
            Retryable, Rejected: the server is not there, refuses, or is set to lose committed data.
        """
        connection = self._connect(context)
        try:
            self._begin(connection, context, reading=reading)
            yield connection
        except DriverError as error:
            # From None: the driver's text quotes rows.
            raise translate(error, context) from None
        finally:
            connection.roll_back()

    def _connect(self, context: Context) -> Connection:
        try:
            return self._connector.connect()
        except DriverError as error:
            raise unreachable(error, self._config, context) from None

    def _begin(self, connection: Connection, context: Context, *, reading: bool) -> None:
        connection.begin(reading=reading)
        synchronous, version, *_ = connection.run(sql.settings(self._config))[0]
        major = int(version) // 10_000
        place = context.whereabouts
        if major < OLDEST_VERSION:
            raise Rejected(f"{place}: version {major} is too old; use PostgreSQL {OLDEST_VERSION} or newer")
        if synchronous == "off" and not reading:
            raise Rejected(
                f"{place}: synchronous_commit is off, so a crash of the server could take back a load; "
                # For this database: what is set so outranks every other setting, but the client's own.
                f"run ALTER ROLE {sql.quote(self._config.user)} IN DATABASE {sql.quote(self._config.database)} "
                "SET synchronous_commit = on"
            )

    def commit(self, connection: Connection, context: Context) -> None:
        """Commit the transaction.

        Raises:
            CommitUnknown: no answer came.
            Retryable, Rejected: the server refused, and has rolled back.
        """
        try:
            connection.commit()
        except DriverError as error:
            raise unknown_commit(error, context) from None
