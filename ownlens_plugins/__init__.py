"""OwnLens: load tables exactly once into a data lake, PostgreSQL, ClickHouse, or a destination of your own."""

from .api import (
    Destination,
    DestinationOptions,
    LoadPlan,
    LoadResult,
    LoadSession,
    PartWriter,
    Receipt,
    StagedPart,
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

__all__ = [
    "CommitUnknown",
    "ContractInvalid",
    "Destination",
    "DestinationOptions",
    "DestinationUnavailable",
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
    "Strategy",
    "StrictModel",
    "TableContract",
    "hookimpl",
    "read_contracts",
]
