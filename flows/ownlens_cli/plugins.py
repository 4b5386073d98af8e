"""`ownlens plugins`: list the installed destinations and what is wrong with broken ones."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ownlens_plugins.registry import Registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(as_json: bool) -> int:
    """List destinations: name, distribution, version, strategies, status."""
    plugins = Registry().describe()
    if as_json:
        click.echo(json.dumps([asdict(plugin) for plugin in plugins], indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "aliases", "distribution", "version", "strategies", "status", header_style="bold")
    for plugin in plugins:
        status = plugin.status if not plugin.problem else f"{plugin.status}: {plugin.problem}"
        table.add_row(
            plugin.name,
            ", ".join(plugin.aliases),
            plugin.distribution,
            plugin.version,
            ", ".join(plugin.strategies),
            status,
        )
    Console(highlight=False).print(table)
    return 0
