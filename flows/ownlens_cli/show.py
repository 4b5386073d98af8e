"""`ownlens show`: print rows of a table as a destination holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.errors import SettingsInvalid, UnknownName
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .embedded import ready_profile

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Columns; a terminal with less room for each would break every value into pieces.
_NARROWEST = 12


@click.command()
@click.argument("table")
@click.option("--destination", required=True, help="Destination or alias.")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Rows to print; 0 for all.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(table: str, destination: str, limit: int, profile: str, config: str | None, as_json: bool) -> int:
    """Print landed rows of TABLE, read back through the destination."""
    with ready_profile(profile, config) as settings:
        return _show(settings, table, destination, limit, as_json=as_json)


def _show(settings: Profile, table: str, destination: str, limit: int, *, as_json: bool) -> int:
    contracts = read_contracts(settings.contracts)
    if table not in contracts:
        raise UnknownName("table", table, contracts)
    registry = Registry()
    name = registry.resolve(destination)
    connections = {registry.resolve(given): values for given, values in settings.destinations.items()}
    if name not in connections:
        raise SettingsInvalid(f"{name}: the profile has no connection for this destination")
    if "block" in connections[name]:
        # Only then, because it starts Prefect.
        from ownlens_flows.blocks import with_blocks

        connections = with_blocks(settings, {}, registry, destinations=[name]).destinations
    store = registry.create(name, connections[name])
    try:
        rows = list(_rows(store, contracts[table], registry, limit))
    finally:
        store.close()
    _print(rows, contracts[table], name, as_json=as_json)
    return 0


def _rows(
    store: Destination[Any, Any], contract: TableContract, registry: Registry, limit: int
) -> Iterator[dict[str, Any]]:
    options = registry.options(store.name, contract)
    plan = LoadPlan(contract, store.name, options.strategy, options, sequence=0, digest="", parts=())
    with store.read(plan) as reader:
        found = (row for batch in reader for row in pa.RecordBatch.to_pylist(batch))
        yield from islice(found, limit or None)


def _print(rows: list[dict[str, Any]], contract: TableContract, destination: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=1, default=_plain))
        return
    from .matrix import stdout_console

    out = stdout_console()
    title = f"{contract.table} in {destination}"
    if len(contract.columns) * _NARROWEST <= out.width:
        out.print(_side_by_side(rows, contract, title))
    else:
        for number, row in enumerate(rows, start=1):
            out.print(_one_below_the_other(row, f"{title}, row {number}"))
    click.echo(f"{len(rows)} rows shown")


def _side_by_side(rows: list[dict[str, Any]], contract: TableContract, title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in contract.column_names:
        table.add_column(_cell(name))
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _one_below_the_other(row: dict[str, Any], title: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("column", "value", title=Text(title), title_justify="left", show_header=False)
    for name, value in row.items():
        table.add_row(_cell(name), _cell(value))
    return table


def _cell(value: Any) -> Text:
    from rich.text import Text

    # As it is: a value such as `[b]` is no markup.
    return Text("" if value is None else _plain(value))


def _plain(value: Any) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
