"""The hooks of an OwnLens plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pluggy

from .api import Destination, LoadPlan, LoadResult
from .contracts.contract import TableContract

PROJECT = "ownlens"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """Every hook a plugin module may implement with `@hookimpl`."""

    @hookspec
    def ownlens_destinations(self) -> Sequence[type[Destination[Any, Any]]]:  # type: ignore[empty-body]
        """Return the destination classes that this plugin provides."""

    @hookspec
    def ownlens_transform(self, contract: TableContract, frame: Any) -> Any:
        """Return a new narwhals LazyFrame for a table's rows while they are staged, or None to leave them."""

    @hookspec
    def ownlens_load_finished(self, plan: LoadPlan, result: LoadResult) -> None:
        """Observe a committed load, for metrics or lineage. Errors are logged, never raised."""
