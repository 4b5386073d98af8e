"""What a failure of the lake means for the load: try again, give up, or ask the store what happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ownlens_plugins import storage_failures
from ownlens_plugins.errors import OwnLensError

_LAKE = storage_failures.Place(
    uri="the lake's uri",
    keys="access_key_id and secret_access_key",
    endpoint="endpoint_url",
    certificates="ca_file",
)


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
    return storage_failures.explain(error, f"{table}: s3 could not {doing}", _LAKE)
