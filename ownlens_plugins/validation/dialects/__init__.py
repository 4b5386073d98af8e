"""How each store says what a check asks. The answers are the same; so are the names of the methods."""

from __future__ import annotations

from .base import Dialect
from .clickhouse import ClickHouse
from .duckdb import DuckDB
from .postgresql import PostgreSQL

__all__ = ["ClickHouse", "Dialect", "DuckDB", "PostgreSQL"]
