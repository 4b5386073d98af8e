"""`ownlens maintain`: keep tables, ledgers and staged sets small."""

from __future__ import annotations

import json

import click

from ownlens_plugins.contracts import choose, parents_first, read_contracts
from ownlens_plugins.engine.maintaining import Maintenance, succeeded
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE

from .choosing import selection
from .embedded import ready_profile, with_connections


@click.command()
@selection
@click.option("--plan", "dry_run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    tables: list[str],
    domains: list[str],
    presets: list[str],
    destinations: list[str],
    dry_run: bool,
    profile: str,
    config: str | None,
    as_json: bool,
) -> int:
    """Delete what is older than its contract keeps, merge small files, and drop what nobody needs any more.

    Staged sets go once every destination of the profile has applied them, after the profile's staging_keep_days. Loads
    may run at the same time. Exit code 1 if any table failed.
    """
    registry = Registry()
    with ready_profile(profile, config) as settings:
        contracts = parents_first(choose(read_contracts(settings.contracts), tables, domains, presets))
        connected = with_connections(settings, destinations, registry)
        with Maintenance.of(connected, registry, destinations, dry_run=dry_run) as maintenance:
            # Children before the parents that they reference.
            found = [done for contract in reversed(contracts) for done in maintenance.maintain(contract)]
    if as_json:
        click.echo(json.dumps({"succeeded": succeeded(found), "tables": [one.document() for one in found]}, indent=1))
    else:
        from .matrix import chores_table, stdout_console

        stdout_console().print(chores_table(found))
    return 0 if succeeded(found) else 1
