"""Keeping a table small: old rows leave, rows that wait too long, and the ledger's entries that nobody asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ownlens_plugins.errors import CommitUnknown, Rejected, Retryable
from ownlens_plugins.faults import reach
from ownlens_plugins.powers import Chore, Upkeep

from . import sql
from .catalog import foreign_keys_to, tables_named
from .config import PostgreSQLConfig
from .connection import Connection
from .database import Database
from .identity import Identity, Standing
from .ledger import Ledger
from .retention import Retention
from .rights import ALL_ROWS, Right, Rights
from .spreading import drop, left_over

logger = logging.getLogger("ownlens.postgresql")


@dataclass(frozen=True)
class Maintenance:
    """One maintenance of one table. Each step is a transaction under the lock that a load of the table holds."""

    database: Database
    config: PostgreSQLConfig
    ledger: Ledger
    upkeep: Upkeep

    @property
    def _table(self) -> str:
        return self.upkeep.contract.table

    def run(self) -> list[Chore]:
        """Do everything; a table that no load of the ledger filled is left alone.

        Raises:
            Retryable: not reachable now, or a load holds the table for longer than `lock_timeout`.
            Rejected: the role lacks a right, with the GRANT; or the table is not the one that was loaded.
        """
        if not self._prepared():
            return []
        chores = [*self._retention(), *self._ledger(), *self._leftovers(), *self._statistics()]
        return [chore for chore in chores if chore.rows or chore.files or chore.name == "statistics"]

    @contextmanager
    def _step(self, *, changes: bool = True) -> Iterator[tuple[Connection, int | None]]:
        """Yield a transaction and the table's oid, None when it is not there any more; commit what it `changes`."""
        context = self.database.context(self._table)
        with self.database.transaction(context) as connection:
            yield connection, self._oid(connection, lock=changes)
            if changes:
                reach("before_commit")
                self._commit(connection)
                reach("commit_sent")

    def _commit(self, connection: Connection) -> None:
        try:
            self.database.commit(connection, self.database.context(self._table))
        except CommitUnknown as error:  # what is still there goes with the next call
            raise Retryable(str(error)) from None

    def _oid(self, connection: Connection, *, lock: bool) -> int | None:
        # First of all: whatever is read later is then what the last load left.
        if lock and not self.ledger.wait_for_loads(connection, self._table):
            return None
        standing = Identity(self.config.db_schema, self.ledger).standing(connection, self._table)
        if standing is Standing.OTHER:
            raise Rejected(
                f"{self._table}: postgresql table {sql.qualified(self.config.db_schema, self._table)} is not the one "
                "that was loaded, so nothing of it is deleted; put the loaded one back, or load it with --full-refresh"
            )
        known = self.ledger.known(connection, self._table)
        if known is None or not known.loaded or standing is Standing.LOST:
            return None
        return tables_named(connection, self.config.db_schema, [self._table])[self._table]

    def _prepared(self) -> bool:
        """Tell whether there is anything to maintain; bring the ledger of an older version up to this one."""
        context = self.database.context(self._table)
        with self.database.transaction(context) as connection:
            if not self.ledger.has_loads(connection):
                return False
            if not self.ledger.exists(connection):
                if self.upkeep.dry_run:
                    return False
                self.ledger.create(connection)
            self._require_rights(connection, Rights(connection, self.config, context))
            self._commit(connection)
        return True

    def _require_rights(self, connection: Connection, rights: Rights) -> None:
        schema, contract = self.config.db_schema, self.upkeep.contract
        wanted = [Right("SCHEMA", "USAGE", self.config.ledger_schema), *self.ledger.rights_needed()]
        oid = tables_named(connection, schema, [contract.table]).get(contract.table)
        if oid is not None and self.upkeep.oldest_kept is not None:
            # To lock the rows that may go takes UPDATE; it is done where others can reference them.
            privileges = ["SELECT", "DELETE", *(["UPDATE"] if foreign_keys_to(connection, oid) else []), ALL_ROWS]
            wanted += [Right("DATABASE", "TEMPORARY"), Right("SCHEMA", "USAGE", schema)]
            wanted += [Right("TABLE", each, schema, contract.table, contract.key) for each in privileges]
        rights.require(wanted, table=contract.table)

    # --- old rows

    def _retention(self) -> Iterator[Chore]:
        if self.upkeep.oldest_kept is None:
            return
        deleted, left = self._old_rows()
        yield Chore("retention", deleted)
        if left:
            logger.warning("%s: postgresql: %d old rows stay, because other tables reference them", self._table, left)
        yield Chore("still referenced", left)
        with self._step(changes=not self.upkeep.dry_run) as (connection, oid):
            waiting = 0
            if oid is not None:
                retention = self._of(connection)
                waiting = retention.waiting() if self.upkeep.dry_run else retention.forget_waiting()
        yield Chore("quarantine", waiting)

    def _old_rows(self) -> tuple[int, int]:
        if self.upkeep.dry_run:
            with self._step(changes=False) as (connection, oid):
                would = self._of(connection).would_go(oid) if oid is not None else None
                return (would.deleted, would.left) if would else (0, 0)
        total = 0
        while True:
            with self._step() as (connection, oid):
                if oid is None:
                    return total, 0
                batch = self._of(connection).delete_batch(oid)
            total += batch.deleted
            if batch.last:
                return total, batch.left

    def _of(self, connection: Connection) -> Retention:
        oldest = self.upkeep.oldest_kept
        assert oldest is not None  # asked before
        return Retention(connection, self.config.db_schema, self.ledger, self.upkeep.contract, oldest)

    # --- the ledger

    def _ledger(self) -> Iterator[Chore]:
        with self._step(changes=not self.upkeep.dry_run) as (connection, oid):
            pruned = 0 if oid is None else self._prune(connection)
        yield Chore("ledger", pruned)

    def _prune(self, connection: Connection) -> int:
        """Delete the entries of sets that are staged no longer, but never the newest entry: it answers for them all.

        A load is done when its entry or a newer one is there (`Ledger.find`), so the newest one is the floor.
        """
        place, settled = (self.config.db_schema, self._table), self.upkeep.settled
        if self.upkeep.dry_run:
            return int(connection.run(f"SELECT count(*) {_FORGETTABLE.format(self._loads)}", *place, settled)[0][0])
        return connection.change(f"DELETE {_FORGETTABLE.format(self._loads)}", *place, settled)

    @property
    def _loads(self) -> str:
        return sql.qualified(self.ledger.schema, "loads")

    # --- what attempts left

    def _leftovers(self) -> Iterator[Chore]:
        with self._step(changes=not self.upkeep.dry_run) as (connection, oid):
            applied = 0 if oid is None else self.ledger.position(connection, self._table)
            found = left_over(connection, self.config, self._table, applied)
            if not self.upkeep.dry_run:
                drop(connection, self.config.ledger_schema, found)
        yield Chore("leftovers", files=len(found))

    # --- the planner's statistics

    def _statistics(self) -> Sequence[Chore]:
        context = self.database.context(self._table)
        with self.database.transaction(context) as connection:
            oid = self._oid(connection, lock=False)
            if oid is None or not connection.run(_ANALYZABLE, oid)[0][0]:
                return ()
            if not self.upkeep.dry_run:
                connection.run(f"ANALYZE {sql.qualified(self.config.db_schema, self._table)}", slow=True)
                self._commit(connection)
        return (Chore("statistics"),)


def maintain(database: Database, config: PostgreSQLConfig, ledger: Ledger, upkeep: Upkeep) -> Sequence[Chore]:
    """Maintain one table; see `Maintenance.run`."""
    return Maintenance(database, config, ledger, upkeep).run()


_FORGETTABLE = (
    "FROM {0} AS l WHERE l.table_schema = $1::text AND l.table_name = $2::text AND l.sequence <= $3::bigint "
    "AND l.sequence < (SELECT max(m.sequence) FROM {0} AS m "
    "WHERE m.table_schema = $1::text AND m.table_name = $2::text)"
)

# Changed rows since the last time, and the right to; to analyse another's table is its owner's, or autovacuum's, work.
_ANALYZABLE = """
SELECT coalesce(pg_stat_get_mod_since_analyze(c.oid), 0) + coalesce((SELECT
        sum(pg_stat_get_mod_since_analyze(relid))::bigint FROM pg_partition_tree(c.oid) WHERE relid <> c.oid), 0) > 0
    AND (pg_has_role(c.relowner, 'USAGE') OR CASE WHEN current_setting('server_version_num')::int >= 170000
        THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END)
FROM pg_class AS c WHERE c.oid = $1::bigint::oid
"""
