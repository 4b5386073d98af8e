"""Forget entries of the ledger that nobody asks for any more, and leave a floor that answers for them.

Any step may be the last one of a process: the floor comes first, and counts whether or not the entries are still there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from ownlens_plugins import faults
from ownlens_plugins.contracts import Strategy

from .ledger import Entry, Ledger
from .target import Target

# The ledger is one small table for all others: ClickHouse merges it by itself, but not while no load comes.
_PARTS = 8


@dataclass(frozen=True)
class Pruning:
    """The entries of one table up to `settled`, of which `newest` is the newest, and always stays."""

    target: Target
    ledger: Ledger
    newest: Entry
    settled: int

    def forgettable(self) -> int:
        """Count the entries that may go; a floor alone is none."""
        floor = self._floor()
        return 0 if floor is None else self._count(floor)

    def run(self) -> int:
        """Forget them, and return how many they were."""
        floor = self._floor()
        if floor is None or (found := self._count(floor)) == 0:
            return 0
        if not self._is_there(floor):  # one that died here may have come so far
            self.ledger.add(self._standing_for(floor))
        faults.reach("before_ledger")
        # What it forgets is below the floor for ever, so it may go on by itself after a crash.
        self.target.store.run(
            f"ALTER TABLE {self.ledger.name} DELETE {self._below()} SETTINGS mutations_sync = 1", **self._values(floor)
        )
        return found

    def _floor(self) -> int | None:
        """Return the newest sequence that may go: below the newest entry, which tells how far the table has come."""
        rows = self.target.store.rows(
            f"SELECT max(`sequence`), count() FROM {self.ledger.name} WHERE `table` = {{table:String}} "
            "AND `life` = {life:UInt64} AND `sequence` <= {settled:UInt64} AND `sequence` < {newest:UInt64}",
            table=self.target.table,
            life=self.newest.life,
            settled=self.settled,
            newest=self.newest.sequence,
        )
        return int(rows[0][0]) if rows[0][1] else None

    def _below(self) -> str:
        return (
            "WHERE `table` = {table:String} AND `life` <= {life:UInt64} AND `sequence` <= {floor:UInt64} "
            "AND NOT (`life` = {life:UInt64} AND `sequence` = {floor:UInt64} AND `load_id` = '')"
        )

    def _values(self, floor: int) -> dict[str, object]:
        return {"table": self.target.table, "life": self.newest.life, "floor": floor}

    def _count(self, floor: int) -> int:
        rows = self.target.store.rows(
            f"SELECT count() FROM {self.ledger.name} {self._below()} AND `load_id` != ''", **self._values(floor)
        )
        return int(rows[0][0])

    def _is_there(self, floor: int) -> bool:
        rows = self.target.store.rows(
            f"SELECT count() FROM {self.ledger.name} WHERE `table` = {{table:String}} AND `life` = {{life:UInt64}} "
            "AND `sequence` = {floor:UInt64} AND `load_id` = ''",
            **self._values(floor),
        )
        return int(rows[0][0]) > 0

    def _standing_for(self, floor: int) -> Entry:
        rows = self.ledger.expected_rows(self.target.table, self.newest.life, up_to=floor)
        now = datetime.now(UTC)
        return replace(
            self.newest,
            sequence=floor,
            load_id="",
            digest="",
            strategy=Strategy.OVERWRITE,  # rows are counted from here on
            rows=0,
            inserted=rows,
            updated=0,
            unchanged=0,
            deleted=0,
            rejected=0,
            bytes=0,
            stage=UUID(int=0),
            begun_at=now,
            committed_at=now,
            seconds=0.0,
        )


def merge(target: Target, ledger: Ledger) -> None:
    """Merge the ledger's parts, if they are many."""
    rows = target.store.rows(
        "SELECT count() FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}",
        database=target.store.database,
        table=ledger.table,
    )
    if int(rows[0][0]) > _PARTS:
        target.store.run(f"OPTIMIZE TABLE {ledger.name}")
