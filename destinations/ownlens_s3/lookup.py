"""Which partitions hold the keys of a staged set, and which rows it shows to be gone.

Key columns alone are read, and only from files that can hold the keys; what is compared spills to disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

from ownlens_plugins.api import Covers, LoadPlan
from ownlens_plugins.contracts import Kind, TableContract

from .columns import key_schema, keys_to_lake
from .covering import keys_only
from .paths import Layout
from .sql import as_key, between, in_partitions, partitions_among, quoted
from .writer import require_all

# Keys of these kinds have statistics that exclude files.
BOUNDED = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.DATE, Kind.TEXT, Kind.UUID, Kind.ENUM})


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB of its own for one comparison: at most 512 MB of memory, the rest on disk until the end."""
    with tempfile.TemporaryDirectory(prefix="ownlens-lake-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            "memory_limit": "512MB",
            "threads": 2,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(config=settings) as database:
            yield database


def find_rows(
    database: duckdb.DuckDBPyConnection,
    table: DeltaTable,
    plan: LoadPlan,
    layout: Layout | None,
    partitions: Collection[str],
) -> Found:
    """Look the staged keys up in this very version of the table; `partitions` are those of the staged rows.

    Raises:
        Rejected: the parts hold fewer or more keys than were staged.
    """
    look = _Look(database, table, plan, layout)
    beyond = set() if keys_only(plan) else look.partitions_beyond(set(partitions))
    gone, there = (0, 0) if plan.covers is None else look.find_gone(plan.covers)
    emptied = look.partitions_of("gone") if gone and layout is not None else set()
    return Found(database, plan.contract, sorted({*partitions, *beyond, *emptied}), gone, there)


@dataclass(frozen=True)
class Found:
    """`partitions` hold all staged keys and all rows that are gone, `gone` is the number of the latter.

    `there` is the number of staged keys that lie in the covered part of the table.
    """

    database: duckdb.DuckDBPyConnection
    contract: TableContract
    partitions: list[str]
    gone: int
    there: int

    def gone_keys(self) -> Iterator[pa.RecordBatch]:
        """Stream the keys of the rows that are gone, each once, in lake types."""
        schema = key_schema(self.contract)
        names = ", ".join(key_aliases(self.contract))
        # A table that an older version left with two rows of one key must not give the merge two orders for them.
        found = self.database.sql(f"SELECT DISTINCT {names} FROM gone")
        for batch in pa.RecordBatchReader.from_stream(found):
            arrays = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass
class _Look:
    database: duckdb.DuckDBPyConnection
    table: DeltaTable
    plan: LoadPlan
    layout: Layout | None

    @cached_property
    def _keys(self) -> str:
        return ", ".join(key_aliases(self.plan.contract))

    @cached_property
    def _there(self) -> set[str]:
        """The partitions that have files."""
        assert self.layout is not None
        files = pa.table(self.table.get_add_actions(flatten=True))
        values: Any = pc.unique(files[f"partition.{self.layout.column}"].cast(pa.string()))
        return {value for value in values.to_pylist() if value}

    @cached_property
    def _staged(self) -> str:
        """The name of a table of the staged keys, made when it is first needed."""
        stream = pa.RecordBatchReader.from_batches(aliased_schema(self.plan.contract), self._key_batches())
        self._keep("staged", f"SELECT {self._keys} FROM shown", stream)
        return "staged"

    def _key_batches(self) -> Iterator[pa.RecordBatch]:
        contract, rows = self.plan.contract, 0
        for batch in self.plan.reader(list(contract.key)):
            rows += batch.num_rows
            yield pa.RecordBatch.from_arrays(keys_to_lake(contract, batch).columns, schema=aliased_schema(contract))
        # Before anything is deleted: with keys that are missing here, rows would be taken for gone.
        require_all(self.plan, rows)

    def partitions_beyond(self, own: set[str]) -> set[str]:
        """Return the partitions other than the staged rows' own that hold some of the staged keys."""
        if self.layout is None or not self.plan.rows or not self._there - own:
            return set()
        # A key is in one place. Those that lie in their own partition are not looked for in the others, so that what
        # remains is mostly new, and above the key ranges of the old files.
        rest = self._without(self._staged, "rest", own) if self._there & own else self._staged
        limits = self._limits(rest)
        if limits is None:
            return set()
        column = quoted(self.layout.column)
        shown = self._shown([partitions_among(self.layout, self._there - own, self._there, column), *limits])
        self._keep("moved", f"SELECT DISTINCT part FROM shown SEMI JOIN {rest} USING ({self._keys})", shown)
        return self.partitions_of("moved")

    def _without(self, staged: str, name: str, own: set[str]) -> str:
        assert self.layout is not None
        shown = self._shown([in_partitions(self.layout, own & self._there, quoted(self.layout.column))])
        self._keep(name, f"SELECT * FROM {staged} ANTI JOIN shown USING ({self._keys})", shown)
        return name

    def find_gone(self, covers: Covers) -> tuple[int, int]:
        """Keep the rows in the covered part whose keys are not staged.

        Returns:
            How many there are, and how many of the staged keys are there.
        """
        among = "" if covers.days is None else "WHERE day IN (SELECT day FROM days)"
        if covers.days is not None:
            days = pa.table({"day": pa.array(covers.days, pa.date32())})
            self._keep("days", "SELECT day FROM shown", days.to_reader())
        staged = self._staged
        columns = [] if covers.column is None else [f"CAST({quoted(covers.column)} AS DATE) AS day"]
        shown = self._shown(self._scope(covers), columns)
        places = f"SELECT rowid AS place, {self._keys} FROM {staged}"
        covered = f"SELECT {self._keys}, part FROM shown {among}"
        looked = f"SELECT place, {self._keys}, part FROM ({covered}) LEFT JOIN ({places}) USING ({self._keys})"
        self._keep("looked", looked, shown)
        self.database.execute(f"CREATE TEMP VIEW gone AS SELECT {self._keys}, part FROM looked WHERE place IS NULL")
        there = self._number("SELECT count(DISTINCT place) FROM looked")
        return self._number("SELECT count(*) FROM gone"), there

    def _scope(self, covers: Covers) -> list[str]:
        """Return what lets the query skip files outside of the covered days."""
        if covers.days is None or covers.column is None:
            return []
        if not covers.days:
            return ["false"]
        first, last = min(covers.days), max(covers.days)
        terms = []
        if self.plan.contract.column(covers.column).type.kind is Kind.DATE:
            terms.append(between(covers.column, first, last))
        if self.layout is not None and self.layout.source == covers.column:
            values = {self.layout.value_of(day) for day in covers.days}
            terms.append(in_partitions(self.layout, values, quoted(self.layout.column)))
        return [term for term in terms if term]

    def _shown(self, terms: list[str], more: Collection[str] = ()) -> pa.RecordBatchReader:
        """Stream keys and partition of the table's rows."""
        part = "''" if self.layout is None else f"CAST({quoted(self.layout.column)} AS VARCHAR)"
        return scan(self.table, [*key_columns(self.plan.contract), f"{part} AS part", *more], terms)

    def _limits(self, rest: str) -> list[str] | None:
        """Return predicates with the least and greatest keys of a table, or None when it is empty."""
        if not self._number(f"SELECT count(*) FROM {rest}"):
            return None
        contract, terms = self.plan.contract, []
        for name, alias in zip(contract.key, key_aliases(contract), strict=True):
            if contract.column(name).type.kind in BOUNDED:
                ((first, last),) = self.database.execute(f"SELECT min({alias}), max({alias}) FROM {rest}").fetchall()
                terms.append(between(name, first, last, any_case=contract.column(name).type.kind is Kind.UUID))
        return [term for term in terms if term]

    def partitions_of(self, name: str) -> set[str]:
        rows = self.database.execute(f"SELECT DISTINCT part FROM {name} WHERE part IS NOT NULL").fetchall()
        return {part for (part,) in rows}

    def _number(self, query: str) -> int:
        # All of it: DuckDB 2 takes no other statement before a result is read to its end.
        ((number,),) = self.database.execute(query).fetchall()
        return int(number)

    def _keep(self, name: str, query: str, shown: pa.RecordBatchReader) -> None:
        keep(self.database, name, query, shown)


def scan(table: DeltaTable, columns: Collection[str], terms: Collection[str]) -> pa.RecordBatchReader:
    """Stream some columns of the rows of this version of a table that satisfy all terms, in SQL of delta-rs."""
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    query = f"SELECT {', '.join(columns)} FROM lake{where}"
    return pa.RecordBatchReader.from_stream(QueryBuilder().register("lake", table).execute(query))


def keep(database: duckdb.DuckDBPyConnection, name: str, query: str, shown: pa.RecordBatchReader) -> None:
    """Keep the result of a query over a stream, which it calls `shown`, as a table."""
    database.register("shown", shown)
    database.execute(f"CREATE TEMP TABLE {name} AS {query}")
    database.unregister("shown")


def key_aliases(contract: TableContract) -> list[str]:
    """Return the names of the key columns while they are compared."""
    # Names of our own: DuckDB ignores the case of a column's name, and some names are its words.
    return [f"k{number}" for number in range(len(contract.key))]


def aliased_schema(contract: TableContract) -> pa.Schema:
    """Return the schema of key columns under these names, in lake types."""
    fields = zip(key_aliases(contract), key_schema(contract), strict=True)
    return pa.schema([pa.field(alias, field.type) for alias, field in fields])


def key_columns(contract: TableContract) -> list[str]:
    """Return the key columns under these names, in SQL of delta-rs."""
    return [
        f"{as_key(contract, name)} AS {alias}" for name, alias in zip(contract.key, key_aliases(contract), strict=True)
    ]
