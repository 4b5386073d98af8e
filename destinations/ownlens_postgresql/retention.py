"""Delete the rows that are older than a contract keeps them, batch by batch; rows that others reference stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ownlens_plugins.contracts import TableContract

from . import sql
from .catalog import ForeignKey, foreign_keys_to
from .columns import type_name
from .connection import Connection
from .counting import moment_of
from .deleting import Going, child_of_t
from .ledger import Ledger

# Loads of the table wait for one batch, and not for the whole backlog of a table that got a retention today.
BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that went, or would go, with one transaction, and old rows that are left because others reference them."""

    deleted: int
    left: int = 0
    last: bool = True


@dataclass(frozen=True)
class Retention:
    """The rows of one table that are older than the `oldest` day that stays, as one transaction sees them."""

    connection: Connection
    schema: str
    ledger: Ledger
    contract: TableContract
    oldest: date

    @property
    def _table(self) -> str:
        return sql.qualified(self.schema, self.contract.table)

    @property
    def _old(self) -> str:
        return self._before(f"t.{sql.quote(str(self.contract.partition_by))}")

    def _before(self, value: str) -> str:
        return f"{value} < {moment_of(self.oldest, self.contract.column(str(self.contract.partition_by)).type)}"

    def would_go(self, oid: int) -> Batch:
        """Count, and change nothing: the caller rolls back what is listed here."""
        keys = foreign_keys_to(self.connection, oid)
        self._list(keys, limit=None, lock=False)
        self._going().keep_referenced(keys, lock=False)
        return Batch(*self.connection.run(_FREE_AND_NOT, slow=True)[0])

    def delete_batch(self, oid: int) -> Batch:
        """Delete some rows. The caller holds the table's lock in the ledger, and commits.

        Raises:
            Rejected: the role may not see which rows others reference, or a trigger keeps rows.
        """
        keys = foreign_keys_to(self.connection, oid)
        # Rows of the same table that reference one another are looked at as a whole: a ring could lie in two batches.
        limit = None if any(key.is_own for key in keys) else BATCH_ROWS
        listed = self._list(keys, limit=limit, lock=bool(keys))
        going = self._going()
        # They are locked already: those that a load just references are not waited for, which could be a deadlock.
        going.keep_referenced(keys, lock=False)
        deleted = going.delete()
        self._counted_out(deleted)
        if limit is not None and listed == limit and deleted:
            return Batch(deleted, last=False)
        return Batch(deleted, self._left() if keys else 0)

    def _going(self) -> Going:
        return Going(self.connection, self.contract, self._table, self._old)

    def _list(self, keys: Sequence[ForeignKey], *, limit: int | None, lock: bool) -> int:
        """List the keys of the oldest rows that nothing in other tables references; return how many."""
        free = "".join(f" AND NOT EXISTS (SELECT FROM {k.child} AS c WHERE {child_of_t(k)})" for k in _of_others(keys))
        # A plan without a lock counts what stays, too.
        where = f"{self._old}{free if lock and not any(key.grant for key in keys) else ''}"
        rest = ("" if limit is None else f" LIMIT {limit}") + (" FOR UPDATE OF t SKIP LOCKED" if lock else "")
        self.connection.run(
            f"CREATE TEMP TABLE {sql.quote(sql.GONE_NAME)} ON COMMIT DROP AS "
            f"SELECT {sql.listed(self.contract.key, 't')}, true AS {sql.FREE} FROM {self._table} AS t "
            f"WHERE {where}{rest}",
            slow=True,
        )
        return int(self.connection.run(f"SELECT count(*) FROM {sql.GONE}")[0][0])

    def _left(self) -> int:
        return int(self.connection.run(f"SELECT count(*) FROM {self._table} AS t WHERE {self._old}", slow=True)[0][0])

    def _counted_out(self, deleted: int) -> None:
        """Tell the ledger, in the same step: a table without rows that should have some is taken for a lost one."""
        if not deleted:
            return
        tables = sql.qualified(self.ledger.schema, "tables")
        self.connection.run(
            f"UPDATE {tables} SET rows_loaded = CASE WHEN EXISTS (SELECT FROM {self._table}) "
            "THEN greatest(rows_loaded - $3::bigint, 0) ELSE 0 END "
            "WHERE table_schema = $1::text AND table_name = $2::text",
            self.schema,
            self.contract.table,
            deleted,
            slow=True,
        )
        if self.ledger.spared.holds(self.connection, self.contract.table):
            self.ledger.spared.forget_absent(self.connection, self._table, self.contract)

    # --- rows that wait for their parents

    @property
    def _waiting(self) -> str:
        column = self.contract.column(str(self.contract.partition_by))
        return self._before(f"(q.staged_row ->> {sql.literal(column.name)})::{type_name(column.type)}")

    def waiting(self) -> int:
        """Count the rows in the quarantine that are as old."""
        return self.ledger.quarantine.count_where(self.connection, self.contract.table, self._waiting)

    def forget_waiting(self) -> int:
        """Delete them, and return how many they were."""
        return self.ledger.quarantine.forget_where(self.connection, self.contract.table, self._waiting)


def _of_others(keys: Sequence[ForeignKey]) -> list[ForeignKey]:
    return [key for key in keys if not key.is_own]


_FREE_AND_NOT = f"SELECT count(*) FILTER (WHERE {sql.FREE}), count(*) FILTER (WHERE NOT {sql.FREE}) FROM {sql.GONE}"
