"""The one place where the driver's errors become OwnLens errors. No message carries a row's values or a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError

from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable

from . import sql
from .config import ClickHouseConfig

# Codes of ClickHouse's ErrorCodes.cpp. Anything not listed is a refusal of the statement or its data.
_TRY_AGAIN = frozenset(
    {
        57,  # TABLE_ALREADY_EXISTS: another attempt was faster
        60,  # UNKNOWN_TABLE: another attempt took over, or somebody dropped the table
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR: the disk is full, or failing
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        216,  # QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: the driver sent a statement again
        218,  # TABLE_IS_DROPPED
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        473,  # DEADLOCK_AVOIDED
        999,  # KEEPER_EXCEPTION
        1000,  # POCO_EXCEPTION
        1001,  # STD_EXCEPTION
    }
)
# What must change before trying again is of use.
_CURES = {
    75: "free disk space of the server",
    202: "raise max_concurrent_queries or run fewer loads at once",
    241: "raise max_memory_usage or run fewer loads at once",
    243: "free disk space of the server",
}
_READ_ONLY = 164
_BROKEN_CONSTRAINT = 469
_WRONG_LOGIN = frozenset({192, 193, 194, 516})
_NOT_ALLOWED = frozenset({497})
# Messages of these codes speak of names and types only; others may quote a row.
_SPEAKS_OF_NAMES = frozenset({16, 36, 44, 47, 57, 60, 62, 81, 122, 164, 169, 241, 243, 252, 455, 497})
_LONGEST = 240
# What OpenSSL says, and what it means for the configuration.
_TLS_PROBLEMS = {
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that is not trusted or not for this host; check host and ca_cert",
    "WRONG_VERSION_NUMBER": "does not speak TLS on this port; check port and secure",
}


def may_pass(error: Exception) -> bool:
    """Tell whether the same statement may succeed later, by itself."""
    if not isinstance(error, ClickHouseError):
        return False
    code = _code(error)
    return code is None or code in _TRY_AGAIN or code in _WRONG_LOGIN or code in _NOT_ALLOWED or code == _READ_ONLY


@contextmanager
def reported(config: ClickHouseConfig, subject: str) -> Iterator[None]:
    """Turn errors of the driver and the network into Retryable or Rejected about `subject`, usually the table."""
    try:
        yield
    except OwnLensError:
        raise
    except (ClickHouseError, RuntimeError, pa.ArrowException) as error:
        raise _translated(config, subject, error) from None


@contextmanager
def unknown_outcome(table: str) -> Iterator[None]:
    """Turn every error into CommitUnknown: the commit has been sent."""
    try:
        yield
    except CommitUnknown:
        raise
    except Exception as error:
        raise CommitUnknown(
            f"{table}: clickhouse did not confirm the commit ({_name(error)}); run the load again to settle it"
        ) from None


def _translated(config: ClickHouseConfig, subject: str, error: Exception) -> OwnLensError:
    code = _code(error)
    # The driver itself refuses settings that the server calls read-only.
    if code == _READ_ONLY or (isinstance(error, ProgrammingError) and "readonly" in str(error)):
        return Rejected(
            f"{subject}: clickhouse at {config.place} lets user {config.user!r} only read, or not change settings; "
            "give it a profile with readonly = 0"
        )
    if code is None or _is_opening(error):
        return _unreachable(config, subject, error)
    if code in _WRONG_LOGIN:
        return Rejected(f"{subject}: clickhouse at {config.place} refused user {config.user!r}; check the credentials")
    if code == _BROKEN_CONSTRAINT:
        found = re.search(r"Constraint (`?.+?`?) for table", str(error))
        name = found[1] if found else "of its own"
        return Rejected(
            f"{subject}: clickhouse: rows break the table's constraint {name}; correct the rows at the source, or run "
            f"ALTER TABLE {sql.identifier(config.database)}.{sql.identifier(subject)} DROP CONSTRAINT {name}"
        )
    if code in _NOT_ALLOWED:
        return Rejected(
            f"{subject}: clickhouse user {config.user!r} lacks a privilege on {config.database!r} "
            f"({_said(error, code)}); grant it"
        )
    if code in _TRY_AGAIN:
        cure = f"{_CURES[code]}, and run the load again" if code in _CURES else "run the load again"
        return Retryable(f"{subject}: clickhouse could not do it now ({_said(error, code)}); {cure}")
    return Rejected(f"{subject}: clickhouse refused ({_said(error, code)}); correct the contract or the table")


def _unreachable(config: ClickHouseConfig, subject: str, error: Exception) -> OwnLensError:
    if config.interface == "http":
        if found := next((fix for sign, fix in _TLS_PROBLEMS.items() if sign in str(error)), None):
            return Rejected(f"{subject}: clickhouse at {config.place} {found}")
        return Retryable(
            f"{subject}: clickhouse at {config.place} cannot be reached ({type(error).__name__}); "
            "check that the server runs, its host and its port"
        )
    path = config.path
    if path is not None and path.exists() and not path.is_dir():
        return Rejected(f"{subject}: clickhouse path {path} is a file; name a folder for the embedded engine")
    if "different path" in str(error):
        return Rejected(
            f"{subject}: clickhouse cannot open {path}: this process has another embedded engine open; close it first"
        )
    return Retryable(
        f"{subject}: clickhouse cannot open {path}; check that the folder can be written "
        "and that no other process has it open"
    )


def _is_opening(error: Exception) -> bool:
    return "Unable to open the chdb engine" in str(error)


def _code(error: Exception) -> int | None:
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code
    found = re.search(r"\bCode: (\d+)", str(error))
    return int(found[1]) if found else None


def _name(error: Exception) -> str:
    code = _code(error)
    return type(error).__name__ if code is None else _said(error, code)


def _said(error: Exception, code: int) -> str:
    names = re.findall(r"\(([A-Z][A-Z0-9_]+)\)", str(error))
    name = f"{names[-1] if names else 'error'}, code {code}"
    if code not in _SPEAKS_OF_NAMES:
        return name
    message = re.sub(r"^.*DB::Exception: ", "", " ".join(str(error).split()))
    message = re.sub(r"\s*\([A-Z][A-Z0-9_]+\).*$", "", message)
    return f"{name}: {message[:_LONGEST].rstrip('. ')}"
