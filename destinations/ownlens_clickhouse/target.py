"""One table in the store, with the internal tables that attempts to load it have made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.exceptions import ClickHouseError

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .attempts import PREFIX, Internal, parse, table_key
from .client import NOT_FOUND_COLUMN, UNKNOWN_TABLE, Store, has_code
from .definition import TableDefinition
from .described import Described, describe
from .ledger import Ledger, Standing
from .redo import Redo, note_of, read_redo
from .shape import Shape, find_ttl, moments, ttl_of

# Rows that expire sooner may vanish while a load is counted.
_ABOUT_TO_EXPIRE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one partition: all, and those that the table's TTL will not drop soon."""

    rows: int
    lasting: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows by partition id: those of a staged table, and those of the target that its load may change."""

    staged: Mapping[str, Count]
    held: Mapping[str, Count]

    @property
    def rows(self) -> int:
        """All staged rows."""
        return sum(each.rows for each in self.staged.values())


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
    tables: Mapping[str, Described] = field(default_factory=dict)
    here: Described | None = None

    @property
    def ttl(self) -> str:
        """The target's TTL; nothing when it has none, or is not there."""
        return ttl_of(self.here) if self.here else ""

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
    owes nothing to the table's definition either. `ttl` is the table's TTL, once it was seen; it is asked for else.
    `has_parts` says that the table was seen, and keeps rows of its own.
    """

    store: Store
    ledger: Ledger
    contract: TableContract
    definition: TableDefinition
    replaces: bool = False
    anew: bool = False
    ttl: str | None = None
    has_parts: bool = False

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
        return int(self.store.rows(f"SELECT count() {self._visible(self._engine_of(self.table))}")[0][0])

    def rows_of(self, stage: str, engine: str) -> tuple[int, int]:
        """Count all rows of a staged table, and those that this one, of such an engine, shows."""
        staged = f"SELECT count() FROM {self.store.name(stage)}"
        rows = self.store.rows(f"SELECT ({staged}), (SELECT count() {self._visible(engine)})")[0]
        return int(rows[0]), int(rows[1])

    def _visible(self, engine: str) -> str:
        return f"FROM {self.name}{' FINAL' if 'Replacing' in engine else ''}"

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

    def partitions(self, name: str, *, where: str = "true") -> Mapping[str, Count]:
        """Count the rows of a table (its quoted name), or some of them, by partition id."""
        return _counts(self.store.rows(sql.count_partitions(name, where=where, lasting=self.lasting())))

    def landed(self, *, where: str = "true") -> tuple[UUID | None, Mapping[str, Count]]:
        """Count the table's rows, or some of them, by partition id; and return the UUID that it has then."""
        lasting, also = self.lasting(), self.uuid_then()
        rows = self._some(where, lambda some: sql.count_partitions(self.name, where=some, lasting=lasting, also=also))
        uuid = UUID(str(rows[0][3])) if rows and rows[0][3] else self.uuid_of(self.table)
        return uuid, _counts(rows)

    def uuid_then(self) -> str:
        """Write what a query about the table's rows adds to learn the UUID of the table that it reads."""
        return f"toString(({sql.find_uuid(self.store.database, self.table)}))"

    def tally(self, stage: str, *, where: str | None) -> Tally:
        """Count the rows of a staged table, and those of this one that a condition, if any, chooses."""
        lasting = self.lasting()
        own = sql.count_partitions(self.store.name(stage), where="true", lasting=lasting, also="1")
        if where is None:
            return Tally(_counts(self.store.rows(own)), {})

        def both(some: str) -> str:
            return f"{own} UNION ALL {sql.count_partitions(self.name, where=some, lasting=lasting, also='0')}"

        rows = self._some(where, both)
        return Tally(_counts(row for row in rows if int(row[3])), _counts(row for row in rows if not int(row[3])))

    def _some(self, where: str, query: Callable[[str], str]) -> Sequence[Sequence[Any]]:
        """Ask about the rows that a condition chooses, or about all where ClickHouse cannot choose by partition."""
        try:
            return self.store.rows(query(where))
        except ClickHouseError as error:
            # 26.9 chooses no partition by its id in a table with a column of the name `_part`.
            if not has_code(error, NOT_FOUND_COLUMN):
                raise
            return self.store.rows(query("true"))

    def lasting(self) -> str:
        """Return the condition of rows that the table's TTL will not drop while a load is counted."""
        moment = (datetime.now(UTC) + _ABOUT_TO_EXPIRE).strftime("%Y-%m-%d %H:00:00")
        later = f" > toDateTime64({sql.literal(moment)}, 0, 'UTC')"
        return " AND ".join(f"({each}){later}" for each in self.moments()) or "true"

    def moments(self) -> list[str]:
        """Return the expressions of the moments after which the table's rows may go, whoever set them."""
        return list(moments(find_ttl(self.store, self.table) if self.ttl is None else self.ttl))

    def survey(self, *, columns: bool = False, definition: bool = False) -> Survey:
        """Find the target, and everything that attempts to load it have made and not dropped.

        With their columns, and the text of their definitions, if asked.
        """
        tables = self._described(columns=columns, definition=definition)
        here = tables.get(self.table)
        # The lock that a claim goes through for a moment has no owner in its name; its comment has.
        owned = ((each, parse(each.name) or parse(each.comment)) for each in tables.values() if each is not here)
        leftovers = [Leftover(each.name, each.uuid, label, read_redo(each.comment)) for each, label in owned if label]
        redo = read_redo(here.comment) if here else None
        return Survey(here.uuid if here else None, redo, tuple(leftovers), tables, here)

    def _described(self, *, columns: bool, definition: bool) -> dict[str, Described]:
        prefix = f"{PREFIX}{table_key(self.table)}_"
        if columns and self.has_parts:
            try:
                return describe(self.store, self.table, prefix=prefix, columns=True, definition=definition, rows=True)
            except Exception as error:
                if not has_code(error, UNKNOWN_TABLE):
                    raise
        return describe(self.store, self.table, prefix=prefix, columns=columns, definition=definition)

    def require_uuid(self, stage: str) -> UUID:
        """Return a staged table's UUID.

        Raises:
            Retryable: another attempt has taken the table away.
        """
        if uuid := self.uuid_of(stage):
            return uuid
        raise Retryable(f"{self.table}: clickhouse: the staged rows were swept away; run the load again")

    def begin(self, redo: Redo, stage: str, comment: str) -> None:
        """Record on the staged table that its rows are all there, and what they are to become.

        A table that takes this one's place keeps the note that its owner wrote into its comment.
        """
        note = note_of(comment) if redo.exchanges else ""
        self.store.run(sql.comment(self.store.name(stage), redo.text(note)))

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


def _counts(rows: Iterable[Sequence[Any]]) -> dict[str, Count]:
    return {str(row[0]): Count(int(row[1]), int(row[2])) for row in rows}


def require_table(target: Target, shape: Shape) -> None:
    """Refuse what only shows rows that lie elsewhere.

    Raises:
        Rejected: a view or a dictionary has the table's name.
    """
    if shape.is_view:
        raise Rejected(
            f"{target.table}: clickhouse {target.name} is a {shape.family}, not a table; drop or rename it first"
        )
