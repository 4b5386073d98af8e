"""Real stores that hold whatever rows a test wants, also rows that no destination would let in."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import clickhouse_connect
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from psycopg import sql
from pydantic import ConfigDict

from ownlens_clickhouse.definition import flag, flagged
from ownlens_plugins import (
    Destination,
    DestinationOptions,
    LoadPlan,
    LoadResult,
    LoadSession,
    StrictModel,
    TableContract,
)
from ownlens_plugins.contracts import Column, Kind, LogicalType, Strategy
from ownlens_plugins.powers import SqlValidationTarget
from ownlens_plugins.storage import read_parquet
from ownlens_plugins.testing.samples import make_plan, sample_table

Rows = Sequence[Mapping[str, Any]]


class NoSettings(StrictModel):
    """The stores below are told where they are by the fixture."""


class AnyOptions(DestinationOptions):
    """Takes what the presets say about any destination."""

    model_config = ConfigDict(extra="ignore")


class HeldRows(Destination[NoSettings, AnyOptions]):
    """A destination that is only ever read."""

    config_type = NoSettings
    options_type = AnyOptions
    strategies = frozenset(Strategy)

    def __init__(self) -> None:
        super().__init__(NoSettings())
        self.released = 0

    @abstractmethod
    def alone(self, number: int) -> Self:
        """Return a store of the same kind that shares nothing with others but the server."""

    @abstractmethod
    def hold(self, contract: TableContract, rows: Rows) -> None: ...

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        return None

    def open(self, plan: LoadPlan) -> LoadSession:
        raise AssertionError("not opened by a validation")

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        raise AssertionError("read where the rows are")

    def plan(self, contract: TableContract, staged: Rows, folder: Path, **how: Any) -> LoadPlan:
        return make_plan(self, contract, sample_table(contract, staged), folder, **how)


class LakeRows(HeldRows):
    name = "s3"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "held.parquet"

    def alone(self, number: int) -> Self:
        folder = self.file.parent / str(number)
        folder.mkdir()
        return type(self)(folder)

    def hold(self, contract: TableContract, rows: Rows) -> None:
        schema = pa.schema([field.with_nullable(True) for field in contract.arrow_schema])
        pq.write_table(sample_table(contract, rows).cast(schema), self.file)

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        batches = read_parquet(str(self.file), columns=None, rows_per_batch=7)
        return pa.RecordBatchReader.from_batches(pq.read_schema(self.file), batches)


class SqlRows(HeldRows):
    dialect: str

    def __init__(self, url: sa.URL, schema: str, *, view: str = "touched") -> None:
        super().__init__()
        self.url, self.schema, self.view = url, schema, view

    def alone(self, number: int) -> Self:
        return type(self)(self.url, self.schema, view=f"touched_{number}")

    @abstractmethod
    def run(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None: ...

    @abstractmethod
    def quoted(self, name: str) -> str: ...

    @abstractmethod
    def type_of(self, kind: LogicalType) -> str: ...

    def named(self, name: str) -> str:
        return f"{self.quoted(self.schema)}.{self.quoted(name)}"

    def hold(self, contract: TableContract, rows: Rows) -> None:
        columns = ", ".join(f"{self.quoted(c.name)} {self.type_of(c.type)}" for c in contract.columns)
        self.create(contract.table, columns)
        values = [[_plain(row.get(c.name), c.type.kind) for c in contract.columns] for row in rows]
        self.insert(contract, values)

    @abstractmethod
    def create(self, table: str, columns: str) -> None: ...

    @abstractmethod
    def insert(self, contract: TableContract, values: list[list[Any]]) -> None: ...

    def validation_target(self, plan: LoadPlan) -> SqlValidationTarget:
        where = self.slice_of(plan) if plan.touched else "1 = 1"
        self.run(f"CREATE VIEW {self.named(self.view)} AS SELECT * FROM {self.named(plan.table)} WHERE {where}")
        return SqlValidationTarget(self.url, self.schema, self.view, self.dialect)

    def slice_of(self, plan: LoadPlan) -> str:
        assert plan.touched is not None
        return f"{self.day_of(plan.touched.column)} BETWEEN '{plan.touched.first}' AND '{plan.touched.last}'"

    @abstractmethod
    def day_of(self, column: str) -> str: ...

    def release_validation_target(self, target: SqlValidationTarget) -> None:
        self.run(f"DROP VIEW {self.named(target.relation)}")
        self.released += 1


def _plain(value: Any, kind: Kind) -> Any:
    return uuid.UUID(bytes=value) if kind is Kind.UUID and isinstance(value, bytes) else value


_POSTGRESQL = {
    Kind.INT16: "smallint",
    Kind.INT32: "integer",
    Kind.INT64: "bigint",
    Kind.FLOAT32: "real",
    Kind.FLOAT64: "double precision",
    Kind.JSON: "jsonb",
    Kind.BYTES: "bytea",
    Kind.ENUM: "text",
    Kind.BOOL: "boolean",
}


class PostgresqlRows(SqlRows):
    name = "postgresql"
    dialect = "postgresql"

    def run(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        address = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            if rows:
                connection.cursor().executemany(statement.encode(), rows)
            else:
                connection.execute(statement.encode())

    def quoted(self, name: str) -> str:
        return sql.Identifier(name).as_string(None)

    def day_of(self, column: str) -> str:
        return f"CAST({self.quoted(column)} AT TIME ZONE 'UTC' AS DATE)"

    def type_of(self, kind: LogicalType) -> str:
        if kind.element is not None:
            return f"{self.type_of(kind.element)}[]"
        return _POSTGRESQL.get(kind.kind, str(kind).replace("decimal", "numeric"))

    def create(self, table: str, columns: str) -> None:
        self.run(f"CREATE TABLE {self.named(table)} ({columns})")

    def insert(self, contract: TableContract, values: list[list[Any]]) -> None:
        if values:
            table, marks = self.named(contract.table).replace("%", "%%"), ", ".join(["%s"] * len(values[0]))
            self.run(f"INSERT INTO {table} VALUES ({marks})", values)


_CLICKHOUSE = {
    Kind.BOOL: "Bool",
    Kind.INT16: "Int16",
    Kind.INT32: "Int32",
    Kind.INT64: "Int64",
    Kind.FLOAT32: "Float32",
    Kind.FLOAT64: "Float64",
    Kind.UUID: "UUID",
    Kind.DATE: "Date32",
    Kind.TIME: "Time64(6)",
    Kind.TIMESTAMP: "DateTime64(6, 'UTC')",
    Kind.TIMESTAMPTZ: "DateTime64(6, 'UTC')",
}


class ClickHouseRows(SqlRows):
    name = "clickhouse"
    dialect = "clickhouse"

    @contextmanager
    def client(self) -> Iterator[Any]:
        client = clickhouse_connect.get_client(interface="chdb", path=self.url.query["path"])
        try:
            yield client
        finally:
            client.close()

    def run(self, statement: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        with self.client() as client:
            client.command(statement)

    def quoted(self, name: str) -> str:
        return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

    def day_of(self, column: str) -> str:
        return f"toDate32({self.quoted(column)})"

    def type_of(self, kind: LogicalType) -> str:
        if kind.element is not None:
            return f"Array(Nullable({_CLICKHOUSE.get(kind.element.kind, 'String')}))"
        if kind.kind is Kind.DECIMAL:
            return f"Nullable(Decimal({kind.precision}, {kind.scale}))"
        return f"Nullable({_CLICKHOUSE.get(kind.kind, 'String')})"

    def create(self, table: str, columns: str) -> None:
        self.run(f"CREATE TABLE {self.named(table)} ({columns}) ENGINE = MergeTree ORDER BY tuple()")

    def validation_target(self, plan: LoadPlan) -> SqlValidationTarget:
        return replace(
            super().validation_target(plan), null_flags={name: flag(name) for name in flagged(plan.contract)}
        )

    def hold(self, contract: TableContract, rows: Rows) -> None:
        """Hold rows as the destination does, which keeps beside an array whether it is NULL."""
        flags = tuple(Column(flag(name), LogicalType(Kind.BOOL)) for name in flagged(contract))
        columns = replace(contract, columns=(*contract.columns, *flags))
        said = [{**row, **{flag(name): row.get(name) is None for name in flagged(contract)}} for row in rows]
        super().hold(columns, said)

    def insert(self, contract: TableContract, values: list[list[Any]]) -> None:
        names = list(contract.column_names)
        rows = [
            [self._value(value, c.type.kind) for value, c in zip(row, contract.columns, strict=True)] for row in values
        ]
        with self.client() as client:
            client.insert(contract.table, rows, column_names=names, database=self.schema)

    def _value(self, value: Any, kind: Kind) -> Any:
        if value is None and kind is Kind.ARRAY:
            return []
        return str(value) if kind is Kind.TIME and value is not None else value
