"""The SQL for delta-rs: which rows are the same, which are newer, which files can hold them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any

from ownlens_plugins.contracts import Kind, TableContract

from .paths import Layout

# Above this many partitions a range is cheaper to plan than a list, and skips nearly as much.
MOST_LITERALS = 400
_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.:@/ -]{1,200}")


def quoted(name: str) -> str:
    """Quote a column name for the SQL of delta-rs."""
    return '"' + name.replace('"', '""') + '"'


def same_row(contract: TableContract, layout: Layout | None, partitions: Sequence[str]) -> str:
    """Return the condition of a merge over the given partitions.

    The partitions are no part of the comparison: a row keeps its key when its partition value changes.
    """
    terms = [f"{as_key(contract, name, 't.')} = s.{quoted(name)}" for name in contract.key]
    if layout is not None:
        terms.append(in_partitions(layout, partitions, f"t.{quoted(layout.column)}"))
    return " AND ".join(terms)


def as_key(contract: TableContract, name: str, prefix: str = "") -> str:
    """Return a key column of the table in the form in which keys are compared.

    Text of a uuid that another writer stored in capitals is the same uuid; OwnLens writes small letters.
    """
    column = f"{prefix}{quoted(name)}"
    return f"lower({column})" if contract.column(name).type.kind is Kind.UUID else column


def in_partitions(layout: Layout, partitions: Iterable[str], column: str) -> str:
    """Return the predicate that lets a merge or a query skip all other partitions' files."""
    literals = [partition_literal(layout, value) for value in sorted(set(partitions))]
    if not literals:
        return "false"
    if len(literals) > MOST_LITERALS:
        return f"{column} BETWEEN {literals[0]} AND {literals[-1]}"
    return f"{column} IN ({', '.join(literals)})"


def partition_literal(layout: Layout, value: str) -> str:
    """Return a partition's value as SQL. Values are dates and months that `Layout` made, never text of a row."""
    return f"DATE '{value}'" if layout.unit == "day" else f"'{value}'"


def is_newer(contract: TableContract, *, always: bool) -> str:
    """Return which matched rows are updated: those that differ, unless the table's version is greater.

    A version that is null is the oldest. `always` says that the staged rows win over any version.
    """
    others = [name for name in contract.column_names if name not in contract.key]
    # Without the inner brackets delta-rs's parser takes the OR into the comparison.
    changes = [f"(s.{quoted(name)} IS DISTINCT FROM t.{quoted(name)})" for name in others]
    changed = f"({' OR '.join(changes)})" if changes else "false"
    if contract.version_by is None or always:
        return changed
    version = quoted(contract.version_by)
    return f"(t.{version} IS NULL OR s.{version} >= t.{version}) AND {changed}"


def partitions_among(layout: Layout, wanted: Collection[str], there: Collection[str], column: str) -> str:
    """Return a predicate for some of the partitions that are there, by the shorter list of the two.

    Too long a list lets all partitions through: the predicate saves reading, and decides nothing.
    """
    others = sorted(set(there) - set(wanted))
    if len(wanted) <= MOST_LITERALS:
        return in_partitions(layout, wanted, column)
    if 0 < len(others) <= MOST_LITERALS:
        return f"{column} NOT IN ({', '.join(partition_literal(layout, value) for value in others)})"
    return "true"


def between(name: str, first: Any, last: Any, *, any_case: bool = False) -> str:
    """Return a predicate that lets a query skip files by their statistics; empty when the ends are no safe SQL.

    With `any_case` it also lets capitals through, which sort below the small letters that the ends have.
    """
    low, high = _literal(first.upper() if any_case else first), _literal(last)
    return f"{quoted(name)} BETWEEN {low} AND {high}" if low and high else ""


def _literal(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | date | str):
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # Text of a row: only what needs no escape in any dialect.
        return f"'{value}'" if _PLAIN_TEXT.fullmatch(value) else ""
    return f"DATE '{value.isoformat()}'"
