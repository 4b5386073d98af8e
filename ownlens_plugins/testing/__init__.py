"""What destination authors test with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .samples import EVERY_TYPE, canonical_rows, make_plan, sample_contract, sample_rows, sample_table
from .trial import Traces

if TYPE_CHECKING:
    from .suite import DestinationSuite

__all__ = [
    "EVERY_TYPE",
    "DestinationSuite",
    "Traces",
    "canonical_rows",
    "make_plan",
    "sample_contract",
    "sample_rows",
    "sample_table",
]


def __getattr__(name: str) -> Any:
    # The suite needs pytest (extra `testing`); samples and plans do not.
    if name != "DestinationSuite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .suite import DestinationSuite

    return DestinationSuite
