"""Another destination like `sqlite_destination`, under another name."""

from __future__ import annotations

from ownlens_plugins import hookimpl

from .sqlite_destination import SqliteDestination


class SecondDestination(SqliteDestination):
    name = "second"
    aliases = ()


@hookimpl
def ownlens_destinations() -> list[type[SecondDestination]]:
    return [SecondDestination]
