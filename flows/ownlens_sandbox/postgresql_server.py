"""The wheel's PostgreSQL 18 as a server on TCP: with passwords, a role that reads the source and one that loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from .servers import postgresql_programs, start_server
from .services import Service

SOURCE, WAREHOUSE = "newsroom", "warehouse"
OWNER, READER, LOADER = "postgres", "reader", "loader"
_ADDRESS = "127.0.0.1"
_ACCESS = "# Written by OwnLens: nobody comes in without a password.\nhost all all 127.0.0.1/32 scram-sha-256\n"


def start_postgresql(service: Service, data: Path, port: int, passwords: Mapping[str, str]) -> None:
    """Start a server on a data folder, and wait until it answers; a new folder gets databases and roles.

    `passwords` are those of the roles `postgres`, `reader` (reads the database `newsroom`) and `loader` (may create
    schemas in the database `warehouse`, and nothing else).

    Raises:
        SandboxError: it does not start.
    """
    if not (data / "pg_hba.ready").exists():
        _prepare(data, passwords)
    program = str(postgresql_programs() / "postgres")
    listening = ("-h", _ADDRESS, "-p", str(port), "-c", "unix_socket_directories=")
    service.start([program, "-D", str(data), *listening], os.environ, user=_system_user())
    service.wait_until(lambda: _answers(port))


def connect(port: int, database: str, password: str, *, user: str = OWNER) -> psycopg.Connection[Any]:
    """Connect to a database of the server."""
    return psycopg.connect(host=_ADDRESS, port=port, dbname=database, user=user, password=password, connect_timeout=10)


def _system_user() -> str | None:
    # PostgreSQL refuses to run as root; the wheel makes this user when it prepares a folder.
    return "pgserver" if os.geteuid() == 0 else None


def _answers(port: int) -> bool:
    # A server that is up says so before it asks for the password.
    status = psycopg.pq.PGconn.ping(f"host={_ADDRESS} port={port}".encode())
    return status == psycopg.pq.Ping.OK


def _prepare(data: Path, passwords: Mapping[str, str]) -> None:
    """Make the databases and roles while the server can be reached over a socket only."""
    server = start_server(data)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            _make_roles(connection, passwords)
            _make_databases(connection)
    finally:
        server.cleanup()
    (data / "pg_hba.conf").write_text(_ACCESS, encoding="ascii")
    (data / "pg_hba.ready").touch()


def _make_roles(connection: psycopg.Connection[Any], passwords: Mapping[str, str]) -> None:
    known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    for role, password in passwords.items():
        verb = sql.SQL("ALTER" if role in known else "CREATE")
        # The server sees a hash, so that no log of statements can hold the password.
        hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(hashed)))


def _make_databases(connection: psycopg.Connection[Any]) -> None:
    known = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for database in {SOURCE, WAREHOUSE} - known:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database)))
    connection.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(READER)))
    places = sql.Identifier(WAREHOUSE), sql.Identifier(LOADER)
    connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(*places))
