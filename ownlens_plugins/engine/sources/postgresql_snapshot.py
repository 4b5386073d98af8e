"""What a PostgreSQL snapshot says of itself: its moment, the transactions it has seen, and the tables it shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from .postgresql_columns import quote
from .postgresql_types import NativeType
from .source import Seen

logger = logging.getLogger("ownlens.load")
HELD_FOR = timedelta(hours=1)
_MANY_TRANSACTIONS = 1_000_000
_XID_BITS = 32

# Rows are stamped by the clock of the transaction that writes them, on a standby by that of its primary. Sessions of
# other users are visible to members of pg_read_all_stats only. All of this says only how far behind late rows are
# looked for; which rows are new is told by their transactions. Our own sessions only read.
_MOMENT = """
SELECT least(
    CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_xact_replay_timestamp(), 'epoch') ELSE now() END - %(lag)s,
    (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend' AND application_name <> 'ownlens'),
    (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database()))
"""
_SNAPSHOT = """
SELECT pg_export_snapshot(), pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, age('3'::xid)::bigint + 3
FROM pg_current_snapshot() AS s
"""
# Read before and after the snapshot is taken: of two snapshots, one that ended before the other began is the older.
_POSITION = """
SELECT pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END, '0/0')::text
"""
# What the session is set to by its role or its client says nothing of the database.
_ZONE = """
SELECT CASE WHEN source IN ('client', 'session', 'user', 'database user') THEN coalesce((
    SELECT substr(setting_text, 10) FROM pg_db_role_setting, unnest(setconfig) AS setting_text
    WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND lower(setting_text) LIKE 'timezone=%%'), '') ELSE setting END
FROM pg_settings WHERE name = 'TimeZone'
"""
# What `::text` prints must not depend on the role's or the database's own settings, nor a text's bytes on the client's.
PINNED = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
}
_MAY_READ = "SELECT has_function_privilege(%s, 'execute')"
_SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
# A primary writes into its newest timeline. A standby knows the one that it replays only from its last restart point
# on, or, where it may be asked, from what it receives.
_TIMELINE = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint"
_STANDBY_TIMELINE = """
SELECT greatest(c.timeline_id, r.min_recovery_end_timeline, (SELECT max(received_tli) FROM pg_stat_wal_receiver))
FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r
"""
# A domain may lie on a domain, and so may the domain of an array's items. `format_type` spells a type with its schema
# where a built-in one has the same name.
_COLUMNS = """
WITH RECURSIVE below AS (
    SELECT oid AS own, typbasetype AS inner_type FROM pg_type WHERE typtype = 'd'
    UNION ALL SELECT own, t.typbasetype FROM below JOIN pg_type t ON t.oid = inner_type AND t.typtype = 'd'),
base AS (
    SELECT own, t.oid, t.typtype, t.typnamespace, t.typname FROM below JOIN pg_type t ON t.oid = inner_type
    WHERE t.typtype <> 'd'
    UNION ALL SELECT oid, oid, typtype, typnamespace, typname FROM pg_type WHERE typtype <> 'd'),
named AS (
    SELECT own, oid, typtype, CASE WHEN typnamespace = 'pg_catalog'::regnamespace THEN typname::text
        ELSE format_type(oid, NULL) END AS name FROM base)
SELECT c.relname, a.attname, t.name, coalesce(i.name, ''), coalesce(i.typtype, t.typtype) = 'e',
    coalesce(e.typtype = 'd', false), a.attnotnull, format_type(a.atttypid, a.atttypmod)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN named t ON t.own = a.atttypid
LEFT JOIN pg_type e ON e.typarray = t.oid
LEFT JOIN named i ON i.own = e.oid
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.oid, a.attnum
"""
# The age of a number is the distance to the next one that will be given out.
# Row versions of ordinary tables carry the number of their transaction: also below partitioned and inherited tables,
# unless some leaf is a foreign table or is kept by another access method. A materialized view is written anew as a
# whole, and views have no rows of their own.
_TELLING = """
WITH RECURSIVE family AS (
    SELECT c.oid AS root, c.oid FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind IN ('r', 'p')
    UNION SELECT family.root, i.inhrelid FROM family JOIN pg_inherits i ON i.inhparent = family.oid)
SELECT r.relname, array_agg(c.oid::bigint ORDER BY c.oid)
FROM family JOIN pg_class r ON r.oid = family.root JOIN pg_class c ON c.oid = family.oid
LEFT JOIN pg_am m ON m.oid = c.relam
GROUP BY r.oid, r.relname HAVING bool_and(c.relkind = 'p' OR (c.relkind = 'r' AND m.amname = 'heap'))
"""
# Who keeps the oldest transaction open: the one that the snapshot waits for, else the one that began first. A session
# that only reads holds the moment, although no row waits for it.
_HOLDER = """
SELECT who, since FROM (
    SELECT format('session %%s of %%s (%%s, %%s)', pid, usename,
        coalesce(nullif(application_name, ''), 'without a name'), state) AS who, xact_start AS since,
        coalesce(backend_xid = %(xid)s::text::xid, false) AS awaited
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND application_name <> 'ownlens'
        AND backend_type = 'client backend'
    UNION ALL
    SELECT format('prepared transaction %%L of %%s', gid, owner), prepared, transaction = %(xid)s::text::xid
    FROM pg_prepared_xacts WHERE database = current_database() OR transaction = %(xid)s::text::xid
    ) AS open
ORDER BY awaited DESC, since LIMIT 1
"""
Catalog = dict[str, dict[str, NativeType]]


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """One exported snapshot: its name, the moment up to which its rows are expected, and what it has seen.

    `zone` is the database's own time zone, empty when it cannot be told from this session; `telling` are the tables
    whose rows can be compared with earlier snapshots, with the numbers of all tables that hold their rows. `checked`
    says that the server has made sure of the encoding of texts. `held` names the transaction that has been open for too
    long, if there is one.
    """

    name: str
    moment: datetime
    seen: Seen
    zone: str
    catalog: Catalog
    telling: Mapping[str, tuple[int, ...]]
    checked: bool
    held: str = ""


def take_snapshot(connection: psycopg.Connection[Any], schema: str, lag: timedelta) -> SnapshotFacts:
    """Export a snapshot from a connection, which holds it for as long as it stays open.

    Raises:
        psycopg.Error: the server refuses.
    """
    zone = str(_one(connection, _ZONE))
    for name, value in PINNED.items():
        # Here and not in the connection's options only: libpq's own variables (PGTZ, PGDATESTYLE) win over those.
        connection.execute(f"SET {name} = '{value}'".encode())
    # The moment is read before the snapshot is taken: what commits in between is then in the snapshot, not behind it.
    moment = _one(connection, _MOMENT, {"lag": lag})
    system, timeline = _system(connection), _timeline(connection)
    begun = _one(connection, _POSITION)
    connection.commit()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    name, xmin, xmax, low = _row(connection, _SNAPSHOT)
    ended = _one(connection, _POSITION)
    taken = _one(connection, "SELECT CASE WHEN NOT pg_is_in_recovery() THEN clock_timestamp() END")
    bounds = (int(xmin), int(xmax), _completed(low, int(xmax)), int(begun), int(ended))
    seen = Seen(system, timeline, *bounds, taken=taken)
    held = _holder(connection, seen)
    if held:
        logger.warning("%s", held)
    names = {"schema": quote(schema)}
    telling = {table: tuple(oids) for table, oids in connection.execute(_TELLING, names)}
    catalog = _catalog(connection.execute(_COLUMNS, names))
    checked = _one(connection, "SHOW server_encoding") != "SQL_ASCII"
    return SnapshotFacts(name, moment, seen, zone, catalog, telling, checked, held)


def _row(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> Any:
    row = connection.execute(statement.encode(), values).fetchone()
    assert row is not None
    return row


def _one(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> Any:
    return _row(connection, statement, values)[0]


def _catalog(rows: Iterable[Any]) -> Catalog:
    tables: Catalog = {}
    for table, column, *native in rows:
        tables.setdefault(table, {})[column] = NativeType(*native)
    return tables


def _completed(low: int, xmax: int) -> int:
    """Return the next transaction's number of 64 bits, of which its age tells the lower 32: it is not below `xmax`."""
    return xmax + (low - xmax) % (1 << 32)


def _may_call(connection: psycopg.Connection[Any], function: str) -> bool:
    return bool(_one(connection, _MAY_READ, [function]))


def _system(connection: psycopg.Connection[Any]) -> str:
    # Everybody may read it, unless the operator took that right away.
    return str(_one(connection, _SYSTEM)) if _may_call(connection, "pg_control_system()") else ""


def _timeline(connection: psycopg.Connection[Any]) -> int:
    if not _one(connection, "SELECT pg_is_in_recovery()"):
        return int(_one(connection, _TIMELINE))
    if all(_may_call(connection, name) for name in ("pg_control_checkpoint()", "pg_control_recovery()")):
        return int(_one(connection, _STANDBY_TIMELINE))
    return 0


def _holder(connection: psycopg.Connection[Any], seen: Seen) -> str:
    """Return which transaction keeps runs reading rows again, when it has been open for long; else an empty text."""
    found = connection.execute(_HOLDER.encode(), {"xid": str(seen.xmin % (1 << _XID_BITS))}).fetchone()
    since = ""
    if found is None and seen.next - seen.xmin > _MANY_TRANSACTIONS:
        found = ("a session that this role may not see (GRANT pg_read_all_stats)", None)
    if found is None or (found[1] is not None and _one(connection, "SELECT now()") - found[1] < HELD_FOR):
        return ""
    if found[1] is not None:
        since = f" since {found[1]:%Y-%m-%d %H:%M} UTC"
    return (
        f"source: {' '.join(found[0].split())} holds a transaction open{since}; nothing is missed, but rows written "
        "since are read again in each run until it ends"
    )
