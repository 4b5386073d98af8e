"""The ClickHouse destination: append, replace_partition, upsert and overwrite, each applied exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ownlens_plugins import Destination, hookimpl


@hookimpl
def ownlens_destinations() -> Sequence[type[Destination[Any, Any]]]:
    """Provide the destination; its drivers load only when it is asked for."""
    from .destination import ClickHouseDestination

    return [ClickHouseDestination]
