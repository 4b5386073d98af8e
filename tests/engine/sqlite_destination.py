"""The conformance kit's reference destination under a name of its own, and a look into its file."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from ownlens_plugins import Strategy, hookimpl
from ownlens_plugins.testing.reference import ReferenceConfig as SqliteConfig
from ownlens_plugins.testing.reference import ReferenceDestination, transaction
from ownlens_plugins.testing.reference import ReferenceSession as SqliteSession

__all__ = ["SqliteConfig", "SqliteDestination", "SqliteSession", "transaction"]


class SqliteDestination(ReferenceDestination):
    name = "sqlite"
    aliases = ("lite",)
    strategies = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE})

    def landed(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows as JSON values, ordered by key."""
        with transaction(self.config.path) as connection:
            rows = connection.execute("SELECT row FROM landed WHERE name = ? ORDER BY key", (table,)).fetchall()
        return [json.loads(json.dumps(row, default=str)) for (stored,) in rows for row in _decoded(stored)]

    def staged(self) -> int:
        with transaction(self.config.path) as connection:
            return int(connection.execute("SELECT count(*) FROM staged").fetchone()[0])


def _decoded(stored: bytes) -> list[dict[str, Any]]:
    with pa.ipc.open_stream(stored) as stream:
        return stream.read_all().to_pylist()


@hookimpl
def ownlens_destinations() -> list[type[SqliteDestination]]:
    return [SqliteDestination]
