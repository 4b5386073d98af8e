"""The data lake destination: Delta, Parquet and JSON tables on a local folder or an S3 bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ownlens_plugins.api import Destination
from ownlens_plugins.hookspecs import hookimpl


@hookimpl
def ownlens_destinations() -> Sequence[type[Destination[Any, Any]]]:
    """Return the lake's destination class."""
    from .destination import S3Destination

    return [S3Destination]
