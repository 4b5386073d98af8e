"""Options that take several names."""

from __future__ import annotations

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
