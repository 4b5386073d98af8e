"""One table in the store, with the internal tables that attempts to load it have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ownlens_plugins.contracts import TableContract

from . import sql
from .attempts import PREFIX, Internal, parse, table_key
from .client import UNKNOWN_TABLE, Store, has_code
from .definition import TableDefinition
from .ledger import Entry, Ledger, Standing, read_redo

# Rows that expire sooner may vanish while a load is counted.
_ABOUT_TO_EXPIRE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one partition: all, and those that the table's TTL will not drop soon."""

    rows: int
    lasting: int


@dataclass(frozen=True, slots=True)
class Leftover:
    """An internal table or view found in the store. `label` is its creator's name for it."""

    table: str
    uuid: UUID
    label: Internal
    redo: Entry | None

    @property
    def is_claim(self) -> bool:
        """Whether it carries, or is about to carry, the right to commit in a shared store."""
        return self.label.is_claim or self.table != self.label.name

    def begun(self, position: int) -> Entry | None:
        """Return the load whose rows it holds, if that was begun and is not applied."""
        return _unapplied(self.redo, self.uuid, position)


@dataclass(frozen=True, slots=True)
class Survey:
    """The target and everything that attempts to load it have made and not dropped."""

    uuid: UUID | None
    redo: Entry | None
    leftovers: tuple[Leftover, ...]

    def exchanged(self, position: int) -> Entry | None:
        """Return the overwrite whose rows the target shows already, if it is not recorded."""
        return None if self.uuid is None else _unapplied(self.redo, self.uuid, position)

    def begun(self, position: int) -> bool:
        """Tell whether any load was begun and is not applied."""
        here = (leftover.begun(position) for leftover in self.leftovers)
        return self.exchanged(position) is not None or any(here)


def _unapplied(redo: Entry | None, holder: UUID, position: int) -> Entry | None:
    # A table keeps the record of the load that made it, and a copy of its definition takes the record along.
    return redo if redo is not None and redo.stage == holder and redo.sequence >= position else None


@dataclass(frozen=True)
class Target:
    """A contract's table, the store it is in, and the ledger beside it."""

    store: Store
    ledger: Ledger
    contract: TableContract
    definition: TableDefinition

    @property
    def table(self) -> str:
        return self.contract.table

    @property
    def name(self) -> str:
        return self.store.name(self.table)

    def for_attempt(self, label: Internal) -> Target:
        """Return the same table; the ids of the statements sent to it tell whose they are."""
        store = self.store.naming(f"{label.statements}{label.role}_")
        return replace(self, store=store, ledger=Ledger(store))

    def standing(self, sequence: int) -> Standing:
        """Return how far the table has come, as seen from one load."""
        return self.ledger.standing(self.table, sequence)

    def uuid_of(self, table: str) -> UUID | None:
        """Return a table's UUID, which stays with its rows when it is renamed or exchanged; None when absent."""
        rows = self.store.rows(
            "SELECT uuid FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            database=self.store.database,
            table=table,
        )
        return UUID(str(rows[0][0])) if rows else None

    def partitions(self, name: str, *, sequence: int | None = None) -> Mapping[str, Count]:
        """Count the rows of a table (its quoted name), or those of one load, by partition id."""
        query = sql.count_partitions(name, sequence=sequence, lasting=self._lasting())
        return {str(row[0]): Count(int(row[1]), int(row[2])) for row in self.store.rows(query)}

    def _lasting(self) -> str:
        if self.definition.ttl is None:
            return "true"
        moment = (datetime.now(UTC) + _ABOUT_TO_EXPIRE).strftime("%Y-%m-%d %H:00:00")
        return f"{self.definition.ttl} > toDateTime64({sql.literal(moment)}, 0, 'UTC')"

    def survey(self) -> Survey:
        """Find the target, and everything that attempts to load it have made and not dropped."""
        rows = self.store.rows(
            "SELECT name, uuid, comment FROM system.tables WHERE database = {database:String} "
            "AND (name = {table:String} OR startsWith(name, {prefix:String})) ORDER BY name",
            database=self.store.database,
            table=self.table,
            prefix=f"{PREFIX}{table_key(self.table)}_",
        )
        uuid, redo, leftovers = None, None, []
        for name, found, comment in ((str(row[0]), UUID(str(row[1])), str(row[2])) for row in rows):
            if name == self.table:
                uuid, redo = found, read_redo(comment)
            # The lock that a claim goes through for a moment has no owner in its name; its comment has.
            elif label := parse(name) or parse(comment):
                leftovers.append(Leftover(name, found, label, read_redo(comment)))
        return Survey(uuid, redo, tuple(leftovers))

    def begin(self, entry: Entry, stage: str) -> None:
        """Record on the staged table that its rows are all there, and what they are to become."""
        self.store.run(sql.comment(self.store.name(stage), entry.redo()))

    def drop(self, table: str) -> None:
        """Drop an internal table or view, and wait until no statement uses it."""
        self.store.run(sql.drop(self.store.name(table), self._cluster_of(table)))

    def rename(self, old: str, new: str) -> bool:
        """Rename an internal table; return False when it is gone already.

        Raises:
            ClickHouseError: the new name is taken.
        """
        try:
            self.store.run(sql.rename(self.store.name(old), self.store.name(new), self._cluster_of(old)))
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE):
                return False
            raise
        return True

    def _cluster_of(self, table: str) -> str | None:
        # A staged table is on all nodes only if it is to become the target.
        if self.definition.cluster is None:
            return None
        rows = self.store.rows(
            "SELECT engine FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            database=self.store.database,
            table=table,
        )
        return self.definition.cluster if rows and str(rows[0][0]).startswith("Replicated") else None
