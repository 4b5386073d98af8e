"""Which rows of a PostgreSQL table a selection takes, as SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime

from ...contracts import Extraction, Kind, TableContract
from .postgresql_columns import quote
from .postgresql_types import NativeType
from .source import Seen, Selection

_XID_BITS = 32


def rows_of(
    contract: TableContract, selection: Selection, relation: str, columns: Mapping[str, NativeType], zone: str
) -> str:
    """Return the WHERE and ORDER BY of a selection, with a leading blank, or an empty text.

    `zone` is the time zone in which cursors without one are written, empty when it is not known.
    """
    if selection.keys_only:
        return ""
    key = ", ".join(quote(name) for name in contract.key)
    if selection.extraction is Extraction.WHOLE:
        return f" ORDER BY {key}"
    condition = " AND ".join(_conditions(contract, selection, columns, zone))
    if selection.extraction is Extraction.DAYS:
        # In order, so that days that are read again are the same bytes again.
        return f"{_days(contract, selection, relation, condition, columns)} ORDER BY {key}"
    return f" WHERE {condition}" if condition else ""


def _days(
    contract: TableContract,
    selection: Selection,
    relation: str,
    condition: str,
    columns: Mapping[str, NativeType],
) -> str:
    if not condition:
        return ""
    day = quote(contract.partition_by or "")
    terms = [f"{day} IN (SELECT {day} FROM {relation} WHERE {condition})"]
    if selection.days:
        terms.append(f"{day} IN ({', '.join(map(_date, sorted(selection.days)))})")
    if not columns[contract.partition_by or ""].not_null:
        # No day holds a null; its row goes to quarantine now, instead of being passed over for good.
        terms.append(f"({day} IS NULL AND {condition})")
    return f" WHERE {' OR '.join(terms)}"


def _conditions(
    contract: TableContract, selection: Selection, columns: Mapping[str, NativeType], zone: str
) -> Iterator[str]:
    if selection.window.start is not None and contract.cursor:
        yield f"({' OR '.join(_reached(contract, selection.window.start, columns, zone))})"
    if selection.unseen_by is not None:
        yield unseen(selection.unseen_by)


def _reached(contract: TableContract, start: datetime, columns: Mapping[str, NativeType], zone: str) -> Iterator[str]:
    """Yield the cases in which the first cursor column that is not null lies at or behind the start.

    One comparison a column, so that an index on it can be used, which `coalesce` would prevent.
    """
    missing = ""
    for name in contract.cursor:
        column = quote(name)
        yield f"{missing}{column} >= {_bound(start, contract.column(name).type.kind, zone)}"
        if columns[name].not_null:
            return
        missing += f"{column} IS NULL AND "
    # A row without any cursor is in every window, or it would be in none.
    yield missing.removesuffix(" AND ")


def _bound(start: datetime, kind: Kind, zone: str) -> str:
    # Datetimes of our own making, printed in ISO format, and a checked zone: no outside text reaches the statement.
    moment = f"'{start.astimezone(UTC).isoformat()}'::timestamptz"
    if kind is Kind.TIMESTAMPTZ:
        return moment
    # When summer time ends, an hour comes twice. The widest zones lie 26 hours apart, if the zone is not known.
    local = f"({moment} AT TIME ZONE {literal(zone or 'UTC')} - interval '{2 if zone else 26} hours')"
    return f"{local}::date" if kind is Kind.DATE else local


def unseen(seen: Seen) -> str:
    """Return the condition on row versions that an earlier snapshot has not surely seen.

    Everything from its `xmin` on counts as unseen. `pg_visible_in_snapshot` would call rows seen that were not: of a
    hot standby's snapshot, which names no running transaction, and of subtransactions, which a snapshot does not name.
    The difference is taken by `age`, because row versions carry 32 bits of the number, which wrap around.
    """
    return f"pg_catalog.age(xmin) <= (SELECT pg_catalog.age('{seen.xmin % (1 << _XID_BITS)}'::xid))"


def _date(day: date) -> str:
    return f"'{day.isoformat()}'::date"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
