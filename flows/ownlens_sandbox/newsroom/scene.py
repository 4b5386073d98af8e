"""What the drawing of one table must know about the others: sizes, word lists, and the time it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from ownlens_plugins.contracts import Kind, TableContract

from .recipes import Recipe, recipe_for
from .words import WORDS

DAILY_HISTORY = 21
LONGEST_HISTORY = 60
SHORTEST_HISTORY = 14
ROWS_PER_DAY = 10


@dataclass(frozen=True, slots=True)
class Population:
    """Rows of a table: `total` with the `fresh` ones of this day of changes, which have the highest numbers."""

    total: int
    fresh: int = 0

    @property
    def old(self) -> int:
        return self.total - self.fresh


@dataclass(frozen=True, slots=True)
class Clock:
    """`day` is the day of the change, or the day before which the history ends."""

    day: date
    is_change: bool

    @property
    def midnight(self) -> str:
        """The start of `day` in UTC, as SQL."""
        return f"timestamptz '{self.day.isoformat()} 00:00:00+00'"

    @property
    def now(self) -> str:
        """The present as SQL. A history ends at midnight, so that equal seeds give equal rows all day."""
        return "now()" if self.is_change else self.midnight


@dataclass(frozen=True)
class Scene:
    """All tables while rows are drawn."""

    contracts: Mapping[str, TableContract]
    populations: Mapping[str, Population]
    clock: Clock
    seed: str
    words: Mapping[str, Sequence[str]]

    def history_days(self, table: str) -> int:
        """Days over which the rows of a table were made, before any day of changes."""
        contract = self.contracts[table]
        return history_days(contract, recipe_for(contract), self.populations[table].old)


def history_days(contract: TableContract, recipe: Recipe, rows: int) -> int:
    """Days of history for so many rows; small tables get fewer, so that a day holds more than a row or two."""
    if daily_column(contract) is not None:
        return recipe.days or DAILY_HISTORY
    return recipe.days or max(SHORTEST_HISTORY, min(LONGEST_HISTORY, rows // ROWS_PER_DAY))


def daily_column(contract: TableContract) -> str | None:
    """Return the date in the key of a table that has one row per key and day, or None."""
    dates = [name for name in contract.key if contract.column(name).type.kind is Kind.DATE]
    return dates[0] if len(contract.key) > 1 and dates else None


def owner_column(contract: TableContract) -> str:
    """Return the first column of the key that is not its date."""
    return next(name for name in contract.key if name != daily_column(contract))


def word_lists(contracts: Sequence[TableContract]) -> dict[str, Sequence[str]]:
    """The word lists, with the tables' own names among them."""
    return {**WORDS, "tables": sorted(contract.table for contract in contracts)}
