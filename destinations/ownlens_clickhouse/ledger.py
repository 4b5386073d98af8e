"""The database's own record of loads: what is applied (the ledger), and what was about to be (the redo table).

A redo row is written when a load's rows are staged and counted, before the first of them becomes visible. From then on
the load can only be finished, by whoever comes next. The ledger row is written when all rows are visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import StagedSetChanged

from .client import UNKNOWN_DATABASE, UNKNOWN_TABLE, Store, has_code

LEDGER = "_ownlens_ledger"
REDO = "_ownlens_redo"


@dataclass(frozen=True, slots=True)
class Entry:
    """One load of one table. Field names are column names of both tables.

    `stage` is the UUID of the table that holds the staged rows, by which a finisher knows it under any name.
    """

    table: str
    sequence: int
    load_id: str
    digest: str
    strategy: str
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

    def committed(self) -> Entry:
        """Return the entry as the ledger keeps it."""
        now = datetime.now(UTC)
        return replace(self, committed_at=now, seconds=(now - self.begun_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Changes:
    """What a load does to the rows of the table."""

    inserted: int
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


_TYPES = {"str": "String", "int": "UInt64", "UUID": "UUID", "datetime": "DateTime64(6, 'UTC')", "float": "Float64"}
_COLUMNS = {field.name: _TYPES[str(field.type)] for field in fields(Entry)}
_NAMES = ", ".join(f"`{name}`" for name in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a table has come: this load's entry, the newest one, and loads that were begun after it."""

    this: Entry | None = None
    newest: Entry | None = None
    begun: tuple[Entry, ...] = ()

    @property
    def position(self) -> int:
        """The sequence that the next load comes after, plus one; 0 when nothing is applied."""
        return 0 if self.newest is None else self.newest.sequence + 1

    def outcome(self, plan: LoadPlan) -> LoadResult | None:
        """Return what this load has become, or None when it is still to be applied.

        Raises:
            StagedSetChanged: it was applied from other bytes.
        """
        if self.this is not None:
            if self.this.digest != plan.digest:
                raise StagedSetChanged(
                    f"{plan.table}: {plan.destination} holds load {plan.load_id} with another digest; "
                    "staged sets must not change, so stage the rows again under a new number"
                )
            return self.this.result()
        if self.newest is None or self.newest.sequence < plan.sequence:
            return None
        at = self.newest.committed_at
        return LoadResult(plan.load_id, plan.digest, rows=0, inserted=0, replayed=True, committed_at=at)


class Ledger:
    """Reads and writes both tables of one database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ledger, self._redo = store.name(LEDGER), store.name(REDO)

    def create(self) -> None:
        """Create both tables if absent."""
        columns = ", ".join(f"`{name}` {kind}" for name, kind in _COLUMNS.items())
        for name in (self._ledger, self._redo):
            self._store.run(
                f"CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE = MergeTree ORDER BY (`table`, `sequence`)"
            )

    def standing(self, table: str, sequence: int) -> Standing:
        """Return how far a table has come; nothing at all when there is no ledger yet."""
        newest = f"(SELECT max(`sequence`) FROM {self._ledger} WHERE `table` = {{table:String}})"
        after = f"`sequence` > {newest} OR NOT EXISTS (SELECT 1 FROM {self._ledger} WHERE `table` = {{table:String}})"
        try:
            rows = self._store.rows(
                f"SELECT true, {_NAMES} FROM {self._ledger} WHERE `table` = {{table:String}} "
                f"AND (`sequence` = {{sequence:UInt64}} OR `sequence` = {newest}) UNION ALL "
                f"SELECT false, {_NAMES} FROM {self._redo} WHERE `table` = {{table:String}} AND ({after})",
                table=table,
                sequence=sequence,
            )
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE, UNKNOWN_DATABASE):
                return Standing()
            raise
        return _standing([(bool(row[0]), _entry(row[1:])) for row in rows], sequence)

    def begin(self, entry: Entry, stage: str) -> None:
        """Record that a load's rows are staged and counted."""
        self._insert(self._redo, entry, stage)

    def finish(self, entry: Entry, stage: str) -> None:
        """Record that a load's rows are all visible."""
        self._insert(self._ledger, entry, stage)

    def _insert(self, name: str, entry: Entry, stage: str) -> None:
        # Counting the staged table makes the statement fail once another attempt has renamed that table: an attempt
        # that was taken over records nothing.
        values = ", ".join(f"{{{column}:{kind}}}" for column, kind in _COLUMNS.items())
        self._store.run(
            f"INSERT INTO {name} ({_NAMES}) SELECT {values} FROM (SELECT count() FROM {stage})",
            **dict(zip(_COLUMNS, (_bound(value) for value in astuple(entry)), strict=True)),
        )


def entry_for(plan: LoadPlan, changes: Changes, stage: UUID) -> Entry:
    """Describe a load that is about to be applied."""
    now = datetime.now(UTC)
    return Entry(
        table=plan.table,
        sequence=plan.sequence,
        load_id=plan.load_id,
        digest=plan.digest,
        strategy=plan.strategy.value,
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
    )


def strategy_of(entry: Entry) -> Strategy:
    """Return the strategy that a load was begun with."""
    return Strategy(entry.strategy)


def _standing(found: Sequence[tuple[bool, Entry]], sequence: int) -> Standing:
    applied = [entry for committed, entry in found if committed]
    begun = [entry for committed, entry in found if not committed]
    this = next((entry for entry in applied if entry.sequence == sequence), None)
    newest = max(applied, key=lambda entry: entry.sequence, default=None)
    return Standing(this, newest, tuple(sorted(begun, key=lambda entry: (entry.sequence, entry.begun_at))))


def _entry(row: Sequence[object]) -> Entry:
    named = dict(zip(_COLUMNS, row, strict=True))
    for name in ("begun_at", "committed_at"):
        moment = named[name]
        assert isinstance(moment, datetime)
        named[name] = moment.replace(tzinfo=UTC)
    return Entry(**named)  # type: ignore[arg-type]  # the columns are the fields


def _bound(value: object) -> object:
    # The driver would bind an aware datetime with whole seconds only.
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


@cache
def _own_version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"
