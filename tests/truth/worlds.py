"""One history's world: a source database, a staging folder, the three real stores, and the steps of a run."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract, parents_first
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.running import load_table, stage_table
from ownlens_plugins.engine.sources.opening import open_source
from ownlens_plugins.engine.sources.source import Snapshot
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import Profile
from ownlens_plugins.testing import make_plan
from ownlens_plugins.testing.comparing import row_texts
from tests.postgresql_servers import OWNER, PASSWORD, PostgreSQLServer

from .expecting import Look, key_of

_TRIES = 4
_REFUSED = "NOT isfinite(seen_at) OR array_ndims(tags) > 1 OR price = 'NaN' OR abs(price) >= 1000000"
_SWEEPS = "sweep_deletes" in inspect.signature(stage_table).parameters


@dataclass
class World:
    """`place` is the server that runs read from; writers use `primary`."""

    primary: PostgreSQLServer
    database: str
    folder: Path
    stores: Mapping[str, Destination[Any, Any]]
    registry: Registry = field(default_factory=Registry)
    place: PostgreSQLServer | None = None
    user: str = OWNER
    schema: str = "public"

    # --- the source

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.primary.sql(statement, *values, database=self.database)

    def connect(self, **settings: Any) -> psycopg.Connection[Any]:
        """Connect to the primary in a transaction that the caller ends."""
        connection = self.primary.connect(self.database, **settings)
        connection.autocommit = False
        return connection

    def rows(self, contract: TableContract, server: PostgreSQLServer | None = None) -> list[dict[str, Any]]:
        """Return the table's rows as a run would see them now."""
        names = ", ".join(contract.column_names)
        where = server or self.place or self.primary
        found = where.sql(f"SELECT {names} FROM {self.schema}.{contract.table}", database=self.database)
        return [dict(zip(contract.column_names, row, strict=True)) for row in found]

    def look(self, contract: TableContract) -> Look:
        """Return the table as a run would see it now, told apart by what the contract's types can hold."""
        where, names = self.place or self.primary, contract.column_names
        # An infinite moment has no value in Python.
        listed = ", ".join("CASE WHEN isfinite(seen_at) THEN seen_at END" if n == "seen_at" else n for n in names)
        query = f"SELECT {_refused(contract)}, {listed} FROM {self.schema}.{contract.table}"
        look = Look({}, {})
        for refused, *values in where.sql(query, database=self.database):
            row = dict(zip(names, values, strict=True))
            (look.bad if refused else look.good)[key_of(contract)(row)] = row
        return look

    # --- runs

    @property
    def staging(self) -> str:
        return str(self.folder / "staging")

    def area(self) -> StagingArea:
        return StagingArea(self.staging, self.registry)

    def profile(self, **changes: Any) -> Profile:
        server = self.place or self.primary
        source = {"kind": "postgresql", "database": self.database, "user": self.user, "password": PASSWORD}
        source |= {**server.address, "schema": self.schema, **changes}
        lag = {"lag_seconds": 0} if "lag_seconds" in Profile.model_fields else {}
        return Profile(source=source, staging=self.staging, **lag)  # type: ignore[arg-type]

    @contextmanager
    def snapshot(self, **changes: Any) -> Iterator[Snapshot]:
        with open_source(self.profile(**changes)).snapshot() as snapshot:
            yield snapshot

    def stage(self, contract: TableContract, snapshot: Snapshot, *, sweep: bool = False) -> Manifest | None:
        """Stage a table as the flow does: again after Retryable, in the same snapshot."""
        how = {"sweep_deletes": True} if sweep and _SWEEPS and _may_sweep(contract) else {}
        for left in reversed(range(_TRIES)):
            try:
                return stage_table(contract, snapshot, self.area(), **how).manifest
            except Retryable:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def load(self, contract: TableContract) -> None:
        """Bring all stores up to date with what is staged."""
        for destination in self.stores.values():
            _again(destination, contract, self.area(), self.registry)

    def run(self, *contracts: TableContract, sweep: bool = False) -> list[Manifest | None]:
        """Stage and load tables, parents first. Returns what was staged for each."""
        with self.snapshot() as snapshot:
            staged = [self.stage(contract, snapshot, sweep=sweep) for contract in parents_first(contracts)]
        for contract in parents_first(contracts):
            self.load(contract)
        return staged

    # --- the stores

    def landed(self, name: str, contract: TableContract) -> pa.Table:
        """Return what a reader of a store sees."""
        destination = self.stores[name]
        # Arrow makes no empty table of lists of uuids.
        nothing = pa.Table.from_batches([], contract.arrow_schema)
        plan = make_plan(destination, contract, nothing, self.folder / "asked", sequence=999_999)
        with destination.read(plan) as reader:
            return reader.read_all()

    def require(self, contract: TableContract, rows: Iterable[Mapping[str, Any]], promise: str) -> None:
        """Check that all three stores hold exactly these rows.

        Raises:
            AssertionError: says for every store which rows are missing and which are too many.
        """
        wanted = Counter(row_texts(table_of(contract, [*rows])))
        problems = [self._difference(name, contract, wanted) for name in self.stores]
        assert not any(problems), f"{promise}: {contract.table}:" + "".join(filter(None, problems))

    def _difference(self, name: str, contract: TableContract, wanted: Counter[str]) -> str:
        here = Counter(row_texts(self.landed(name, contract)))
        missing, extra = wanted - here, here - wanted
        said = [f"\n  {name} lacks {row}" for row in missing.elements()]
        said += [f"\n  {name} has too many {row}" for row in extra.elements()]
        return "".join(said[:6])

    def require_source(self, contract: TableContract, promise: str) -> None:
        """Check that all three stores hold what the source holds now, row by row."""
        self.require(contract, self.rows(contract, self.place or self.primary), promise)

    def contents(self, contract: TableContract) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of each store as Python values."""
        return {name: _plain(self.landed(name, contract)) for name in self.stores}

    def close(self) -> None:
        for destination in self.stores.values():
            destination.close()


def _refused(contract: TableContract) -> str:
    """Return the condition on rows that no store could hold."""
    if "price" not in contract.column_names:
        return "false"
    labels = contract.column("kind").type.labels if "kind" in contract.column_names else ()
    unknown = f" OR kind NOT IN ({', '.join(repr(label) for label in labels)})" if labels else ""
    return f"coalesce({_REFUSED}{unknown}, false)"


def _may_sweep(contract: TableContract) -> bool:
    return contract.deletes == "follow" and contract.extraction.value == "window"


def _again(destination: Destination[Any, Any], contract: TableContract, area: StagingArea, registry: Registry) -> None:
    for left in reversed(range(_TRIES)):
        try:
            load_table(destination, contract, area, registry)
            return
        except Retryable:
            if not left:
                raise


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def table_of(contract: TableContract, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], contract.arrow_schema)
