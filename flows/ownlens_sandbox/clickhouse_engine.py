"""Runs statements of HTTP clients in the embedded ClickHouse engine, each on a connection of its own."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .clickhouse_protocol import ProtocolError, Request
from .clickhouse_statements import Statement, read

_SETTING = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Answer:
    """A statement's result. `format` is None when it has none; `counts` are rows and bytes read and written."""

    body: bytes
    format: str | None
    counts: Mapping[str, int]


class Engine:
    """The one engine of this process, on a folder that no other process has open."""

    def __init__(self, path: Path) -> None:
        import chdb  # a large library, which whoever starts a server does not need

        self._connect: Callable[[str], Any] = chdb.connect
        self._path = str(path.resolve())
        self._keeper = chdb.connect(self._path)  # without any connection the engine would stop after each request
        self._running: set[str] = set()
        self._guard = threading.Lock()
        text = self._keeper.query("SELECT version(), timezone()", "TabSeparated").bytes().decode()
        self.version, self.timezone = text.strip().split("\t")

    def run(self, request: Request, profile: Mapping[str, str]) -> Answer:
        """Run a request's statement with the settings of its user, and then its own.

        Raises:
            RuntimeError: the engine refuses it. ProtocolError, NotAsServer: a server would.
        """
        statement = read(request.sql)
        begun = time.perf_counter_ns()
        with self._named(request.query_id), self._connection() as connection:
            _prepare(connection, request, profile)
            answer = _run(connection, request, statement)
        return Answer(answer.body, answer.format, {**answer.counts, "elapsed_ns": time.perf_counter_ns() - begun})

    def wait(self, seconds: float) -> None:
        """Wait until no statement runs, but no longer than that."""
        end = time.monotonic() + seconds
        while self._running and time.monotonic() < end:
            time.sleep(0.02)

    def close(self) -> None:
        """Let the folder go."""
        self._keeper.close()

    @contextmanager
    def _named(self, query_id: str) -> Iterator[None]:
        with self._guard:
            if query_id in self._running:
                text = f"Query with id = {query_id} is already running"
                raise ProtocolError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", text)
            self._running.add(query_id)
        try:
            yield
        finally:
            with self._guard:
                self._running.discard(query_id)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        connection = self._connect(self._path)
        try:
            yield connection
        finally:
            connection.close()


def _prepare(connection: Any, request: Request, profile: Mapping[str, str]) -> None:
    # The engine gives each query an id of its own; its comment tells the client's.
    _set(connection, {"implicit_select": "0", "log_comment": request.query_id})
    if request.database:
        connection.query(f"USE {_identifier(request.database)}")
    for name, data in request.files.items():
        connection.query(f"CREATE TEMPORARY TABLE {_identifier(name)} ({_structure(name, request.fields)})")
        text = f"INSERT INTO {_identifier(name)}".encode()
        _insert(connection, Statement(text, format=request.fields.get(f"{name}_format", "TabSeparated"), data=data))
    _set(connection, profile)
    _set(connection, request.settings)
    if request.read_only and "readonly" not in profile:
        connection.query("SET readonly = 2")


def _set(connection: Any, settings: Mapping[str, str]) -> None:
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise ProtocolError(115, "UNKNOWN_SETTING", f"Setting {name} is neither a builtin setting nor a custom one")
    if settings:
        connection.query("SET " + ", ".join(f"{name} = {_literal(text)}" for name, text in settings.items()))


def _structure(name: str, fields: Mapping[str, str]) -> str:
    if structure := fields.get(f"{name}_structure"):
        return structure
    types = fields.get(f"{name}_types", "").split(",")
    return ", ".join(f"_{number} {kind}" for number, kind in enumerate(types, 1))


def _run(connection: Any, request: Request, statement: Statement) -> Answer:
    if statement.is_insert:
        return _insert(connection, statement)
    result = connection.query(statement.text.decode("utf-8", "surrogateescape"), request.format, params=request.values)
    counts = {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "result_rows": result.rows_read(),
        "result_bytes": result.bytes_read(),
    }
    return Answer(result.bytes(), (statement.format or request.format) if statement.has_result else None, counts)


def _insert(connection: Any, statement: Statement) -> Answer:
    # Inline data would end at the first empty line, and `send_insert` says nothing when the disk is full.
    with _in_memory(statement.data or b"") as path:
        head, tail = (each.decode("utf-8", "surrogateescape") for each in statement.around_source)
        done = connection.query(f"{head} FROM INFILE {_literal(path)} {tail} FORMAT {statement.format}")
    return Answer(b"", None, {"written_rows": done.rows_written(), "written_bytes": done.bytes_written()})


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Put data in a file that is on no disk; yields its path."""
    with os.fdopen(os.memfd_create("rows"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
