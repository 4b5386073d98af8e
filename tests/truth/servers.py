"""The source: a PostgreSQL 15 that keeps prepared transactions, and hot standbys of it, made when a test asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count

from tests.postgresql_servers import PostgreSQLServer, hot_standby

SETTINGS = {
    "max_prepared_transactions": "30",
    "max_connections": "80",
    "wal_level": "replica",
    # A query on the standby is not cancelled because a VACUUM of the primary is replayed.
    "hot_standby_feedback": "on",
    # The standby may be stopped and made anew: what it has not fetched must not be kept for it.
    "wal_keep_size": "64MB",
}
_PATIENCE_SECONDS = 60
_NUMBERS = count(1)


@dataclass
class Cluster:
    """One primary for the session. Each database is one test's own; a standby is made anew once it was promoted."""

    primary: PostgreSQLServer
    _standbys: ExitStack = field(default_factory=ExitStack)
    _standby: PostgreSQLServer | None = None

    def new_database(self) -> str:
        name = f"truth_{next(_NUMBERS)}"
        self.primary.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop_database(self, name: str) -> None:
        for gid, database in self.primary.sql("SELECT gid, database FROM pg_prepared_xacts"):
            if database == name:
                self.primary.sql(f"ROLLBACK PREPARED '{gid}'", database=name)
        self.primary.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def standby(self) -> PostgreSQLServer:
        """Return the standby, which follows the primary; the first call makes it."""
        if self._standby is None:
            self._standby = self._standbys.enter_context(hot_standby(self.primary))
        return self._standby

    def pause(self) -> None:
        """Stop replaying on the standby; wait until it has stopped."""
        standby = self.standby()
        standby.sql("SELECT pg_wal_replay_pause()")
        _wait(lambda: standby.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], "pause")

    def resume(self) -> None:
        self.standby().sql("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Wait until the standby shows all that the primary has committed."""
        (reached,) = self.primary.sql("SELECT pg_current_wal_flush_lsn()")[0]
        standby = self.standby()
        question = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        _wait(lambda: standby.sql(question, reached) == [(True,)], "catch up")

    def promote(self) -> PostgreSQLServer:
        """Make the standby a primary of its own, on a new timeline; the next standby is another one."""
        promoted, self._standby = self.standby(), None
        promoted.sql("SELECT pg_wal_replay_resume() WHERE pg_is_wal_replay_paused()")
        promoted.sql("SELECT pg_promote(true, 60)")
        return promoted

    def close(self) -> None:
        """Stop all standbys, also promoted ones."""
        self._standbys.close()
        self._standbys, self._standby = ExitStack(), None


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"the standby did not {what} in time"
        time.sleep(0.02)
