"""The three real stores of one world: a local lake, a PostgreSQL 18 database, the embedded ClickHouse."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from ownlens_clickhouse import sql
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.conftest import Database

Stores = Mapping[str, Destination[Any, Any]]


def three_stores(folder: Path, target: Database, engine: Path, name: str) -> Stores:
    """Return destinations for empty stores; `target` is a database of another server, `name` one of ClickHouse."""
    return {
        "s3": S3Destination(S3Config(uri=str(folder / "lake"))),
        "postgresql": PostgreSQLDestination(
            PostgreSQLConfig(host=str(target.folder), database=target.name, user="postgres", lock_timeout=10)
        ),
        "clickhouse": ClickHouseDestination(
            ClickHouseConfig(interface="chdb", path=engine, database=name, turn_timeout=5)
        ),
    }


def drop_table(destination: Destination[Any, Any], contract: TableContract, *, rows_only: bool = False) -> None:
    """Drop a table as an operator does, behind the destination's back; absent tables stay so.

    `rows_only` leaves in the lake what is OwnLens's own there.
    """
    if isinstance(destination, S3Destination):
        _drop_in_lake(Path(destination.config.uri) / contract.path, ours=not rows_only)
    elif isinstance(destination, ClickHouseDestination):
        database = sql.identifier(destination.config.database)
        store = Store(destination.config)
        store.run(f"DROP TABLE IF EXISTS {database}.{sql.identifier(contract.table)} SYNC")
        store.close()
    else:
        _drop_in_postgresql(destination.config, contract)


def _drop_in_lake(folder: Path, *, ours: bool) -> None:
    for child in folder.iterdir() if folder.exists() else ():
        if child.name == "_ownlens" and not ours:
            continue
        shutil.rmtree(child) if child.is_dir() else child.unlink()


def _drop_in_postgresql(config: PostgreSQLConfig, contract: TableContract) -> None:
    with psycopg.connect(host=config.host, dbname=config.database, user=config.user, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {contract.table} CASCADE".encode())
