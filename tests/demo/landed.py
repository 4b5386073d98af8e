"""Rows of the source and of each destination as comparable Python values, each read by its own road."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import Kind, LogicalType, TableContract
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import Profile

Row = tuple[Any, ...]


def source_rows(connection: psycopg.Connection[Any], contract: TableContract) -> list[Row]:
    """Read a table of the source through psycopg, which shares no code with the extraction."""
    set_json_loads(lambda text: text.decode() if isinstance(text, bytes) else text, connection)
    names = sql.SQL(", ").join(sql.Identifier(name) for name in contract.column_names)
    rows = connection.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(contract.table)))
    return sorted((comparable(contract, row) for row in rows), key=repr)


def landed_rows(destination: Destination[Any, Any], contract: TableContract, registry: Registry) -> list[Row]:
    """Read a table through `Destination.read`."""
    options = registry.options(destination.name, contract)
    plan = LoadPlan(contract, destination.name, options.strategy, options, sequence=0, digest="", parts=())
    with destination.read(plan) as reader:
        assert reader.schema.names == list(contract.column_names)
        found = [tuple(row.values()) for batch in reader for row in batch.to_pylist()]
    return sorted((comparable(contract, row) for row in found), key=repr)


def comparable(contract: TableContract, row: Row) -> Row:
    """Return a row's values in one form, whichever library made them."""
    return tuple(_value(column.type, value) for column, value in zip(contract.columns, row, strict=True))


def _value(given: LogicalType, value: Any) -> Any:
    kind = given.kind
    if value is None:
        return None
    if given.element is not None:
        return [_value(given.element, item) for item in value]
    if kind is Kind.JSON:
        return json.dumps(json.loads(value, parse_float=str), sort_keys=True)
    if kind is Kind.FLOAT32:  # PostgreSQL prints the shortest text of a float4, Arrow gives its exact value
        return float(np.float32(value))
    if kind is Kind.TIMESTAMPTZ:
        return value.timestamp(), value.microsecond
    return str(value) if kind is Kind.UUID else value


def newest_versions(contract: TableContract, rows: list[Row]) -> list[Row]:
    """Return the newest row of each key; a lake that appends entities keeps their history."""
    if contract.version_by is None:
        return rows
    names = list(contract.column_names)
    version = names.index(contract.version_by)
    newest: dict[Row, Row] = {}
    for row in rows:
        key = tuple(row[names.index(name)] for name in contract.key)
        if key not in newest or row[version] > newest[key][version]:
            newest[key] = row
    return sorted(newest.values(), key=repr)


@contextmanager
def open_destinations(profile: Profile) -> Iterator[dict[str, Destination[Any, Any]]]:
    """Open the profile's destinations and close them again."""
    registry = Registry()
    opened = {name: registry.create(name, config) for name, config in profile.destinations.items()}
    try:
        yield opened
    finally:
        for destination in opened.values():
            destination.close()


def demo_profile(folder: Path) -> Profile:
    """Return the profile that the demo wrote."""
    from ownlens_plugins.settings import load_profile

    return load_profile("demo", file=folder / "ownlens.toml")
