"""The PostgreSQL destination: one transaction per load, with the ledger in the same database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ownlens_plugins.api import Destination
from ownlens_plugins.hookspecs import hookimpl


@hookimpl
def ownlens_destinations() -> Sequence[type[Destination[Any, Any]]]:
    """Return the PostgreSQL destination class."""
    from .destination import PostgreSQLDestination

    return [PostgreSQLDestination]
