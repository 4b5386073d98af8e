"""One table in the store, with the internal tables that attempts to load it have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected

from . import sql
from .attempts import PREFIX, Internal, parse, table_key
from .client import UNKNOWN_TABLE, Store, has_code
from .definition import TableDefinition
from .ledger import Ledger, Standing
from .redo import Redo, note_of, read_redo
from .shape import Shape, find_ttl, moments

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
    redo: Redo | None

    @property
    def is_claim(self) -> bool:
        """Whether it carries, or is about to carry, the right to commit in a shared store."""
        return self.label.is_claim or self.table != self.label.name

    @property
    def own_redo(self) -> Redo | None:
        """The record of the load whose rows it holds; a copy of a table's definition takes the record along."""
        return self.redo if self.redo is not None and self.redo.entry.stage == self.uuid else None


@dataclass(frozen=True, slots=True)
class Survey:
    """The target and everything that attempts to load it have made and not dropped."""

    uuid: UUID | None
    redo: Redo | None
    leftovers: tuple[Leftover, ...]

    def exchanged(self, standing: Standing) -> Redo | None:
        """Return the load whose staged table the target is already, if it is not recorded."""
        return self.redo if self.redo is not None and self.redo.is_shown_by(self.uuid, standing) else None

    def begun_by(self, leftover: Leftover, standing: Standing) -> Redo | None:
        """Return the load whose rows a leftover holds, if that was begun and is still to be applied."""
        redo = leftover.own_redo
        return redo if redo is not None and redo.is_for(self.uuid, standing) else None

    def begun(self, standing: Standing) -> bool:
        """Tell whether any load was begun and is not applied."""
        here = (self.begun_by(leftover, standing) for leftover in self.leftovers)
        return self.exchanged(standing) is not None or any(here)

    @property
    def lives(self) -> frozenset[int]:
        """The lives in which loads were begun for the very table that is there."""
        shown = [self.redo] if self.redo is not None and self.redo.entry.stage == self.uuid else []
        begun = [redo for each in self.leftovers if (redo := each.own_redo) and redo.entry.target == self.uuid]
        return frozenset(redo.entry.life for redo in (*shown, *begun))


@dataclass(frozen=True)
class Target:
    """A contract's table, the store it is in, and the ledger beside it.

    `replaces` says that the load at hand leaves nothing of what the table holds, whatever that is, and `anew` that it
    owes nothing to the table's definition either.
    """

    store: Store
    ledger: Ledger
    contract: TableContract
    definition: TableDefinition
    replaces: bool = False
    anew: bool = False

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

    def uuid_of(self, table: str) -> UUID | None:
        """Return a table's UUID, which stays with its rows when it is renamed or exchanged; None when absent."""
        rows = self.store.rows(
            "SELECT uuid FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            database=self.store.database,
            table=table,
        )
        return UUID(str(rows[0][0])) if rows else None

    def visible_rows(self) -> int:
        """Count the rows that the table shows, whatever engine it has; newest versions only."""
        final = " FINAL" if "Replacing" in self._engine_of(self.table) else ""
        return int(self.store.rows(f"SELECT count() FROM {self.name}{final}")[0][0])

    def is_empty(self) -> bool:
        """Tell whether the table has no rows; also one that is gone has none."""
        try:
            return not self.store.rows(f"SELECT 1 FROM {self.name} LIMIT 1")
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE):
                return True
            raise

    def count(self, table: str) -> int:
        """Count all rows of a table, whatever they are to a reader."""
        return int(self.store.rows(f"SELECT count() FROM {self.store.name(table)}")[0][0])

    def partitions(self, name: str, *, sequence: int | None = None) -> Mapping[str, Count]:
        """Count the rows of a table (its quoted name), or those of one load, by partition id."""
        query = sql.count_partitions(name, sequence=sequence, lasting=self.lasting())
        return {str(row[0]): Count(int(row[1]), int(row[2])) for row in self.store.rows(query)}

    def lasting(self) -> str:
        """Return the condition of rows that the table's TTL will not drop while a load is counted."""
        moment = (datetime.now(UTC) + _ABOUT_TO_EXPIRE).strftime("%Y-%m-%d %H:00:00")
        later = f" > toDateTime64({sql.literal(moment)}, 0, 'UTC')"
        return " AND ".join(f"({each}){later}" for each in self.moments()) or "true"

    def moments(self) -> list[str]:
        """Return the expressions of the moments after which the table's rows may go, whoever set them."""
        return list(moments(find_ttl(self.store, self.table)))

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

    def begin(self, redo: Redo, stage: str) -> None:
        """Record on the staged table that its rows are all there, and what they are to become."""
        note = note_of(self._comment()) if redo.exchanges else ""
        self.store.run(sql.comment(self.store.name(stage), redo.text(note)))

    def _comment(self) -> str:
        rows = self.store.rows(
            "SELECT comment FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            database=self.store.database,
            table=self.table,
        )
        return str(rows[0][0]) if rows else ""

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
        return self.definition.cluster if self._engine_of(table).startswith("Replicated") else None

    def _engine_of(self, table: str) -> str:
        rows = self.store.rows(
            "SELECT engine FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            database=self.store.database,
            table=table,
        )
        return str(rows[0][0]) if rows else ""


def require_table(target: Target, shape: Shape) -> None:
    """Refuse what only shows rows that lie elsewhere.

    Raises:
        Rejected: a view or a dictionary has the table's name.
    """
    if shape.is_view:
        raise Rejected(
            f"{target.table}: clickhouse {target.name} is a {shape.family}, not a table; drop or rename it first"
        )
