"""How many rows each table gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from ownlens_plugins.contracts import TableContract

from .recipes import Growth, Recipe, recipe_for
from .scene import daily_column, history_days, owner_column

# The total that the recipes' own row counts are made for.
REFERENCE_ROWS = 500_000
MIN_ROWS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of one table: `keys` of them per day over `days` days, or all at once when `days` is 1."""

    keys: int
    days: int = 1

    @property
    def rows(self) -> int:
        return self.keys * self.days


def plan_sizes(contracts: Sequence[TableContract], rows: int) -> dict[str, Size]:
    """Share `rows` among the tables: word lists keep their size, small tables grow slowly, the others take the rest."""
    recipes = {contract.table: recipe_for(contract) for contract in contracts}
    factor = rows / REFERENCE_ROWS
    steady = {
        name: _steady_rows(recipe, factor) for name, recipe in recipes.items() if recipe.growth is not Growth.LINEAR
    }
    linear = {name: recipe.rows for name, recipe in recipes.items() if recipe.growth is Growth.LINEAR}
    share = max(0.0, rows - sum(steady.values())) / (sum(linear.values()) or 1)
    counts = steady | {name: max(MIN_ROWS, round(count * share)) for name, count in linear.items()}
    return {contract.table: _size(contract, recipes[contract.table], counts) for contract in contracts}


def _steady_rows(recipe: Recipe, factor: float) -> int:
    wanted = recipe.rows if recipe.growth is Growth.FIXED else ceil(recipe.rows * sqrt(factor))
    return max(MIN_ROWS, min(wanted, recipe.capacity or wanted))


def _size(contract: TableContract, recipe: Recipe, counts: Mapping[str, int]) -> Size:
    count = counts[contract.table]
    if daily_column(contract) is None:
        return Size(count)
    days = max(2, min(history_days(contract, recipe, count), count // MIN_ROWS))
    keys = max(1, round(count / days))
    return Size(min(keys, recipe.capacity or keys, _owners(contract, counts) or keys), days)


def _owners(contract: TableContract, counts: Mapping[str, int]) -> int | None:
    column = owner_column(contract)
    tables = [reference.table for reference in contract.references if reference.column == column]
    return counts[tables[0]] if tables else None
