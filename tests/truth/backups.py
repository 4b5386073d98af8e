"""Backups of the three stores as an operator makes them, and what becomes of a store that is taken back to one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
from deltalake import DeltaTable, write_deltalake

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import TableContract
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.destination import S3Destination

from .worlds import World

Restore = Callable[[], None]


def backup(world: World, name: str) -> Restore:
    """Make a backup of a store; return what takes the store back to it."""
    destination = world.stores[name]
    destination.close()
    if isinstance(destination, S3Destination):
        return _copied(Path(destination.config.uri), world.folder / "lake-backup", destination.close)
    if isinstance(destination, PostgreSQLDestination):
        return _cloned(destination.config, destination.close)
    assert isinstance(destination, ClickHouseDestination)
    return _copied_tables(destination)


def _copied(lake: Path, kept: Path, close: Callable[[], None]) -> Restore:
    shutil.copytree(lake, kept)

    def restore() -> None:
        close()
        shutil.rmtree(lake)
        shutil.copytree(kept, lake)

    return restore


def _cloned(config: PostgreSQLConfig, close: Callable[[], None]) -> Restore:
    name, kept = config.database, f"{config.database}_kept"
    _administer(config, f"CREATE DATABASE {kept} TEMPLATE {name}")

    def restore() -> None:
        close()
        _administer(config, f"DROP DATABASE {name}", f"ALTER DATABASE {kept} RENAME TO {name}")

    return restore


def _administer(config: PostgreSQLConfig, *statements: str) -> None:
    """Run statements that need a database to themselves."""
    leave = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(host=config.host, user=config.user, dbname="postgres", autocommit=True) as connection:
        connection.execute(leave, (config.database,))
        for statement in statements:
            connection.execute(statement.encode())


def _copied_tables(destination: ClickHouseDestination) -> Restore:
    name, kept = destination.config.database, f"{destination.config.database}_kept"
    _run(destination, f"CREATE DATABASE {kept}", *_copies(destination, name, kept))

    def restore() -> None:
        destination.close()
        _run(destination, f"DROP DATABASE {name} SYNC", f"RENAME DATABASE {kept} TO {name}")

    return restore


def _copies(destination: ClickHouseDestination, name: str, kept: str) -> list[str]:
    store = Store(destination.config)
    tables = [str(table) for (table,) in store.rows(f"SELECT name FROM system.tables WHERE database = '{name}'")]
    store.close()
    return [statement for table in tables for statement in _copy(f"{name}.`{table}`", f"{kept}.`{table}`")]


def _copy(table: str, kept: str) -> tuple[str, str]:
    return f"CREATE TABLE {kept} AS {table}", f"INSERT INTO {kept} SELECT * FROM {table}"


def _run(destination: ClickHouseDestination, *statements: str) -> None:
    store = Store(destination.config)
    for statement in statements:
        store.run(statement)
    store.close()


def lose_ledger(world: World, name: str, table: TableContract) -> None:
    """Lose what a store knows of its loads, and keep the rows."""
    destination = world.stores[name]
    destination.close()
    if isinstance(destination, PostgreSQLDestination):
        config = destination.config
        with psycopg.connect(host=config.host, user=config.user, dbname=config.database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {config.ledger_schema} CASCADE".encode())
    elif isinstance(destination, ClickHouseDestination):
        _run(destination, f"DROP TABLE {destination.config.database}._ownlens_ledger SYNC")
    elif isinstance(destination, S3Destination):
        _write_anew(Path(destination.config.uri) / table.path)


def _write_anew(folder: Path) -> None:
    """Write a Delta table's rows into a table of its own, as another program does that moves a lake."""
    table = DeltaTable(folder)
    rows, columns = table.to_pyarrow_table(), table.metadata().partition_columns
    shutil.rmtree(folder)
    write_deltalake(folder, rows, partition_by=columns or None)


def rename_table(world: World, name: str, old: TableContract, new: TableContract) -> None:
    """Rename a table in a store, as an operator does whose contract has got another name."""
    destination = world.stores[name]
    destination.close()
    if isinstance(destination, PostgreSQLDestination):
        config = destination.config
        with psycopg.connect(host=config.host, user=config.user, dbname=config.database, autocommit=True) as connection:
            connection.execute(f"ALTER TABLE {old.table} RENAME TO {new.table}".encode())
    elif isinstance(destination, ClickHouseDestination):
        database = destination.config.database
        _run(destination, f"RENAME TABLE {database}.{old.table} TO {database}.{new.table}")
    elif isinstance(destination, S3Destination):
        lake = Path(destination.config.uri)
        (lake / old.path).rename(lake / new.path)
