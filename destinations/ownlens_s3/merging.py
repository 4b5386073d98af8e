"""The SQL of a merge: which rows are the same, which are newer, and which partitions can hold them."""

from __future__ import annotations

from collections.abc import Sequence

from ownlens_plugins.contracts import TableContract

from .paths import Layout

# Above this many partitions a range is cheaper to plan than a list, and skips nearly as much.
_MOST_LITERALS = 400


def quoted(name: str) -> str:
    """Quote a column name for the SQL of delta-rs."""
    return '"' + name.replace('"', '""') + '"'


def same_row(contract: TableContract, layout: Layout | None, partitions: Sequence[str]) -> str:
    terms = [f"t.{quoted(name)} = s.{quoted(name)}" for name in contract.key]
    if layout is not None:
        terms.append(f"t.{quoted(layout.column)} = s.{quoted(layout.column)}")
        terms.append(_in_partitions(layout, partitions))
    return " AND ".join(terms)


def _in_partitions(layout: Layout, partitions: Sequence[str]) -> str:
    """Return the predicate that lets the merge skip all other partitions' files."""
    column = f"t.{quoted(layout.column)}"
    literals = [partition_literal(layout, value) for value in sorted(set(partitions))]
    if not literals:
        return "false"
    if len(literals) > _MOST_LITERALS:
        return f"{column} BETWEEN {literals[0]} AND {literals[-1]}"
    return f"{column} IN ({', '.join(literals)})"


def partition_literal(layout: Layout, value: str) -> str:
    """Return a partition's value as SQL. Values are dates and months that `Layout` made, never text of a row."""
    return f"DATE '{value}'" if layout.unit == "day" else f"'{value}'"


def is_newer(contract: TableContract) -> str:
    others = [name for name in contract.column_names if name not in contract.key]
    changes = [f"(s.{quoted(name)} IS DISTINCT FROM t.{quoted(name)})" for name in others]
    changed = f"({' OR '.join(changes)})" if changes else "false"
    if contract.version_by is None:
        return changed
    version = quoted(contract.version_by)
    return f"s.{version} >= t.{version} AND {changed}"
