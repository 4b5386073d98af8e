"""`ownlens maintain`: keep tables, ledgers and staged sets small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import click

from ownlens_plugins.contracts import TableContract, parents_first, read_contracts
from ownlens_plugins.engine.maintaining import Maintained, Maintenance, succeeded
from ownlens_plugins.engine.retiring import KeepFor
from ownlens_plugins.engine.scrubbing import Scrubber, secrets_of
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .embedded import ready_profile
from .load import names
from .status import chosen, connected


@click.command()
@click.option("--tables", multiple=True, callback=names, help="Tables, separated by commas. Default: all.")
@click.option("--destinations", multiple=True, callback=names, help="Destinations or aliases. Default: all.")
@click.option("--plan", "dry_run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    tables: list[str], destinations: list[str], dry_run: bool, profile: str, config: str | None, as_json: bool
) -> int:
    """Delete what is older than its contract keeps, merge small files, and drop what nobody needs any more.

    Staged sets go once every destination of the profile has applied them, after the profile's staging_keep_days. Loads
    may run at the same time. Exit code 1 if any table failed.
    """
    with ready_profile(profile, config) as settings:
        found = maintained(settings, tables, destinations, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"succeeded": succeeded(found), "tables": [one.document() for one in found]}, indent=1))
    else:
        from .matrix import chores_table, stdout_console

        stdout_console().print(chores_table(found))
    return 0 if succeeded(found) else 1


def maintained(
    settings: Profile, tables: Sequence[str], destinations: Sequence[str], *, dry_run: bool
) -> list[Maintained]:
    """Maintain tables of a profile, children before the parents that they reference."""
    contracts = chosen(read_contracts(settings.contracts), tables)
    registry = Registry()
    stores = connected(settings, destinations, registry)
    try:
        work = Maintenance(
            stores=stores,
            area=StagingArea(settings.staging, registry),
            registry=registry,
            keep=KeepFor(timedelta(days=settings.staging_keep_days), timedelta(days=settings.quarantine_keep_days)),
            scrubber=Scrubber([*secrets_of(settings), *(s for one in stores.values() for s in secrets_of(one.config))]),
            complete=set(stores) == {registry.resolve(name) for name in settings.destinations},
            dry_run=dry_run,
        )
        return [done for contract in _children_first(contracts) for done in work.maintain(contract)]
    finally:
        for store in stores.values():
            store.close()


def _children_first(contracts: Sequence[TableContract]) -> list[TableContract]:
    return parents_first(contracts)[::-1]
