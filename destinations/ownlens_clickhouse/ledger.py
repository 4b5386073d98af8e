"""The database's own record of the loads that are applied.

The ledger row is written when all rows of a load are visible. It names the table that they are in by UUID, and the
table's life: a table that was dropped and made again begins a new one, in which no load is applied yet.

Entries that maintenance forgets leave a floor: an entry without a load id that counts the rows they have left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import UUID

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.commands import refresh_options
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import StagedSetChanged

from . import sql
from .client import UNKNOWN_COLUMN, UNKNOWN_DATABASE, UNKNOWN_TABLE, Store, has_code

LEDGER = "_ownlens_ledger"
# A ledger of an older version does not know which table it wrote.
NO_TABLE = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One load of one table. Field names are the ledger's column names.

    `stage` is the UUID of the table that holds the staged rows, by which a finisher knows it under any name. `target`
    is the UUID of the table that the load was applied to, and `life` counts how often the table began anew.
    """

    table: str
    sequence: int
    load_id: str
    digest: str
    strategy: Strategy
    rows: int
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    rejected: int
    bytes: int
    contract: str
    ownlens: str
    stage: UUID
    begun_at: datetime
    committed_at: datetime
    seconds: float
    life: int = 0
    target: UUID = NO_TABLE

    def result(self) -> LoadResult:
        """Return the result as it was when the load was applied."""
        return LoadResult(
            load_id=self.load_id,
            digest=self.digest,
            rows=self.rows,
            inserted=self.inserted,
            updated=self.updated,
            unchanged=self.unchanged,
            deleted=self.deleted,
            committed_at=self.committed_at,
        )

    def committed(self, target: UUID) -> Entry:
        """Return the entry as the ledger keeps it, of a load that the table of this UUID shows."""
        now = datetime.now(UTC)
        return replace(self, committed_at=now, seconds=(now - self.begun_at).total_seconds(), target=target)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load does to the rows of the table."""

    inserted: int
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


_TYPES = {
    "str": "String",
    "Strategy": "String",
    "int": "UInt64",
    "UUID": "UUID",
    "datetime": "DateTime64(6, 'UTC')",
    "float": "Float64",
}
_COLUMNS = {field.name: _TYPES[str(field.type)] for field in fields(Entry)}
# What ledgers have gained since the first version; rows from before have 0 there.
_GAINED = ("life", "target")
_LAST = 2**64 - 1
_NAMES = ", ".join(f"`{name}`" for name in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a table has come in its present life, as seen from one load: its own entry, and the newest one."""

    this: Entry | None = None
    newest: Entry | None = None
    life: int = 0

    @property
    def position(self) -> int:
        """The first sequence that may still be applied."""
        return 0 if self.newest is None else self.newest.sequence + 1

    def outcome(self, plan: LoadPlan) -> LoadResult | None:
        """Return what this load has become, or None when it is still to be applied.

        Raises:
            StagedSetChanged: it was applied from other bytes.
        """
        if self.this is not None:
            if self.this.digest != plan.digest:
                raise StagedSetChanged(
                    f"{plan.table}: {plan.destination} holds load {plan.load_id} with another digest, so it was "
                    f"loaded from other staged sets; fill all destinations anew with {refresh_options(plan.table)}"
                )
            return self.this.result()
        if self.newest is None or plan.sequence >= self.position:
            return None
        moment = self.newest.committed_at
        return LoadResult(plan.load_id, plan.digest, rows=0, inserted=0, replayed=True, committed_at=moment)


class Ledger:
    """Reads and writes the ledger of one database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = store.name(LEDGER)

    @property
    def name(self) -> str:
        """The quoted name of the ledger's table, with its database."""
        return self._name

    @property
    def table(self) -> str:
        """The bare name of the ledger's table."""
        return LEDGER

    def create(self, *, replicated: bool = False, cluster: str | None = None) -> None:
        """Create the ledger if absent, with all columns. The first table that is loaded decides where it is."""
        self._store.run(create_ledger(self._name, replicated=replicated, cluster=cluster))
        held = self._store.rows(
            "SELECT count() FROM system.columns WHERE database = {database:String} AND table = {table:String} "
            "AND has({names:Array(String)}, name)",
            database=self._store.database,
            table=LEDGER,
            names=list(_GAINED),
        )
        if int(held[0][0]) < len(_GAINED):
            self._widen()

    def _widen(self) -> None:
        # Replicas of the ledger hear of it by themselves.
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS `{name}` {_COLUMNS[name]}" for name in _GAINED)
        self._store.run(f"ALTER TABLE {self._name} {added}")

    def newest(self, table: str) -> Entry | None:
        """Return the newest load of the table's newest life; None when there is none, or no ledger yet."""
        try:
            return self._newest(table)
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE, UNKNOWN_DATABASE):
                return None
            if not has_code(error, UNKNOWN_COLUMN):
                raise
        self._widen()
        return self._newest(table)

    def _newest(self, table: str) -> Entry | None:
        return self._entry("ORDER BY `life` DESC, `sequence` DESC LIMIT 1", table=table)

    def like(self, newest: Entry, sequence: int) -> Entry | None:
        """Return the load of that sequence in the life of the newest one; None when it was not applied then."""
        if sequence > newest.sequence or (sequence == newest.sequence and newest.load_id):
            return newest if sequence == newest.sequence else None
        return self._entry(
            "AND `life` = {life:UInt64} AND `sequence` = {sequence:UInt64} AND `load_id` != ''",
            table=newest.table,
            life=newest.life,
            sequence=sequence,
        )

    def _entry(self, rest: str, /, **values: Any) -> Entry | None:
        query = f"SELECT {_NAMES} FROM {self._name} WHERE `table` = {{table:String}} {rest}"
        rows = self._store.rows(query, **values)
        return entry_of(dict(zip(_COLUMNS, rows[0], strict=True))) if rows else None

    def position(self, table: str) -> int:
        """Return the highest sequence of a table in all its lives; 0 when there is none, or no ledger yet."""
        query = f"SELECT max(`sequence`) FROM {self._name} WHERE `table` = {{table:String}}"
        try:
            return int(self._store.rows(query, table=table)[0][0])
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE, UNKNOWN_DATABASE):
                return 0
            raise

    def expected_rows(self, table: str, life: int, *, up_to: int | None = None) -> int:
        """Return how many rows a table shows by what its loads have counted; rows that expired are among them."""
        counted = self._store.rows(
            # A floor, which counts like an overwrite, comes after what it stands for.
            f"SELECT `strategy`, `inserted`, `deleted` FROM {self._name} WHERE `table` = {{table:String}} "
            "AND `life` = {life:UInt64} AND `sequence` <= {last:UInt64} ORDER BY `sequence`, `load_id` = ''",
            table=table,
            life=life,
            last=_LAST if up_to is None else up_to,
        )
        rows = 0
        for strategy, inserted, deleted in counted:
            rows = int(inserted) + (0 if strategy == Strategy.OVERWRITE else rows - int(deleted))
        return rows

    def record(self, entry: Entry, stage: str) -> None:
        """Record that a load's rows are all visible.

        Counting the staged table makes the statement fail once another attempt has renamed that table: an attempt
        that was taken over records nothing.
        """
        self._insert(entry, f" FROM (SELECT count() FROM {stage})")

    def add(self, entry: Entry) -> None:
        """Add an entry that is no load's."""
        self._insert(entry, "")

    def _insert(self, entry: Entry, source: str) -> None:
        values = ", ".join(f"{{{column}:{kind}}}" for column, kind in _COLUMNS.items())
        self._store.run(
            f"INSERT INTO {self._name} ({_NAMES}) SELECT {values}{source}",
            **dict(zip(_COLUMNS, map(_bound, astuple(entry)), strict=True)),
        )


def create_ledger(name: str, *, replicated: bool, cluster: str | None) -> str:
    """Write the statement that creates the ledger."""
    columns = ", ".join(f"`{column}` {kind}" for column, kind in _COLUMNS.items())
    engine = "ReplicatedMergeTree" if replicated else "MergeTree"
    create = f"CREATE TABLE IF NOT EXISTS {name}{sql.everywhere(cluster)} ({columns})"
    return f"{create} ENGINE = {engine} ORDER BY (`table`, `sequence`)"


def entry_for(plan: LoadPlan, changes: Changes, stage: UUID, *, life: int, target: UUID) -> Entry:
    """Describe a load that is about to be applied."""
    now = datetime.now(UTC)
    return Entry(
        table=plan.table,
        sequence=plan.sequence,
        load_id=plan.load_id,
        digest=plan.digest,
        strategy=plan.strategy,
        rows=plan.rows,
        inserted=changes.inserted,
        updated=changes.updated,
        unchanged=changes.unchanged,
        deleted=changes.deleted,
        rejected=plan.rejected,
        bytes=plan.bytes,
        contract=plan.contract.fingerprint,
        ownlens=_own_version(),
        stage=stage,
        begun_at=now,
        committed_at=now,
        seconds=0.0,
        life=life,
        target=target,
    )


def entry_of(values: Mapping[str, Any]) -> Entry:
    """Read an entry; what a record of an older version lacks has its default."""
    named = dict(values)
    for name in ("begun_at", "committed_at"):
        moment = named[name]
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        named[name] = moment.replace(tzinfo=UTC)
    for name in {"stage", "target"} & set(named):
        named[name] = UUID(str(named[name]))
    return Entry(**{**named, "strategy": Strategy(named["strategy"])})


def _bound(value: object) -> object:
    # The driver would bind an aware datetime with whole seconds only.
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


@cache
def _own_version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"
