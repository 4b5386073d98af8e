"""`ownlens status`: where each table stands in each destination, and which loads no validation has passed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.engine.scrubbing import Scrubber, secrets_of
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.standing import Standing, standing
from ownlens_plugins.errors import SettingsInvalid, UnknownName
from ownlens_plugins.powers import SupportsCheck
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .choosing import TABLES, names
from .embedded import ready_profile

_THREADS = 6
Stores = Mapping[str, Destination[Any, Any]]


@click.command()
@click.option("--tables", multiple=True, callback=names, help=TABLES)
@click.option("--destinations", multiple=True, callback=names, help="Destinations or aliases. Default: all.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(tables: list[str], destinations: list[str], profile: str, config: str | None, as_json: bool) -> int:
    """Tell how far each destination has come, and which loads a validation has not passed. Exit code 1 if any is."""
    with ready_profile(profile, config) as settings:
        found = _standings(settings, tables, destinations)
    found.sort(key=lambda one: (one.well, one.table, one.destination))
    if as_json:
        click.echo(
            json.dumps({"succeeded": all(one.well for one in found), "loads": [o.document() for o in found]}, indent=1)
        )
    else:
        from .matrix import standings_table, stdout_console

        stdout_console().print(standings_table(found))
    return 0 if all(one.well for one in found) else 1


def _standings(settings: Profile, tables: Sequence[str], destinations: Sequence[str]) -> list[Standing]:
    contracts = chosen(read_contracts(settings.contracts), tables)
    registry = Registry()
    stores = _stores(settings, destinations, registry)
    area = StagingArea(settings.staging, registry)
    scrubber = Scrubber(
        [*secrets_of(settings), *(one for store in stores.values() for one in secrets_of(store.config))]
    )
    away = {name: reason for name, store in stores.items() if (reason := _trouble(store, scrubber))}

    def ask(place: tuple[TableContract, str]) -> Standing:
        contract, name = place
        if name in away:
            return Standing(contract.table, name, reason=away[name])
        try:
            return standing(stores[name], contract, area, registry, validates=settings.validate_loads)
        except Exception as error:
            return Standing(contract.table, name, reason=scrubber.line(error))

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(ask, [(contract, name) for contract in contracts for name in stores]))
    finally:
        for store in stores.values():
            store.close()


def chosen(contracts: Mapping[str, TableContract], tables: Sequence[str]) -> list[TableContract]:
    """Return the contracts that a command names, all without a name.

    Raises:
        UnknownName: there is no such table.
    """
    for table in tables:
        if table not in contracts:
            raise UnknownName("table", table, contracts)
    return [contract for name, contract in contracts.items() if not tables or name in tables]


def with_connections(settings: Profile, asked: Sequence[str], registry: Registry) -> Profile:
    """Return the profile with what Prefect's blocks say of the asked destinations filled in."""
    if any("block" in connection for connection in settings.destinations.values()):
        # Only then, because it starts Prefect.
        from ownlens_flows.blocks import with_blocks

        return with_blocks(settings, {}, registry, destinations=list(asked))
    return settings


def _stores(settings: Profile, asked: Sequence[str], registry: Registry) -> Stores:
    settings = with_connections(settings, asked, registry)
    connections = {registry.resolve(name): connection for name, connection in settings.destinations.items()}
    chosen = list(dict.fromkeys(map(registry.resolve, asked))) or list(connections)
    for name in chosen:
        if name not in connections:
            raise SettingsInvalid(f"{name}: the profile has no connection for this destination")
    return {name: registry.create(name, connections[name]) for name in chosen}


def _trouble(store: Destination[Any, Any], scrubber: Scrubber) -> str:
    """Return why a store cannot be asked, so that not each of its tables waits for it."""
    if not isinstance(store, SupportsCheck):
        return ""
    try:
        store.check()
    except Exception as error:
        return scrubber.line(error)
    return ""
