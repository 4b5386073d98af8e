"""A recipe: what makes one table's rows look like a newsroom's, beyond the rules for any column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Growth(StrEnum):
    """How a table grows with the size of the whole database."""

    LINEAR = "linear"
    SLOW = "slow"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rows of a table in a database of 500 000 rows, and templates for columns that no general rule fits.

    `columns` maps a column to a template, `picks` maps a reference to a template for the parent's row number;
    `drawing.py` lists what a template may say. `joined` names a reference whose parent row `$parent(...)` reads.
    `capacity` is the greatest number of keys that the word lists give. `days` is how far the history reaches back.
    `changing` names the columns that an update draws anew; when empty, the rules choose.
    """

    rows: int
    growth: Growth = Growth.LINEAR
    capacity: int | None = None
    days: int | None = None
    joined: str | None = None
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    picks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    changing: tuple[str, ...] = ()
