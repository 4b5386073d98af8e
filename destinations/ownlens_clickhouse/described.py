"""What the store says of a table, and of those that loads have made beside it, asked for in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from . import sql

if TYPE_CHECKING:
    from .client import Store

_BRIEF = "toString(uuid), comment, engine, engine_full, ifNull(toString(total_rows), '')"
_VIEWS = "arrayMap((of, name) -> concat(of, '.', name), dependencies_database, dependencies_table)"
_DEFINED = f"{_BRIEF}, partition_key, sorting_key, create_table_query"
_ROWS = 2**63  # the place of the row that says that there are rows; those of columns are smaller
_CHOSEN = "database = {database:String} AND ({name} = {table:String}{beside})"


@dataclass(frozen=True, slots=True)
class Described:
    """One table, in ClickHouse's own words.

    `rows` are those that its parts hold, deleted ones among them; None where the store does not count them. `columns`
    are name, type, kind of default, default and comment of each. What was not asked for is empty, or None: `shows_rows`
    tells whether any row is to be seen.
    """

    name: str
    uuid: UUID
    comment: str
    engine: str
    clauses: str
    rows: int | None
    partition: str = ""
    order: str = ""
    ddl: str = ""
    views: tuple[str, ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    shows_rows: bool | None = None

    @property
    def is_merge_tree(self) -> bool:
        """Whether it keeps rows of its own, in parts."""
        return self.engine.endswith("MergeTree")


def describe(
    store: Store, table: str, *, prefix: str = "", columns: bool = False, definition: bool = False, rows: bool = False
) -> dict[str, Described]:
    """Describe a table, and those whose names begin with a prefix, by name; none where there is none.

    With `columns` of each, the text of its `definition`, and whether the table shows `rows`, if asked: they take the
    store longer to tell. A table that may be gone cannot be asked for rows.
    """
    query = _query(bool(prefix), columns, definition)
    if rows:
        shown = f"SELECT 1 FROM {store.name(table)} LIMIT 1"
        query += f" UNION ALL SELECT {sql.literal(table)}, {_ROWS}, [''] FROM ({shown})"
    answered = store.rows(query, database=store.database, table=table, prefix=prefix)
    held: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for name, place, texts in answered:
        held.setdefault(str(name), []).append((int(place), tuple(map(str, texts))))
    # A table that was made or dropped while the store answered may show one without the other.
    found = ((name, sorted(told)) for name, told in sorted(held.items()))
    return {name: _described(name, told, asked=rows) for name, told in found if told[0][0] == 0}


def columns_of(store: Store, table: str) -> list[tuple[str, ...]]:
    """Return a table's columns; none when there is no such table."""
    rows = store.rows(f"{_columns(False)} ORDER BY position", database=store.database, table=table)
    return [tuple(map(str, texts)) for _, _, texts in rows]


def _query(beside: bool, columns: bool, definition: bool) -> str:
    texts = f"arrayConcat([{_DEFINED}], {_VIEWS})" if definition else f"[{_BRIEF}]"
    tables = f"SELECT name, toUInt64(0) AS place, {texts} AS texts FROM system.tables WHERE {_chosen('name', beside)}"
    return f"{tables} UNION ALL {_columns(beside)}" if columns else tables


def _columns(beside: bool) -> str:
    return (
        "SELECT table, position, [name, type, default_kind, default_expression, comment] FROM system.columns "
        f"WHERE {_chosen('table', beside)}"
    )


def _chosen(name: str, beside: bool) -> str:
    others = f" OR startsWith({name}, {{prefix:String}})" if beside else ""
    return _CHOSEN.replace("{name}", name).replace("{beside}", others)


def _described(name: str, told: Sequence[tuple[int, tuple[str, ...]]], *, asked: bool) -> Described:
    uuid, comment, engine, clauses, count, *rest = told[0][1]
    partition, order, ddl = rest[:3] or ("", "", "")
    return Described(
        name,
        UUID(uuid),
        comment,
        engine,
        clauses,
        int(count) if count else None,
        partition,
        order,
        ddl,
        tuple(rest[3:]),
        tuple(texts for place, texts in told[1:] if place != _ROWS),
        told[-1][0] == _ROWS if asked else None,
    )
