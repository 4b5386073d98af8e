"""What a failure of the lake means for the load: try again, give up, or ask the store what happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ownlens_plugins import storage_failures
from ownlens_plugins.errors import OwnLensError, Rejected

_LAKE = storage_failures.Place(
    uri="the lake's uri",
    keys="access_key_id and secret_access_key",
    endpoint="endpoint_url",
    certificates="ca_file",
)
# The words of delta-rs's store for a file that the log names.
_LOST_FILE = re.compile(r"object at location \S+\.parquet not found", re.IGNORECASE)


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
        raise explain(error, table, doing) from error


def explain(error: Exception, table: str, doing: str) -> OwnLensError:
    """Return the error of the load that a driver's error stands for. Its text holds no values and no secrets."""
    if _LOST_FILE.search(str(error)):
        return Rejected(
            f"{table}: s3 could not {doing}: a data file of the table is gone; replace it with --full-refresh"
        )
    return storage_failures.explain(error, f"{table}: s3 could not {doing}", _LAKE)
