"""Rows that are gone from the source and stay, because rows of other tables still reference them: remembered by key."""

from __future__ import annotations

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import TableContract

from . import sql
from .connection import Connection
from .sql import FREE, GONE, STAGE, literal


class Spared:
    """The remembered keys of the tables of one schema. Changed only under the table's lock in the ledger."""

    def __init__(self, ledger_schema: str, db_schema: str) -> None:
        self.relation = sql.qualified(ledger_schema, "spared")
        self._db_schema = db_schema

    def _of_table(self, table: str) -> str:
        return f"q.table_schema = {literal(self._db_schema)} AND q.table_name = {literal(table)}"

    def holds(self, connection: Connection, table: str) -> bool:
        """Tell whether rows of a table are remembered."""
        return bool(
            connection.run(f"SELECT EXISTS (SELECT FROM {self.relation} AS q WHERE {self._of_table(table)})")[0][0]
        )

    def names(self, contract: TableContract, alias: str) -> str:
        """Return the condition that the key of `alias` is remembered."""
        return (
            f"EXISTS (SELECT FROM {self.relation} AS q WHERE {self._of_table(contract.table)} "
            f"AND {sql.same_stored_key(contract, 'q.row_key', alias)})"
        )

    def add_to_gone(self, connection: Connection, table: str, contract: TableContract) -> None:
        """Give the remembered rows that the table still holds another chance, unless they are staged again."""
        connection.run(
            f"INSERT INTO {GONE} SELECT {sql.listed(contract.key, 't')}, true FROM {self.relation} AS q "
            f"JOIN {table} AS t ON {sql.same_stored_key(contract, 'q.row_key', 't')} "
            f"WHERE {self._of_table(contract.table)} "
            f"AND NOT EXISTS (SELECT FROM {STAGE} AS s WHERE {sql.same_key(contract, 's', 't')}) "
            f"AND NOT EXISTS (SELECT FROM {GONE} AS g WHERE {sql.same_key(contract, 'g', 't')})",
            slow=True,
        )

    def remember(self, connection: Connection, plan: LoadPlan) -> int:
        """Remember the gone rows that had to stay, and these only; return how many they are."""
        contract = plan.contract
        # A row that waits for its parent is staged, so it is not gone.
        staged = f"EXISTS (SELECT FROM {STAGE} AS s WHERE {sql.same_key(contract, 's', 'g')})"
        stays = f"FROM {GONE} AS g WHERE NOT g.{FREE} AND NOT {staged}"
        connection.run(
            f"DELETE FROM {self.relation} AS q WHERE {self._of_table(plan.table)} "
            f"AND NOT EXISTS (SELECT {stays} AND {sql.same_stored_key(contract, 'q.row_key', 'g')})",
            slow=True,
        )
        names = ", ".join(literal(name) for name in contract.key)
        values = ", ".join(f"g.{sql.quote(name)}::text" for name in contract.key)
        connection.run(
            f"INSERT INTO {self.relation} (table_schema, table_name, sequence, row_key) "
            f"SELECT {literal(self._db_schema)}, {literal(plan.table)}, $1::bigint, "
            f"jsonb_object(ARRAY[{names}], ARRAY[{values}]) {stays} AND NOT {self.names(contract, 'g')}",
            plan.sequence,
            slow=True,
        )
        return int(connection.run(f"SELECT count(*) {stays}", slow=True)[0][0])

    def forget_absent(self, connection: Connection, table: str, contract: TableContract) -> None:
        """Forget rows that the table, qualified and quoted, no longer holds."""
        connection.run(
            f"DELETE FROM {self.relation} AS q WHERE {self._of_table(contract.table)} "
            f"AND NOT EXISTS (SELECT FROM {table} AS t WHERE {sql.same_stored_key(contract, 'q.row_key', 't')})",
            slow=True,
        )

    def forget_table(self, connection: Connection, table: str) -> None:
        """Forget all rows of a table."""
        connection.run(f"DELETE FROM {self.relation} AS q WHERE {self._of_table(table)}")
