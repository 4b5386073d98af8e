"""The source's writers: one that commits each statement, and some whose transactions stay open or are prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.postgresql_servers import PostgreSQLServer

SLOTS = (1, 2)
PLAIN, SAVEPOINT, UNDONE, BLOCK = "plain", "below a savepoint", "undone by a savepoint", "in a block with EXCEPTION"
NESTINGS = (PLAIN, SAVEPOINT, UNDONE, BLOCK)
_BLOCK = "DO $b$ BEGIN {}; EXCEPTION WHEN division_by_zero THEN NULL; END $b$"


@dataclass
class Writers:
    """Slot 0 commits at once. A statement that waits for a lock, or breaks a key, is as if it had never come."""

    server: PostgreSQLServer
    database: str
    _open: dict[int, psycopg.Connection[Any]] = field(default_factory=dict)
    prepared: list[str] = field(default_factory=list)
    _count: int = 0

    @property
    def slots(self) -> Sequence[int]:
        """The slots with a transaction that is open."""
        return sorted(self._open)

    def write(self, slot: int, statements: Sequence[str], nesting: str = PLAIN) -> None:
        connection = self._open.get(slot) or self._connect()
        try:
            with connection.cursor() as cursor:
                _nested(cursor, statements, nesting)
        except psycopg.Error:
            self._open.pop(slot, None)
            connection.close()
            return
        self._keep(slot, connection)

    def _keep(self, slot: int, connection: psycopg.Connection[Any]) -> None:
        if slot:
            self._open[slot] = connection
        else:
            connection.commit()
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self.server.connect(self.database, options="-c lock_timeout=30ms")
        connection.autocommit = False
        return connection

    def maintain(self, statements: Sequence[str]) -> None:
        """Run each statement in a transaction of its own; what waits for a lock is left."""
        with self._connect() as connection:
            connection.autocommit = True
            for statement in statements:
                try:
                    connection.execute(statement.encode())
                except psycopg.Error:
                    return

    def end(self, slot: int, how: str) -> None:
        """Commit, roll back or prepare the transaction of a slot."""
        connection = self._open.pop(slot)
        try:
            if how == "prepare":
                self._prepare(connection)
            elif how == "commit":
                connection.commit()
            else:
                connection.rollback()
        finally:
            connection.close()

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        self._count += 1
        name = f"{self.database}-{self._count}"
        connection.execute(f"PREPARE TRANSACTION '{name}'".encode())
        connection.commit()
        self.prepared.append(name)

    def finish(self, name: str, how: str) -> None:
        """Commit or roll back a prepared transaction."""
        self.prepared.remove(name)
        self.server.sql(f"{how.upper()} PREPARED '{name}'", database=self.database)

    def leave(self) -> None:
        """Let go of all open transactions, as a server does that fails."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()


def _nested(cursor: psycopg.Cursor[Any], statements: Sequence[str], nesting: str) -> None:
    if nesting == BLOCK:
        statements = [_BLOCK.format("; ".join(statements))]
    if nesting in {SAVEPOINT, UNDONE}:
        end = "RELEASE SAVEPOINT" if nesting == SAVEPOINT else "ROLLBACK TO SAVEPOINT"
        statements = ["SAVEPOINT inner_one", *statements, f"{end} inner_one"]
    for statement in statements:
        cursor.execute(statement.encode())
