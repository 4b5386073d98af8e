"""Take the rows of a destination whose ledger is lost for those of a staged set, once they are seen to be these.

What the table shows is compared with the source, row by row. Rows that lack, or are older, are no fault if the newest
staged sets bring them: the destination is then taken to stand before these, and the next load brings them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..api import Destination, LoadPlan, Window
from ..commands import backfill_command, load_command
from ..contracts import Column, Extraction, Kind, Strategy, TableContract
from ..errors import Rejected
from ..powers import SupportsAdoption, SupportsPosition, Upkeep
from ..registry import Registry
from .leaving_out import identity
from .manifest import Manifest
from .planning import plan_load
from .quarantining import holds_keys_only
from .sources.source import Snapshot
from .staging import StagingArea
from .uniqueness import open_duckdb, plain_storage, storage_type
from .windows import StageRequest

# What stores print in their own way is not compared.
_NOT_COMPARED = frozenset({Kind.JSON, Kind.FLOAT32, Kind.FLOAT64})


@dataclass(frozen=True, slots=True)
class Adopted:
    """A table that was taken as it is for a staged set.

    `rows` are in the destination, of which `kept` are gone from the source and stay by the contract. `behind` counts
    rows that the next load brings.
    """

    table: str
    destination: str
    sequence: int
    rows: int
    kept: int = 0
    behind: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def adopt(
    destination: Destination[Any, Any],
    contract: TableContract,
    snapshot: Snapshot,
    area: StagingArea,
    registry: Registry,
) -> Adopted:
    """Compare a table with the source, and mark the staged set that it stands at as applied.

    All rows of the snapshot must be staged already.

    Raises:
        Rejected: the destination has a ledger of this table, or its rows are not those of any staged set, with how many
            differ; nothing was changed.
    """
    log = area.log(contract.table).those(lambda manifest: manifest.is_for(destination.name))
    if not isinstance(destination, SupportsAdoption) or not isinstance(destination, SupportsPosition):
        raise Rejected(
            f"{contract.table}: {destination.name} cannot adopt tables; fill it anew with "
            f"`{backfill_command(contract.table, destination.name)}`"
        )
    if position := destination.position(contract):
        raise Rejected(
            f"{contract.table}: {destination.name}'s ledger knows load {position}; bring the table up to date with "
            f"`{load_command(contract.table, '--destinations', destination.name)}`, or, if its rows are further than "
            f"its ledger, fill it anew with `{backfill_command(contract.table, destination.name)}`"
        )
    request = StageRequest(Extraction.WHOLE, Window(None, None), only=(destination.name,))
    newest = plan_load(destination, contract, log[-1], area, registry)
    with (
        snapshot.read(contract, request.selection) as extracted,
        area.drafted(contract, extracted, request) as files,
        closing(open_duckdb()) as database,
    ):
        compared = _Compared(database, contract, newest)
        compared.read(destination, files)
        found = compared.counts()
        standing = _standing(compared, log, area)
    if standing is None or (found.extra and not compared.keeps) or found.doubled or not found.held:
        raise _refused(contract, destination.name, found)
    plan = plan_load(destination, contract, standing, area, registry)
    # A full refresh would have the table fit its contract in the load, which does not come.
    destination.adopt(replace(plan, strategy=plan.options.strategy, full_refresh=False), found.held)
    return Adopted(
        contract.table, destination.name, standing.sequence, found.held, found.extra, found.missing + found.changed
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows: `held` by the destination, of the source `missing` there, `changed`, `extra` there, `doubled` there."""

    held: int
    missing: int
    changed: int
    extra: int
    doubled: int


@dataclass
class _Compared:
    """The source's rows and the destination's, by key; `differing` is a table of the keys that lack or differ."""

    database: duckdb.DuckDBPyConnection
    contract: TableContract
    plan: LoadPlan

    @property
    def appends(self) -> bool:
        return self.plan.options.strategy is Strategy.APPEND

    @property
    def keeps(self) -> bool:
        """Whether rows that are gone from the source stay in the destination."""
        return self.appends or self.contract.deletes == "keep"

    @property
    def keys(self) -> Sequence[str]:
        return identity(self.contract) if self.appends else self.contract.key

    @property
    def columns(self) -> Sequence[str]:
        """Key columns, then those that are compared: of an append, which keeps what it got, none."""
        if self.appends:
            return self.keys
        others = (one for one in self.contract.columns if one.name not in self.keys and _is_comparable(one))
        return [*self.keys, *(one.name for one in others)]

    def read(self, destination: Destination[Any, Any], files: Sequence[Path]) -> None:
        """Read both sides."""
        self._do("SET TimeZone = 'UTC'")
        with destination.read(replace(self.plan, touched=None)) as reader:
            self._keep("held", self.columns, (batch for batch in reader))
        self._keep("wanted", self.columns, (batch for file in files for batch in _batches(file, self.columns)))
        same = _same("wanted", "held", range(len(self.columns)))
        self._do(
            f"CREATE TEMP TABLE differing AS SELECT {_names(self.keys)} FROM wanted WHERE NOT EXISTS "
            f"(SELECT 1 FROM held WHERE {same})"
        )
        self._excuse_aged(files)

    def _excuse_aged(self, files: Sequence[Path]) -> None:
        """Take rows for no lack that the table keeps no longer, as maintenance has deleted them or soon would."""
        oldest = Upkeep(self.contract, self.plan.options, 0, datetime.now(UTC).date()).oldest_kept
        if oldest is None:
            return
        self._keep("aged", self.keys, _older(files, self.keys, str(self.contract.partition_by), oldest))
        keys = range(len(self.keys))
        self._do(
            f"DELETE FROM differing WHERE EXISTS (SELECT 1 FROM aged WHERE {_same('differing', 'aged', keys)}) "
            f"AND NOT EXISTS (SELECT 1 FROM held WHERE {_same('differing', 'held', keys)})"
        )

    def _keep(self, name: str, columns: Sequence[str], batches: Iterator[pa.RecordBatch]) -> None:
        kinds = [storage_type(self.contract.arrow_schema.field(column).type) for column in columns]
        schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
        plain = (
            pa.RecordBatch.from_arrays(
                [plain_storage(batch.column(column)).cast(kind) for column, kind in zip(columns, kinds, strict=True)],
                schema=schema,
            )
            for batch in batches
        )
        self.database.register("given", pa.RecordBatchReader.from_batches(schema, plain))
        self._do(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given")
        self.database.unregister("given")

    def _do(self, statement: str) -> None:
        self.database.execute(statement).fetchall()  # a result that nobody fetches keeps the connection

    def counts(self) -> _Counts:
        """Count how the two sides differ."""
        keys = range(len(self.keys))
        missing = self._count(_without("differing", "held", keys))
        return _Counts(
            held=self._count("held"),
            missing=missing,
            changed=self._count("differing") - missing,
            extra=self._count(_without("held", "wanted", keys)),
            doubled=self._count("held") - self._count(f"(SELECT DISTINCT {_names(self.keys)} FROM held)"),
        )

    def _count(self, what: str) -> int:
        ((rows,),) = self.database.execute(f"SELECT count(*) FROM {what}").fetchall()
        return int(rows)

    @property
    def is_equal(self) -> bool:
        """Whether nothing that the source holds is left to bring."""
        return not self._count("differing")

    def take(self, manifest: Manifest, area: StagingArea) -> bool:
        """Take the keys that a set brings out of the differing ones; False where an append would have some twice."""
        rows = (batch for part in area.parts(manifest) for batch in part.read(list(self.keys)))
        self._keep("brought", self.keys, rows)
        keys = range(len(self.keys))
        if self.appends and self._count(_without("brought", "held", keys)) < self._count("brought"):
            return False
        self._do(
            f"DELETE FROM differing WHERE EXISTS (SELECT 1 FROM brought WHERE {_same('differing', 'brought', keys)})"
        )
        return True


def _standing(compared: _Compared, log: Sequence[Manifest], area: StagingArea) -> Manifest | None:
    """Return the newest set behind which all that differs comes; None when there is none."""
    for manifest in reversed(log):
        if compared.is_equal:
            return manifest
        if manifest.retired or (not holds_keys_only(manifest) and not compared.take(manifest, area)):
            return None
    return None


def _is_comparable(column: Column) -> bool:
    return column.type.kind not in _NOT_COMPARED and not pa.types.is_nested(column.type.arrow)


def _without(one: str, other: str, numbers: range) -> str:
    return f"{one} WHERE NOT EXISTS (SELECT 1 FROM {other} WHERE {_same(one, other, numbers)})"


def _batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as source:
        yield from source.iter_batches(columns=list(columns))


def _older(files: Sequence[Path], keys: Sequence[str], column: str, oldest: date) -> Iterator[pa.RecordBatch]:
    """Yield the keys of rows whose day, in UTC, is before the oldest one that is kept."""
    columns = list(dict.fromkeys([*keys, column]))
    for batch in (batch for file in files for batch in _batches(file, columns)):
        first = pa.scalar(oldest, pa.date32()).cast(batch.schema.field(column).type)
        yield batch.filter(pc.less(batch.column(column), first)).select(list(keys))


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f"c{number}" for number in range(len(columns)))


def _same(one: str, other: str, numbers: range) -> str:
    return " AND ".join(f"{one}.c{number} IS NOT DISTINCT FROM {other}.c{number}" for number in numbers)


def _refused(contract: TableContract, destination: str, found: _Counts) -> Rejected:
    said = [f"{found.missing} rows of the source lack there", f"{found.changed} differ"]
    said += [f"{found.extra} are not in the source", f"{found.doubled} keys are there more than once"]
    return Rejected(
        f"{contract.table}: the {found.held} rows of {destination} are those of no staged set: {', '.join(said)}; "
        f"nothing was changed; fill it anew with `{backfill_command(contract.table, destination)}`"
    )
