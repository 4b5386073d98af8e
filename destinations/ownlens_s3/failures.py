"""What a failure of the lake means for the load: try again, give up, or ask the store what happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

import pyarrow as pa
from deltalake.exceptions import DeltaError

from ownlens_plugins import storage_failures
from ownlens_plugins.errors import OwnLensError, Rejected

_LAKE = storage_failures.Place(
    uri="the lake's uri",
    keys="access_key_id and secret_access_key",
    endpoint="endpoint_url",
    certificates="ca_file",
)
_UNKNOWN_FEATURE = re.compile(r"Feature '(\w+)' is not supported|Unsupported table features required: \[([\w, ]+)\]")
# Quoted text and numbers may be values of rows.
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\S*\d\S*")
_LONGEST = 160
# The words of delta-rs's store for a file that the log names.
_LOST_FILE = re.compile(r"object at location \S+\.parquet not found", re.IGNORECASE)

# The words of delta-rs for a log that is cut, spoilt or incomplete.
_DAMAGED = re.compile(
    r"Json error|No table metadata or protocol|log segment|contiguous|Kernel error: File not found", re.IGNORECASE
)
_MOVE_AWAY = "move the table's folder away, and load it with --full-refresh"


@contextmanager
def explained(table: str, doing: str) -> Iterator[None]:
    """Turn the errors of drivers and the operating system into the engine's own, one line each.

    For steps after which nothing is visible yet; a commit is judged by asking the store.
    """
    try:
        yield
    except OwnLensError:
        raise
    except Exception as error:
        raise explain(error, table, doing) from cause_of(error)


def cause_of(error: Exception) -> Exception | None:
    """Return the error if a log may show it: those of delta-rs and Arrow can hold values of rows."""
    return None if isinstance(error, DeltaError | pa.ArrowException) else error


def explain(error: Exception, table: str, doing: str) -> OwnLensError:
    """Return the error of the load that a driver's error stands for. Its text holds no values and no secrets."""
    if _LOST_FILE.search(str(error)):
        return Rejected(
            f"{table}: s3 could not {doing}: a data file of the table is gone; replace it with --full-refresh"
        )
    if found := _UNKNOWN_FEATURE.search(str(error)):
        return Rejected(
            f"{table}: s3 could not {doing}: the table has a feature that only other programs know "
            f"({found[1] or found[2]}); drop it there, or delete the folder of the table"
        )
    if isinstance(error, JSONDecodeError):
        return Rejected(
            f"{table}: s3 could not {doing}: a file in the table's folder _ownlens is damaged; {_MOVE_AWAY}"
        )
    known = storage_failures.explain(error, f"{table}: s3 could not {doing}", _LAKE)
    return _of_delta(error, table, doing) if _is_unknown(known) and isinstance(error, DeltaError) else known


def _is_unknown(error: OwnLensError) -> bool:
    return str(error).endswith("the log has the details")


def _of_delta(error: DeltaError, table: str, doing: str) -> Rejected:
    # No load can look for itself in a log that cannot be read, so a full refresh would meet the same.
    fix = _MOVE_AWAY if _DAMAGED.search(str(error)) else "replace it with --full-refresh"
    said = " ".join(_VALUES.sub("…", str(error)).split("Preview of")[0].split())[:_LONGEST]
    return Rejected(
        f"{table}: s3 could not {doing}: delta-rs says {said!r}; mend the table with the program that made it, or {fix}"
    )
