"""The words in which the tests of schema drift say what changes, under which policy, and what comes of it.

Each destination's `test_drift.py` holds a list `CASES` of these; docs/drift.md is made from all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Policy = Literal["evolve", "evolve, drop_columns", "freeze", "--full-refresh"]


@dataclass(frozen=True, slots=True)
class Case:
    """One change of a loaded table's contract: what the destination does with it, and what a user runs then.

    `outcome` is one phrase that begins with "kept", "changed" or "refused"; `run` is the command or statement that
    brings a refused load through, None where nothing is to be done. `before` and `after` are the contract's values
    that change, as in YAML; tests make contracts from them.
    """

    change: str
    policy: Policy
    outcome: str
    run: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


# The changes that every destination says something about, in the order of the page.
CHANGES = (
    "new nullable column",
    "new required column",
    "column left the contract",
    "required column left the contract",
    "renamed column",
    "int16 to int32, int32 to int64",
    "int64 to int32",
    "decimal(4,2) to decimal(10,4)",
    "decimal(10,4) to decimal(4,2)",
    "float32 to float64",
    "enum with more labels",
    "enum with fewer labels",
    "enum to text",
    "text to enum",
    "text to int64",
    "not null to null",
    "null to not null",
    "other key",
    "other partition_by",
    "other version_by",
)
