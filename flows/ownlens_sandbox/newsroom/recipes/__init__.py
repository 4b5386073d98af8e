"""Recipes by table, and a plain one for tables that have none."""

from __future__ import annotations

from ownlens_plugins.contracts import TableContract

from .machinery import MACHINERY
from .readers import READERS
from .recipe import Growth, Recipe
from .safeguards import SAFEGUARDS
from .stories import STORIES
from .workplace import WORKPLACE

__all__ = ["Growth", "Recipe", "recipe_for"]

_RECIPES = {**READERS, **STORIES, **WORKPLACE, **SAFEGUARDS, **MACHINERY}
_PLAIN = {
    "reference": Recipe(100, Growth.SLOW),
    "events": Recipe(5000),
    "entity": Recipe(1000),
    "daily": Recipe(1000),
}


def recipe_for(contract: TableContract) -> Recipe:
    """Return the table's recipe, or the plain one of its preset."""
    return _RECIPES.get(contract.table) or _PLAIN[contract.preset]
