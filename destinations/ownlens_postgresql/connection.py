"""Connections by ADBC: statements, binary COPY of Arrow data, and streamed results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import adbc_driver_manager as adbc
import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions

from .answers import Call, Unanswered, answered_within
from .config import PostgreSQLConfig

T = TypeVar("T")
Row = tuple[Any, ...]
# The server ends a statement at its own timeout; the client waits this much longer for the news.
GRACE_SECONDS = 10
_COPY = {
    adbc.INGEST_OPTION_MODE: adbc.INGEST_OPTION_MODE_APPEND,
    adbc.StatementOptions.INGEST_TEMPORARY.value: "false",
}


class StreamBroken(Exception):
    """A result ended in the middle. The driver passes on a text only, which may quote rows."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds to wait for the answer to COMMIT, to a short statement, and to one that works through rows."""

    commit: float
    quick: float
    slow: float

    @classmethod
    def of(cls, config: PostgreSQLConfig) -> Patience:
        return cls(
            commit=config.answer_timeout,
            quick=max(config.answer_timeout, config.lock_timeout + GRACE_SECONDS),
            slow=config.statement_timeout + GRACE_SECONDS,
        )


class Connector:
    """Opens connections to one database. The driver's catalogue of types is read once, and holds no connection."""

    def __init__(self, config: PostgreSQLConfig) -> None:
        self._config = config
        self._database: Any = None

    def connect(self) -> Connection:
        """Open a connection.

        Raises:
            adbc.Error, Unanswered: the server refuses or is not there.
        """
        wait = self._config.connect_timeout + GRACE_SECONDS
        link = answered_within(wait, lambda: adbc.AdbcConnection(self._shared_database()))
        return Connection(link, Patience.of(self._config))

    def _shared_database(self) -> Any:
        # Without a lock: one thread that waits for a dead server would hold it, and two catalogues do no harm.
        database = self._database
        if database is None:
            database = self._database = adbc_driver_postgresql.connect(conninfo(self._config))
        return database


class Connection:
    """One connection, used by one thread at a time. A call that is not answered in time makes it useless."""

    def __init__(self, link: Any, patience: Patience) -> None:
        self._link = link
        self._patience = patience
        self._given_up = False
        self._closed = False

    def begin(self, *, reading: bool) -> None:
        """Start a transaction."""
        # Through the driver: left in its autocommit mode, it would send a BEGIN and COMMIT of its own around some
        # statements, in the middle of ours.
        self._answer(lambda: self._link.set_autocommit(False), self._patience.quick)
        self.run(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED{', READ ONLY' if reading else ''}")

    def run(self, statement: str, *values: Any, slow: bool = False) -> list[Row]:
        """Run one statement with values bound to $1, $2, ... and return its rows.

        `slow` statements work through a table's rows and may take as long as the server lets them.
        """
        return self._answer(lambda: _run(self._link, statement, values), self._statement_patience(slow))

    def change(self, statement: str, *values: Any, slow: bool = False) -> int:
        """Run one statement and return the number of rows that it changed."""
        return self._answer(lambda: _change(self._link, statement, values), self._statement_patience(slow))

    def copy(self, table: str, schema: str | None, rows: pa.RecordBatchReader) -> int:
        """Append rows to a table (a temporary one when `schema` is None) by binary COPY; return how many were sent."""
        return self._answer(lambda: _copy(self._link, table, schema, rows), self._patience.slow)

    def stream(self, statement: str) -> Iterator[pa.RecordBatch]:
        """Run a query and yield its rows as they arrive."""
        handle = adbc.AdbcStatement(self._link)
        try:
            handle.set_sql_query(statement)
            stream, _ = self._answer(handle.execute_query, self._patience.slow)
            with pa.RecordBatchReader.from_stream(stream) as reader:
                while (batch := self._answer(lambda: _next(reader), self._patience.slow)) is not None:
                    yield batch
        finally:
            if not self._given_up:
                handle.close()

    def _statement_patience(self, slow: bool) -> float:
        return self._patience.slow if slow else self._patience.quick

    def _answer(self, function: Callable[[], T], seconds: float) -> T:
        if self._given_up:
            raise Unanswered("the connection was given up")
        call = Call(function)
        try:
            value: T = call.result(seconds)
        except Unanswered:
            self._give_up(call)
            raise
        except (KeyboardInterrupt, SystemExit):
            self._give_up(call)
            raise
        return value

    def _give_up(self, call: Call) -> None:
        """Leave the connection to a thread that ends it when the driver returns."""
        self._given_up = True
        threading.Thread(target=self._end, args=(call,), daemon=True).start()

    def _end(self, call: Call) -> None:
        with suppress(Exception):
            self._link.cancel()
        call.join()
        with suppress(Exception):
            self._link.close()

    def commit(self) -> None:
        """Commit, and end the connection: nothing can follow in a transaction that is over."""
        self._answer(lambda: _run(self._link, "COMMIT", ()), self._patience.commit)
        self.close()

    def roll_back(self) -> None:
        """Roll back what was not committed, and end the connection."""
        if self._given_up or self._closed:
            return
        # Closing would do, but only some time after it returns.
        with suppress(adbc.Error, Unanswered):
            self.run("ROLLBACK")
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._given_up or self._closed:
            return
        self._closed = True
        with suppress(Exception):
            self._link.close()


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return next(reader, None)
    except (OSError, pa.ArrowException) as error:
        raise StreamBroken(type(error).__name__) from None


def _run(link: Any, statement: str, values: tuple[Any, ...]) -> list[Row]:
    handle = _prepared(link, statement, values)
    try:
        stream, _ = handle.execute_query()
        with pa.RecordBatchReader.from_stream(stream) as reader:
            table = reader.read_all()
    finally:
        handle.close()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _change(link: Any, statement: str, values: tuple[Any, ...]) -> int:
    handle = _prepared(link, statement, values)
    try:
        changed: int = handle.execute_update()
    finally:
        handle.close()
    return changed


def _prepared(link: Any, statement: str, values: tuple[Any, ...]) -> Any:
    handle = adbc.AdbcStatement(link)
    try:
        # Fetched by COPY, an error after the first row would come without its SQLSTATE.
        handle.set_options(**{StatementOptions.USE_COPY.value: "false"})
        handle.set_sql_query(statement)
        if values:
            handle.prepare()
            handle.bind(_parameters(values))
    except BaseException:
        handle.close()
        raise
    return handle


def _parameters(values: tuple[Any, ...]) -> pa.RecordBatch:
    """Return the values as the driver binds them. Times go as text: for them it would change the session's zone."""
    if strange := {type(value).__name__ for value in values} - {"str", "int", "float", "NoneType"}:
        raise TypeError(f"bind {', '.join(sorted(strange))} as text")
    arrays = [pa.array([value], pa.string()) if value is None else pa.array([value]) for value in values]
    return pa.record_batch(arrays, names=[str(number) for number, _ in enumerate(values, start=1)])


def _copy(link: Any, table: str, schema: str | None, rows: pa.RecordBatchReader) -> int:
    place = (
        {adbc.StatementOptions.INGEST_TEMPORARY.value: "true"}
        if schema is None
        else {adbc.StatementOptions.INGEST_TARGET_DB_SCHEMA.value: schema}
    )
    handle = adbc.AdbcStatement(link)
    try:
        handle.set_options(**{adbc.INGEST_OPTION_TARGET_TABLE: table, **_COPY, **place})
        handle.bind_stream(rows)
        sent: int = handle.execute_update()
    finally:
        handle.close()
    return sent


def conninfo(config: PostgreSQLConfig) -> str:
    """Return libpq's key='value' form; unlike in a URL, no character of a password can end the value."""
    parameters = {
        "host": config.host,
        "port": str(config.port),
        "dbname": config.database,
        "user": config.user,
        **config.connection_parameters,
    }
    if config.password is not None:
        parameters["password"] = config.password.get_secret_value()
    return " ".join(f"{name}={_quoted(value)}" for name, value in parameters.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
