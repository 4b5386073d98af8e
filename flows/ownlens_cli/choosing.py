"""Options that take several names."""

from __future__ import annotations

import click

from ownlens_plugins.commands import split_names

TABLES = "Tables, separated by commas; one in double quotes may hold commas itself. Default: all."


def names(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Split repeated and comma-separated values into names."""
    return [name for value in values for name in split_names(value)]
