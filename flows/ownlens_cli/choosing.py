"""Options that choose tables and destinations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ownlens_plugins.commands import split_names

TABLES = "Tables, separated by commas; one in double quotes may hold commas itself. Default: all."


def names(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Split repeated and comma-separated values into names.

    Raises:
        BadParameter: a value holds none, such as that of a variable which nobody set; it would stand for all.
    """
    found = [split_names(value) for value in values]
    if [] in found:
        raise click.BadParameter("it names nothing; leave the option out for all")
    return [name for some in found for name in some]


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose tables, by name, domain or preset, and destinations."""
    options = (
        click.option("--tables", multiple=True, callback=names, help=TABLES),
        click.option("--domains", multiple=True, callback=names, help="Domains, separated by commas."),
        click.option("--presets", multiple=True, callback=names, help="Presets, such as events."),
        click.option(
            "--destinations",
            "--load-destinations",
            "destinations",
            multiple=True,
            callback=names,
            help="Destinations or aliases, separated by commas. Default: all of the profile.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
