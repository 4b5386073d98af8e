"""The database's own record of the loads that are applied, and the redo record of one that is about to be.

The redo record is the comment of the table that holds the staged rows. It is written when they are all there and
counted, before the first becomes visible. From then on the load can only be finished, by whoever comes next, and the
record goes where the rows go. The ledger row is written when all rows are visible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import UUID

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import StagedSetChanged

from . import sql
from .client import UNKNOWN_DATABASE, UNKNOWN_TABLE, Store, has_code

LEDGER = "_ownlens_ledger"
_REDO = "ownlens load "


@dataclass(frozen=True, slots=True)
class Entry:
    """One load of one table. Field names are the ledger's column names.

    `stage` is the UUID of the table that holds the staged rows, by which a finisher knows it under any name.
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

    def redo(self) -> str:
        """Return the redo record."""
        return _REDO + json.dumps(asdict(self), default=str)


def read_redo(comment: str) -> Entry | None:
    """Return the load that a table's comment records as begun; None when it records none."""
    if not comment.startswith(_REDO):
        return None
    return _entry(json.loads(comment.removeprefix(_REDO)))


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
_NAMES = ", ".join(f"`{name}`" for name in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a table has come, as seen from one load: its own entry, and the newest load that is applied."""

    this: Entry | None = None
    newest: int | None = None
    newest_at: datetime | None = None

    @property
    def position(self) -> int:
        """The first sequence that may still be applied."""
        return 0 if self.newest is None else self.newest + 1

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
        if plan.sequence >= self.position:
            return None
        return LoadResult(plan.load_id, plan.digest, rows=0, inserted=0, replayed=True, committed_at=self.newest_at)


class Ledger:
    """Reads and writes the ledger of one database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = store.name(LEDGER)

    def create(self, *, replicated: bool = False, cluster: str | None = None) -> None:
        """Create the ledger if absent. The first table that is loaded decides where it is."""
        self._store.run(create_ledger(self._name, replicated=replicated, cluster=cluster))

    def standing(self, table: str, sequence: int) -> Standing:
        """Return how far a table has come; nothing at all when there is no ledger yet."""
        try:
            newest = self._store.rows(
                f"SELECT `sequence`, `committed_at` FROM {self._name} WHERE `table` = {{table:String}} "
                "ORDER BY `sequence` DESC LIMIT 1",
                table=table,
            )
        except Exception as error:
            if has_code(error, UNKNOWN_TABLE, UNKNOWN_DATABASE):
                return Standing()
            raise
        if not newest:
            return Standing()
        last, moment = int(newest[0][0]), newest[0][1].replace(tzinfo=UTC)
        return Standing(self._entry_of(table, sequence) if last >= sequence else None, last, moment)

    def _entry_of(self, table: str, sequence: int) -> Entry | None:
        rows = self._store.rows(
            f"SELECT {_NAMES} FROM {self._name} WHERE `table` = {{table:String}} AND `sequence` = {{sequence:UInt64}}",
            table=table,
            sequence=sequence,
        )
        return _entry(dict(zip(_COLUMNS, rows[0], strict=True))) if rows else None

    def record(self, entry: Entry, stage: str) -> None:
        """Record that a load's rows are all visible.

        Counting the staged table makes the statement fail once another attempt has renamed that table: an attempt
        that was taken over records nothing.
        """
        values = ", ".join(f"{{{column}:{kind}}}" for column, kind in _COLUMNS.items())
        self._store.run(
            f"INSERT INTO {self._name} ({_NAMES}) SELECT {values} FROM (SELECT count() FROM {stage})",
            **dict(zip(_COLUMNS, map(_bound, astuple(entry)), strict=True)),
        )


def create_ledger(name: str, *, replicated: bool, cluster: str | None) -> str:
    """Write the statement that creates the ledger."""
    columns = ", ".join(f"`{column}` {kind}" for column, kind in _COLUMNS.items())
    engine = "ReplicatedMergeTree" if replicated else "MergeTree"
    create = f"CREATE TABLE IF NOT EXISTS {name}{sql.everywhere(cluster)} ({columns})"
    return f"{create} ENGINE = {engine} ORDER BY (`table`, `sequence`)"


def entry_for(plan: LoadPlan, changes: Changes, stage: UUID) -> Entry:
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
    )


def _entry(values: Mapping[str, Any]) -> Entry:
    named = dict(values)
    for name in ("begun_at", "committed_at"):
        moment = named[name]
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        named[name] = moment.replace(tzinfo=UTC)
    return Entry(**{**named, "strategy": Strategy(named["strategy"]), "stage": UUID(str(named["stage"]))})


def _bound(value: object) -> object:
    # The driver would bind an aware datetime with whole seconds only.
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


@cache
def _own_version() -> str:
    try:
        return version("ownlens")
    except PackageNotFoundError:
        return "unknown"
