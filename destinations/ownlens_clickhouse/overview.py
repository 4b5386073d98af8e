"""Where all tables stand, in two statements: the newest entries of the ledger, then the tables that they speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ownlens_plugins.powers import TableState

from .client import UNKNOWN_COLUMN, UNKNOWN_DATABASE, UNKNOWN_TABLE, Store, has_code
from .ledger import Ledger

Row = Sequence[Any]


def overview(store: Store, ledger: Ledger, tables: Sequence[str]) -> Mapping[str, TableState]:
    """Return the state of the named tables that the ledger knows."""
    try:
        newest = store.rows(_NEWEST.format(ledger=ledger.name), tables=list(tables))
    except Exception as error:
        if has_code(error, UNKNOWN_TABLE, UNKNOWN_DATABASE):  # nothing was loaded into this database yet
            return {}
        if has_code(error, UNKNOWN_COLUMN):  # a ledger of an older version, which the next load widens
            return dict.fromkeys(tables, TableState())
        raise
    # The ledger first, then the tables: what is recorded in between is not shown to be older than its table.
    there = {row[0]: row for row in store.rows(_TABLES, database=store.database, tables=list(tables))}
    return {row[0]: _state(row, there.get(row[0])) for row in newest}


def _state(entry: Row, table: Row | None) -> TableState:
    _, sequence, digest, committed_at, rows, seconds, target = entry
    if table is None:
        return TableState(int(sequence))
    _, uuid, shown, size = table
    # Without rows it may have been emptied as a whole, and then its loads have to be looked at one by one.
    is_sure = UUID(str(uuid)) == UUID(str(target)) and bool(shown)
    return TableState(int(sequence), digest, _moment(committed_at), int(rows), float(seconds), _number(size), is_sure)


def _moment(value: datetime | str) -> datetime:
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).replace(tzinfo=UTC)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


# Of the newest life: an older one's numbers are those of a table that is gone.
_NEWEST = """
SELECT `table`, `sequence`, `digest`, `committed_at`, `rows`, `seconds`, `target` FROM {ledger}
WHERE has({{tables:Array(String)}}, `table`) ORDER BY `table`, `life` DESC, `sequence` DESC LIMIT 1 BY `table`
"""

_TABLES = """
SELECT name, uuid, total_rows, total_bytes FROM system.tables
WHERE database = {database:String} AND has({tables:Array(String)}, name)
"""
