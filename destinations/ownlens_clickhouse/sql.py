"""SQL text. Every identifier and every literal goes through one function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .definition import LOAD, ColumnDefinition, TableDefinition


def identifier(name: str) -> str:
    """Quote a database, table or column name."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifiers(names: Iterable[str]) -> str:
    """Quote names and join them with commas."""
    return ", ".join(identifier(name) for name in names)


def settings(values: Mapping[str, object]) -> str:
    """Write settings as `name = 'value', ...`."""
    return ", ".join(f"{name} = {literal(str(value))}" for name, value in values.items())
