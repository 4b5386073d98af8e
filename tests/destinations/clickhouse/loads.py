"""Building loads for the tests of the ClickHouse destination, and looking at what they left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import Covers, LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import canonical_rows, make_plan, sample_contract, sample_rows, sample_table

PRESETS = {
    Strategy.APPEND: "events",
    Strategy.UPSERT: "entity",
    Strategy.OVERWRITE: "reference",
    Strategy.REPLACE_PARTITION: "daily",
}
STRATEGIES = list(PRESETS)
EMBEDDED = ("chdb",)
EVERYWHERE = ("chdb", "http")
NARROW = {
    "id": "int64",
    "day": "date",
    "title": "text?",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}


def contract_for(strategy: Strategy, **overrides: Any) -> TableContract:
    """Return the sample contract whose preset loads ClickHouse by a strategy; `options` are those of ClickHouse."""
    options = overrides.pop("options", None)
    if options:
        overrides["destinations"] = {"clickhouse": options}
    return sample_contract(PRESETS[strategy], **overrides)


def narrow(strategy: Strategy, **overrides: Any) -> TableContract:
    """Return the same with few columns, where the types are not the point: wide tables take the engine longer."""
    return contract_for(strategy, **{"columns": NARROW, **overrides})


def sliced(strategy: Strategy) -> TableContract:
    """Return the same with a partition a day, if it can have any: being cut short between two is the hard case."""
    days = {} if strategy is Strategy.OVERWRITE else {"partition": "day"}
    return narrow(strategy, options={**narrow(strategy).options_for("clickhouse"), **days})


def comparable(table: pa.Table) -> list[str]:
    """Return the rows as sorted text, in which NaN equals NaN and -0.0 differs from 0.0."""
    return sorted(repr(row) for row in canonical_rows(table))


def table_of(contract: TableContract, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows as an Arrow table; unlike `sample_table` also with lists of UUIDs."""
    lists = [field for field in contract.arrow_schema if field.type == pa.list_(pa.uuid())]
    plain = [{**row, **{field.name: None for field in lists}} for row in rows] if lists else rows
    simple = pa.schema([field for field in contract.arrow_schema if field not in lists])
    table = sample_table(replace(contract, columns=tuple(contract.column(name) for name in simple.names)), plain)
    for field in lists:
        stored = pa.array([row[field.name] for row in rows], pa.list_(pa.binary(16)))
        values = pa.ExtensionArray.from_storage(pa.uuid(), stored.values)
        array = pa.ListArray.from_arrays(stored.offsets, values, mask=stored.is_null())
        table = table.append_column(field, array.cast(field.type))
    return table.select(contract.column_names)


@dataclass
class Loads:
    """One database, and the folder that rows are staged in."""

    config: ClickHouseConfig
    folder: Path

    def __post_init__(self) -> None:
        self.destination = ClickHouseDestination(self.config)
        self.store = Store(self.config)

    def forget(self) -> None:
        """Go on with an object that has nothing of the tables in memory; one that stays open keeps the engine open."""
        self.destination.close()
        self.destination = ClickHouseDestination(self.config)

    def plan(
        self,
        contract: TableContract,
        rows: Sequence[dict[str, Any]] | pa.Table,
        *,
        sequence: int = 1,
        parts: int = 2,
        strategy: Strategy | None = None,
        tag: str = "",
        covers: Covers | None = None,
    ) -> LoadPlan:
        staged = contract
        if covers is not None and covers.keys_only:  # such sets have no days
            rows, staged = _keys(contract, rows), replace(contract, partition_by=None)
        table = rows if isinstance(rows, pa.Table) else table_of(contract, rows)
        folder = self.folder / f"staged{tag}"
        plan = make_plan(self.destination, staged, table, folder, sequence=sequence, parts=parts, strategy=strategy)
        return replace(plan, contract=contract, covers=covers)

    def load(self, contract: TableContract, rows: Sequence[dict[str, Any]] | pa.Table, **options: Any) -> LoadResult:
        return load(self.destination, self.plan(contract, rows, **options))

    def again(self, plan: LoadPlan) -> LoadResult:
        return load(self.destination, plan)

    def landed(self, contract: TableContract) -> list[str]:
        return comparable(self.table(contract))

    def table(self, contract: TableContract) -> pa.Table:
        return self.destination.read(self.plan(contract, [], sequence=999_999)).read_all()

    def staged(self, contract: TableContract, *rows: Sequence[dict[str, Any]]) -> list[str]:
        return comparable(table_of(contract, [row for some in rows for row in some]))

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.store.rows(query, **values)]

    def run(self, statement: str) -> None:
        self.store.run(statement)

    def ledger(self) -> list[tuple[Any, ...]]:
        """Return the entries of each table's present life."""
        name = self.store.name("_ownlens_ledger")
        lives = f"SELECT `table`, max(life) FROM {name} GROUP BY 1"
        return self.sql(
            f"SELECT `table`, sequence, inserted, updated FROM {name} WHERE (`table`, life) IN ({lives}) ORDER BY 1, 2"
        )

    def internal_tables(self) -> list[str]:
        """Return the names of everything that loads made for themselves, apart from the ledger."""
        return [
            str(name)
            for (name,) in self.sql(
                "SELECT name FROM system.tables WHERE database = {database:String} "
                "AND startsWith(name, '_ownlens_') AND name != '_ownlens_ledger'",
                database=self.config.database,
            )
        ]

    def ddl(self, table: str) -> str:
        return str(
            self.sql(
                "SELECT create_table_query FROM system.tables WHERE database = {database:String} AND name = {t:String}",
                database=self.config.database,
                t=table,
            )[0][0]
        )


def _keys(contract: TableContract, rows: Sequence[dict[str, Any]] | pa.Table) -> pa.Table:
    listed = rows.to_pylist() if isinstance(rows, pa.Table) else rows
    schema = pa.schema([contract.column(name).field for name in contract.key])
    return pa.Table.from_pylist([{name: row[name] for name in contract.key} for row in listed], schema=schema)


def day_rows(count: int, *, day: int, first: int = 0, version: int = 0) -> list[dict[str, Any]]:
    """Return sample rows that all lie on one day of January 2026."""
    rows = sample_rows(count, first=first, version=version, days=1)
    moved = [{**row, "day": row["day"].replace(day=day)} for row in rows]
    return [{**row, "created_at": row["created_at"].replace(day=day)} for row in moved]
