"""What an error of a PostgreSQL source means: try again, or give up with a line that says what to mend."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from ...errors import Retryable, SourceInvalid
from ...settings import PostgreSQLSourceConfig

_SNAPSHOT_GONE = ("42704", "22023")
# Connections, conflicts with others, resources, and servers that come and go; anything else comes back every time.
_MAY_PASS = ("08", "25P", "40", "53", "55P03", "57P", "58", "XX000")
_TIMEOUT = "57014"


def unreachable(config: PostgreSQLSourceConfig, error: psycopg.OperationalError) -> Exception:
    """Return the error for a connection that did not come about."""
    fix = "check that the server runs and that host and port are right"
    return refused(config, error) or Retryable(f"{_place(config)}: not reachable; {fix}")


def refused(config: PostgreSQLSourceConfig, error: Exception) -> Exception | None:
    """Return the error for a connection that the server refuses for a known reason."""
    place = _place(config)
    for sign, fix in _REFUSALS.items():
        if re.search(sign, str(error)):
            return SourceInvalid(f"{place}: {fix.format(config=config)}")
    for sign, cause in _PASSING.items():
        if re.search(sign, str(error)):
            return Retryable(f"{place}: {cause}")
    return None


def _place(config: PostgreSQLSourceConfig) -> str:
    return f"source postgresql at {config.host}:{config.port}"


_REFUSALS = {
    "password authentication failed|no password supplied": (
        "the password of {config.user!r} is refused; set OWNLENS_SOURCE__PASSWORD"
    ),
    'role ".*" (does not exist|is not permitted to log in)': (
        "role {config.user!r} does not exist or may not log in; check the profile's user"
    ),
    'database ".*" (does not exist|is not currently accepting)|permission denied for database': (
        "database {config.database!r} does not exist or may not be entered; check the profile's database, or grant "
        "CONNECT on it"
    ),
    "pg_hba.conf": (
        "the server's pg_hba.conf refuses this connection for {config.user!r}; add a line for it, or set sslmode to "
        "what the lines there ask for"
    ),
    "certificate": "the server's certificate is not trusted; set sslrootcert",
    "does not support SSL": "the server offers no TLS; set sslmode to what it offers",
    "unsupported startup parameter": (
        "a connection pooler refuses the session's settings; set host and port to the PostgreSQL server itself"
    ),
}
_PASSING = {
    "too many connections|too many clients|remaining connection slots|connection limit exceeded": (
        "no connection is free; run it again, or raise max_connections, or the CONNECTION LIMIT of the role or the "
        "database"
    ),
    "is starting up|is shutting down|in recovery mode": "the server is starting or stopping; run it again",
}


def snapshot_gone(table: str, error: Any) -> Exception | None:
    """Return the error for a snapshot that another connection can no longer adopt, if that is what happened."""
    if getattr(error, "sqlstate", None) in _SNAPSHOT_GONE:
        return Retryable(f"{table}: the snapshot of this run has ended at the source; run it again")
    return None


def translated(table: str, error: Any) -> Exception:
    """Return the error for a statement that failed, with the fix where one is known; it holds no row values."""
    state = getattr(error, "sqlstate", None) or ""
    # Once rows flow, the driver's errors come through Arrow, without a state.
    flowing = isinstance(error, OSError)
    if state == _TIMEOUT or (flowing and "due to statement timeout" in str(error)):
        return _timeout(table)
    if flowing and _is_of_rows(str(error)):
        return SourceInvalid(
            f"{table}: the source raised an error while it computed the rows; repair the view, generated column or "
            "foreign table that raises it: the log has the source's words"
        )
    if state and not state.startswith(_MAY_PASS):
        return SourceInvalid(f"{table}: {_cause(state, str(error))}")
    return Retryable(
        f"{table}: reading from the source broke off (SQLSTATE {state or 'unknown'}); run it again, "
        "and read the log for the source's words if it recurs"
    )


def _timeout(table: str) -> Retryable:
    return Retryable(
        f"{table}: the source's statement_timeout ended the extraction; raise statement_timeout in the profile's "
        "source, or add an index on the cursor"
    )


def _is_of_rows(text: str) -> bool:
    # The session itself ends with FATAL or PANIC, and a lost connection without either. These errors pass:
    passing = "conflict with recovery|canceling statement|deadlock|lock timeout|out of memory|could not|No space left"
    return "ERROR:  " in text and not re.search(passing, text)


def _cause(state: str, text: str) -> str:
    if state == "42501" and "row-level security" in text:
        return (
            "row-level security hides rows of this table from the source role; give it BYPASSRLS, or load a view of "
            "the rows that it may see"
        )
    if state == "42501":
        return (
            "the source role may not read this table; grant SELECT on it, USAGE on its schema, and, if it is a view, "
            "EXECUTE on its functions"
        )
    if state == "55000" and "has not been populated" in text:
        return "it is a materialized view that was never filled; run REFRESH MATERIALIZED VIEW on it at the source"
    if state == "54011":
        return "arrays and json of arrays take two of PostgreSQL's 1,664 columns; give some the type text"
    if state.startswith(("22", "42")):
        return f"the source cannot run the extraction (SQLSTATE {state}); check the contract's types"
    return f"the source cannot run the extraction (SQLSTATE {state}); the log has its words, repair what they name"
