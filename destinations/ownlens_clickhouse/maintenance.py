"""Keeping a table small: old rows leave for good, parts are merged, leftovers dropped, the ledger pruned.

Loads may run meanwhile. Each statement here may be repeated, and may go on in the server after a crash: a row that is
too old stays so, merged parts show what they showed, and what the ledger forgets is below its floor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ownlens_plugins import faults
from ownlens_plugins.powers import Chore, Upkeep

from . import covering, pruning, schema, settling, sql
from .ledger import Standing
from .lives import standing as standing_of
from .pruning import Pruning
from .shape import Shape, find_shape
from .target import Target
from .turns import turn

# What one call does at most; the next one goes on.
_RETIRED_PARTITIONS, _MERGED_PARTITIONS, _MERGED_BYTES = 200, 50, 20_000_000_000
# ClickHouse merges by itself until parts are large or few: these are what it leaves.
_MANY_PARTS, _QUIET_SECONDS = 6, 86_400


@dataclass(frozen=True)
class Maintenance:
    """One maintenance of one table, which the loads of its present life have filled."""

    target: Target
    upkeep: Upkeep
    shape: Shape
    standing: Standing

    def run(self) -> Iterator[Chore]:
        """Do everything, and yield what was done."""
        yield from self._retention()
        yield from self._compaction()
        yield from self._leftovers()
        yield from self._ledger()

    # --- old rows

    def _retention(self) -> Iterator[Chore]:
        oldest = self.upkeep.oldest_kept
        if oldest is None:
            return
        old = covering.before(self.target.contract, oldest)
        found = self._old_rows(old)
        if not self.upkeep.dry_run:
            # First: loads then know which rows may go meanwhile, and an empty table is not taken for a lost one.
            schema.follow_ttl(self.target, self.shape)
            for partition in found:
                self._retire(partition, old)
        if found:
            yield Chore("retention", rows=sum(found.values()), files=len(found))

    def _old_rows(self, old: str) -> dict[str, int]:
        """Count the old rows by partition, oldest partitions first."""
        rows = self.target.store.rows(
            f"SELECT _partition_id, count() FROM {self.target.name} WHERE {old} "
            f"GROUP BY 1 ORDER BY 1 LIMIT {_RETIRED_PARTITIONS}"
        )
        return {str(row[0]): int(row[1]) for row in rows}

    def _retire(self, partition: str, old: str) -> None:
        # In this process no load comes between: a version that is merged away must not come back with the newer one.
        with turn(self.target):
            if self.target.definition.merges_rows:
                self._merge(partition)
            self.target.store.run(
                f"ALTER TABLE {self.target.name} DELETE IN PARTITION ID {sql.literal(partition)} WHERE {old} "
                "SETTINGS mutations_sync = 1"
            )
        faults.reach("after_commit")

    # --- parts

    def _compaction(self) -> Iterator[Chore]:
        merged = self._unmerged()
        if not self.upkeep.dry_run:
            for partition, *_ in merged:
                self._merge(partition)
                faults.reach("after_commit")
        if merged:
            _, rows, files, size = zip(*merged, strict=True)
            yield Chore("compaction", rows=sum(rows), files=sum(files), bytes=sum(size))

    def _unmerged(self) -> list[tuple[str, int, int, int]]:
        """Return partitions of many parts, or of several that nobody wrote to for a day: id, rows, parts, bytes."""
        rows = self.target.store.rows(
            "SELECT partition_id, sum(rows), count(), sum(bytes_on_disk) AS size FROM system.parts "
            "WHERE active AND database = {database:String} AND table = {table:String} GROUP BY 1 "
            "HAVING (count() >= {many:UInt64} OR (count() > 1 AND max(modification_time) < now() - {quiet:UInt64})) "
            f"AND size < {_MERGED_BYTES} ORDER BY 3 DESC, 1 LIMIT {_MERGED_PARTITIONS}",
            database=self.target.store.database,
            table=self.target.table,
            many=_MANY_PARTS,
            quiet=_QUIET_SECONDS,
        )
        return list(self._affordable([(str(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in rows]))

    def _affordable(self, found: Sequence[tuple[str, int, int, int]]) -> Iterator[tuple[str, int, int, int]]:
        budget = _MERGED_BYTES
        for each in found:
            if each[3] <= budget:
                budget -= each[3]
                yield each

    def _merge(self, partition: str) -> None:
        self.target.store.run(f"OPTIMIZE TABLE {self.target.name} PARTITION ID {sql.literal(partition)} FINAL")

    # --- what attempts left, and the ledger

    def _leftovers(self) -> Iterator[Chore]:
        survey = self.target.survey()
        if self.upkeep.dry_run or not survey.leftovers:
            return
        settling.sweep(self.target, self.standing, survey)
        if dropped := len(survey.leftovers) - len(self.target.survey().leftovers):
            yield Chore("leftovers", files=dropped)

    def _ledger(self) -> Iterator[Chore]:
        newest = self.standing.newest
        assert newest is not None  # `maintain` looked
        work = Pruning(self.target, self.target.ledger, newest, self.upkeep.settled)
        if self.upkeep.dry_run:
            forgotten = work.forgettable()
        else:
            forgotten = work.run()
            pruning.merge(self.target, self.target.ledger)
        if forgotten:
            yield Chore("ledger", rows=forgotten)


def maintain(target: Target, upkeep: Upkeep) -> list[Chore]:
    """Maintain a table; one that no load of the ledger filled is left alone.

    Raises:
        Rejected: another table with other rows lies in its place, or its TTL is its owner's.
    """
    standing = standing_of(target, upkeep.settled)
    shape = find_shape(target.store, target.table)
    if standing.newest is None or shape is None or shape.is_view:
        return []
    return list(Maintenance(target, upkeep, shape, standing).run())
