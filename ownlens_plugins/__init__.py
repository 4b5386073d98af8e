"""OwnLens: load tables exactly once into a data lake, PostgreSQL, ClickHouse, or a destination of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .api import (
    Destination,
    DestinationOptions,
    LoadPlan,
    LoadResult,
    LoadSession,
    PartWriter,
    Receipt,
    StagedPart,
    StagedWriter,
    StrictModel,
)
from .contracts import Strategy, TableContract, read_contracts
from .errors import (
    CommitUnknown,
    ContractInvalid,
    DestinationUnavailable,
    OwnLensError,
    Rejected,
    Retryable,
    StagedSetChanged,
)
from .hookspecs import hookimpl

if TYPE_CHECKING:
    from .frames import FrameReport, load_frame

__all__ = [
    "CommitUnknown",
    "ContractInvalid",
    "Destination",
    "DestinationOptions",
    "DestinationUnavailable",
    "FrameReport",
    "LoadPlan",
    "LoadResult",
    "LoadSession",
    "OwnLensError",
    "PartWriter",
    "Receipt",
    "Rejected",
    "Retryable",
    "StagedPart",
    "StagedSetChanged",
    "StagedWriter",
    "Strategy",
    "StrictModel",
    "TableContract",
    "hookimpl",
    "load_frame",
    "read_contracts",
]


def __getattr__(name: str) -> Any:
    # Plugins import this package: the engine and its libraries are loaded only by those who load frames.
    if name not in {"FrameReport", "load_frame"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import frames

    return getattr(frames, name)
