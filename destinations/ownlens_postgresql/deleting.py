"""Delete the rows that are gone from the source, and spare those that rows of other tables still reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .catalog import ForeignKey, foreign_keys_to
from .connection import Connection
from .sparing import Spared

EVERYWHERE = "true"
NOWHERE = "false"


@dataclass(frozen=True)
class Going:
    """The rows of one table whose keys are listed in `sql.GONE`, and which are in `scope`, a condition on `t`.

    `table` is qualified and quoted.
    """

    connection: Connection
    contract: TableContract
    table: str
    scope: str = EVERYWHERE

    def keep_referenced(self, keys: Sequence[ForeignKey], *, lock: bool = True) -> None:
        """Take what these foreign keys still reference out of the rows that go.

        Raises:
            Rejected: the role may not look into a table that references this one.
        """
        self._require_readable(keys)
        # Locked before the look for children, and not after: a child that another session inserts in between would
        # make the DELETE fail, or go with it where the foreign key cascades.
        if lock:
            self.connection.run(_lock_gone(self.table, self.contract), slow=True)
        for key in keys:
            if not key.is_own:
                self._keep(key)
        own = [key for key in keys if key.is_own]
        # A row that stays keeps the row that it references, which keeps another one.
        while sum(self._keep(key) for key in own):
            pass

    def _require_readable(self, keys: Sequence[ForeignKey]) -> None:
        if grants := [key.grant for key in keys if key.grant]:
            children = ", ".join(dict.fromkeys(key.child for key in keys if key.grant))
            raise Rejected(
                f"{self.contract.table}: postgresql cannot see which rows {children} references, and so delete none; "
                f"run {'; '.join(dict.fromkeys(grants))}"
            )

    def _keep(self, key: ForeignKey) -> int:
        return self.connection.change(_keep_referenced(self.table, self.contract, key), slow=True)

    def delete(self) -> int:
        """Delete the others, and return how many they were.

        Raises:
            Rejected: something in the database keeps rows that nothing references.
        """
        # One statement: rows that reference one another go together.
        deleted = self.connection.change(_delete_gone(self.table, self.contract, self.scope), slow=True)
        free, left = self.connection.run(_count_gone(self.table, self.contract, self.scope), slow=True)[0]
        if left:
            raise Rejected(
                f"{self.contract.table}: postgresql deleted {free - left} of {free} rows; "
                f"a trigger or rule of {self.table} keeps the others: disable it for the loader"
            )
        return deleted


@dataclass(frozen=True)
class Deleting:
    """The deletes of one load. `table` is qualified and quoted, `oid` its own."""

    connection: Connection
    plan: LoadPlan
    table: str
    oid: int
    spared: Spared

    def run(self, scope: str, *, waiting_stay: bool) -> tuple[int, int]:
        """Delete what is not staged of the rows in `scope`, a condition on `t`, and of the rows spared before.

        With `waiting_stay`, a row of which only a version without its parent is staged is left as it is.

        Returns:
            How many rows were deleted, and how many are gone and stay.

        Raises:
            Rejected: something in the database keeps rows that nothing references.
        """
        contract = self.plan.contract
        self.connection.run(sql.create_gone(self.table, contract, scope, waiting_stay=waiting_stay), slow=True)
        self.spared.add_to_gone(self.connection, self.table, contract)
        going = Going(self.connection, contract, self.table)
        if keys := foreign_keys_to(self.connection, self.oid):
            going.keep_referenced(keys)
        return going.delete(), self.spared.remember(self.connection, self.plan)


def _lock_gone(table: str, contract: TableContract) -> str:
    """Return the statement that keeps others from referencing the rows that may go."""
    return (
        f"WITH locked AS (SELECT FROM {table} AS t JOIN {sql.GONE} AS g ON {sql.same_key(contract, 'g', 't')} "
        f"ORDER BY {sql.listed(contract.key, 't')} FOR UPDATE OF t) SELECT count(*) FROM locked"
    )


def _keep_referenced(table: str, contract: TableContract, child: ForeignKey) -> str:
    """Return the UPDATE that unfrees the rows that a row which stays references by a foreign key."""
    stays = (
        f"AND NOT EXISTS (SELECT FROM {sql.GONE} AS x WHERE x.{sql.FREE} AND {sql.same_key(contract, 'x', 'c')})"
        if child.is_own
        else ""
    )
    return (
        f"UPDATE {sql.GONE} AS g SET {sql.FREE} = false FROM {table} AS t "
        f"WHERE g.{sql.FREE} AND {sql.same_key(contract, 'g', 't')} "
        f"AND EXISTS (SELECT FROM {child.child} AS c WHERE {child_of_t(child)} {stays})"
    )


def _delete_gone(table: str, contract: TableContract, scope: str) -> str:
    same = sql.same_key(contract, "g", "t")
    return f"DELETE FROM {table} AS t USING {sql.GONE} AS g WHERE g.{sql.FREE} AND {same} AND ({scope})"


def _count_gone(table: str, contract: TableContract, scope: str) -> str:
    """Return the count of the rows that should have gone, and of those of them that the table still holds."""
    return (
        f"SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {table} AS t "
        f"WHERE {sql.same_key(contract, 'g', 't')} AND ({scope}))) FROM {sql.GONE} AS g WHERE g.{sql.FREE}"
    )


def child_of_t(key: ForeignKey) -> str:
    signs = ["="] * len(key.columns)
    if key.by_period:  # a row that covers part of a child's time may be one that the child needs
        signs[-1] = "&&"
    pairs = zip(key.columns, signs, key.parent_columns, strict=True)
    return " AND ".join(f"c.{sql.quote(column)} {sign} t.{sql.quote(parent)}" for column, sign, parent in pairs)
