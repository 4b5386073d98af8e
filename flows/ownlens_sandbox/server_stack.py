"""The server stack below one folder: PostgreSQL, ClickHouse over HTTP, the lake, Prefect's server and worker."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from .minio_server import BUCKET, minio_program, start_minio
from .postgresql_server import LOADER, OWNER, READER, SOURCE, WAREHOUSE, start_postgresql
from .prefect_server import PrefectServer
from .servers import packaged_contracts, toml_text
from .services import SandboxError, Service, alone, free_port

PROFILE = "default"
SCHEMA = "newsroom"
_CLICKHOUSE_USER = "loader"
_PASSWORD_VARIABLE = "OWNLENS_CLICKHOUSE_SERVER_PASSWORD"
# In the order in which they start; they stop in the other.
_FAREWELLS = {
    "prefect-server": signal.SIGINT,
    "postgresql": signal.SIGINT,  # "fast": connections are ended, nothing is lost
    "clickhouse": signal.SIGTERM,
    "minio": signal.SIGTERM,
    "prefect-worker": signal.SIGINT,
}
_PROFILE = """\
# Written by `ownlens sandbox up`. Passwords are in the blocks of the Prefect server.
[profiles.{profile}]
contracts = {contracts}
staging = {staging}
log_file = {log}
lag_seconds = 0

[profiles.{profile}.source]
block = "sqlalchemy-connector/ownlens-source"

[profiles.{profile}.destinations.s3]
{lake}

[profiles.{profile}.destinations.postgresql]
block = "sqlalchemy-connector/ownlens-warehouse"
schema = "{schema}"

[profiles.{profile}.destinations.clickhouse]
block = "clickhouse-credentials/ownlens-warehouse"
interface = "http"
"""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """One server as it is now: where it listens, whether its process lives."""

    name: str
    pid: int | None
    address: str
    log: Path


@dataclass(frozen=True)
class ServerStack:
    """The servers of a folder. They go on when the command that started them ends."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "ownlens.toml"

    @property
    def variables(self) -> Path:
        """A file for `.` of a shell: commands run after it speak with these servers."""
        return self.folder / "variables.sh"

    @property
    def lake(self) -> str:
        """Where the lake's files are: a bucket of MinIO, or a folder."""
        return f"s3://{BUCKET}/{SCHEMA}" if self.has_minio else str(self.folder / "lake")

    @property
    def has_minio(self) -> bool:
        return "minio" in self.ports

    @property
    def prefect(self) -> PrefectServer:
        return PrefectServer(self.folder, self.ports["prefect-server"])

    @cached_property
    def ports(self) -> dict[str, int]:
        """The port of each server; empty before the first start."""
        file = self.folder / "ports.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    @cached_property
    def passwords(self) -> dict[str, str]:
        """The password of each user, by server and user; made once, in a file that only its owner reads."""
        file = self.folder / "passwords.json"
        if not file.exists():
            users = (OWNER, READER, LOADER, "minio", "clickhouse")
            _write(file, json.dumps({user: secrets.token_urlsafe(18) for user in users}))
        return dict(json.loads(file.read_text()))

    @property
    def source(self) -> str:
        """The owner's libpq connection string of the source database. It holds a password."""
        return self._conninfo(SOURCE)

    @property
    def warehouse(self) -> str:
        """The owner's libpq connection string of the destination database. It holds a password."""
        return self._conninfo(WAREHOUSE)

    def _conninfo(self, database: str) -> str:
        return make_conninfo(
            host="127.0.0.1",
            port=self.ports["postgresql"],
            dbname=database,
            user=OWNER,
            password=self.passwords[OWNER],
        )

    def up(self, *, fill: Callable[[str], None], tell: Tell) -> None:
        """Start what does not run, fill the source, and deploy; a server that runs already is left alone.

        Args:
            fill: Is given the source's connection string once its server answers.
            tell: Is given what is being done, for a person.

        Raises:
            SandboxError: a server did not start; those that this call started are stopped again.
        """
        with alone(self.folder):
            (self.folder / "staging").mkdir(exist_ok=True)
            before = {service.name for service in self._services() if service.pid()}
            self._choose_ports(before)
            try:
                self._start(before, fill, tell)
            except BaseException:
                self._stop(service for service in self._services() if service.name not in before)
                raise

    def down(self) -> list[str]:
        """Stop every server, the last one first; returns the names of those that had to be killed."""
        with alone(self.folder):
            return self._stop(self._services())

    def standing(self) -> list[Standing]:
        """Return each server as it is now; none before the first start."""
        return [
            Standing(service.name, service.pid(), self._address(service.name), service.log)
            for service in self._services()
            if service.name in self.ports or (self.ports and service.name == "prefect-worker")
        ]

    def _services(self) -> list[Service]:
        return [Service(name, self.folder, farewell) for name, farewell in _FAREWELLS.items()]

    def _stop(self, services: Any) -> list[str]:
        return [service.name for service in reversed(list(services)) if service.stop()]

    def _address(self, name: str) -> str:
        if name == "prefect-worker":
            return "work pool ownlens"
        scheme = "postgresql" if name == "postgresql" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[name]}"

    def _choose_ports(self, running: set[str]) -> None:
        wanted = [name for name in _FAREWELLS if name != "prefect-worker"]
        if minio_program() is None and "minio" not in self.ports:
            wanted.remove("minio")
        for name in wanted:
            if name not in running:
                self.ports[name] = free_port(self.ports.get(name))
        _write(self.folder / "ports.json", json.dumps(self.ports))

    def _start(self, running: set[str], fill: Callable[[str], None], tell: Tell) -> None:
        services = {service.name: service for service in self._services()}
        starters = {
            # It takes longest: whoever needs it waits for it.
            "prefect-server": self.prefect.start,
            "postgresql": self._start_postgresql,
            "clickhouse": self._start_clickhouse,
            "minio": self._start_minio,
        }
        for name, start in starters.items():
            if name in self.ports and name not in running:
                tell(f"starting {name}")
                start(services[name])
        fill(self.source)
        tell("waiting for prefect-server")
        services["prefect-server"].wait_until(self.prefect.answers)
        self._write_profile()
        tell("writing blocks and deployments")
        self.prefect.save(self._blocks())
        self.prefect.deploy()
        if "prefect-worker" not in running:
            self.prefect.start_worker(services["prefect-worker"])

    def _start_postgresql(self, service: Service) -> None:
        known = {role: self.passwords[role] for role in (OWNER, READER, LOADER)}
        start_postgresql(service, self.folder / "postgresql", self.ports["postgresql"], known)

    def _start_minio(self, service: Service) -> None:
        if (program := minio_program()) is None:
            raise SandboxError("minio: its program is gone, and the lake's data is in it; set OWNLENS_MINIO_BIN")
        keys = ("ownlens", self.passwords["minio"])
        start_minio(service, program, self.folder / "minio", self.ports["minio"], keys)

    def _start_clickhouse(self, service: Service) -> None:
        place = ["--path", str(self.folder / "clickhouse"), "--port", str(self.ports["clickhouse"])]
        login = ["--user", _CLICKHOUSE_USER, "--password-env", _PASSWORD_VARIABLE]
        command = [sys.executable, "-m", "ownlens_sandbox.clickhouse_http", *place, *login]
        service.start(command, {**os.environ, _PASSWORD_VARIABLE: self.passwords["clickhouse"]})
        service.wait_until(lambda: _pings(f"{self._address('clickhouse')}/ping"))

    def _write_profile(self) -> None:
        block = f'uri = {toml_text(self.lake)}\nblock = "minio-credentials/ownlens-lake"'
        text = _PROFILE.format(
            profile=PROFILE,
            schema=SCHEMA,
            contracts=toml_text(str(packaged_contracts())),
            staging=toml_text(str(self.folder / "staging")),
            log=toml_text(str(self.folder / "log" / "ownlens.log")),
            lake=block if self.has_minio else f"uri = {toml_text(self.lake)}",
        )
        _write(self.config, text)
        spoken = {"PREFECT_API_URL": f"{self.prefect.address}/api", "OWNLENS_CONFIG": str(self.config)}
        path = f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
        lines = [f"export {name}={shlex.quote(text)}\n" for name, text in spoken.items()]
        _write(self.variables, "".join([path, *lines]))

    def _blocks(self) -> Mapping[str, Mapping[str, Any]]:
        server = {"host": "127.0.0.1", "port": self.ports["postgresql"]}
        reading = {"username": READER, "password": self.passwords[READER], "database": SOURCE}
        loading = {"username": LOADER, "password": self.passwords[LOADER], "database": WAREHOUSE}
        blocks: dict[str, Mapping[str, Any]] = {
            "sqlalchemy-connector/ownlens-source": {**server, **reading},
            "sqlalchemy-connector/ownlens-warehouse": {**server, **loading},
            "clickhouse-credentials/ownlens-warehouse": {
                "host": "127.0.0.1",
                "port": self.ports["clickhouse"],
                "user": _CLICKHOUSE_USER,
                "password": self.passwords["clickhouse"],
                "database": SCHEMA,
                "secure": False,
            },
        }
        if self.has_minio:
            blocks["minio-credentials/ownlens-lake"] = {
                "minio_root_user": "ownlens",
                "minio_root_password": self.passwords["minio"],
                "region_name": "us-east-1",
                "endpoint_url": self._address("minio"),
            }
        return blocks


def _pings(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    draft.replace(file)
