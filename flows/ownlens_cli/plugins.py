"""`ownlens plugins`: list the installed destinations and what is wrong with broken ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from ownlens_plugins.registry import PluginInfo, Registry


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(as_json: bool) -> int:
    """List destinations: name, distribution, version, strategies, status."""
    plugins = Registry().describe()
    if as_json:
        click.echo(json.dumps([asdict(plugin) for plugin in plugins], indent=1))
        return 0
    _print(plugins)
    return 0


def _print(plugins: Sequence[PluginInfo]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "aliases", "distribution", "version", "strategies", "status", header_style="bold")
    for plugin in plugins:
        status = plugin.status if not plugin.problem else f"{plugin.status}: {plugin.problem}"
        known = (plugin.name, ", ".join(plugin.aliases), plugin.distribution, plugin.version)
        # As it is: in `pip install 'ownlens[s3]'` nothing is markup.
        table.add_row(*map(Text, (*known, ", ".join(plugin.strategies), status)))
    out = Console(highlight=False)
    (out if out.is_terminal else Console(highlight=False, width=170)).print(table)
