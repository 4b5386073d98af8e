"""The demo's source: a newsroom's database, made from the contracts and changed day by day."""

from __future__ import annotations

from .changing import apply_day_of_changes
from .filling import fill
from .schema import create_schema

__all__ = ["apply_day_of_changes", "create_schema", "fill"]
