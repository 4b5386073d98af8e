"""Rows where they are, in PostgreSQL or ClickHouse, as Great Expectations reaches them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine

from ..contracts import Column, Kind
from ..powers import SqlValidationTarget
from .catalogue import CLICKHOUSE, POSTGRESQL

# In ClickHouse, where tables come in any order, a parent without rows is one that has yet to come.
_PRESENT: Mapping[str, str] = {
    POSTGRESQL: "SELECT table_name FROM information_schema.tables WHERE table_name IN :tables "
    "AND table_schema = coalesce(CAST(:schema AS text), current_schema())",
    CLICKHOUSE: "SELECT name FROM system.tables WHERE name IN :tables "
    "AND database = if(:schema = '', currentDatabase(), :schema) AND total_rows > 0",
}
# As much as Great Expectations asks of a type: whether it can be compared with a number.
_TYPES: Mapping[Kind, sa.types.TypeEngine[Any]] = {
    Kind.BOOL: sa.Boolean(),
    Kind.INT16: sa.SmallInteger(),
    Kind.INT32: sa.Integer(),
    Kind.INT64: sa.BigInteger(),
    Kind.FLOAT32: sa.Float(),
    Kind.FLOAT64: sa.Double(),
    Kind.DECIMAL: sa.Numeric(),
    Kind.DATE: sa.Date(),
    Kind.TIME: sa.Time(),
    Kind.TIMESTAMP: sa.DateTime(),
    Kind.TIMESTAMPTZ: sa.DateTime(timezone=True),
}
_NO_SCHEMA: Mapping[str, str | None] = {POSTGRESQL: None, CLICKHOUSE: ""}


@dataclass(frozen=True)
class SqlRows:
    """One relation, through connections that end with the last validation of its store."""

    target: SqlValidationTarget
    engine: sa.Engine

    def execution_engine(self, columns: Sequence[Column]) -> SqlAlchemyExecutionEngine:
        """Return an engine of Great Expectations. Not shared: it keeps the batch that was loaded last."""
        engine = _ExecutionEngine(engine=self.engine, create_temp_table=False)
        engine.relation_columns = columns
        if self.target.dialect == CLICKHOUSE:
            # It looks for another driver's dialect of ClickHouse, and without any it runs no regular expression.
            engine.dialect_module = sys.modules[type(self.engine.dialect).__module__]
        return engine

    def batch_data(self, engine: SqlAlchemyExecutionEngine) -> SqlAlchemyBatchData:
        """Return the relation as Great Expectations takes it."""
        return SqlAlchemyBatchData(
            engine, schema_name=self.target.schema, table_name=self.target.relation, create_temp_table=False
        )

    def count(self) -> int:
        """Return the number of rows."""
        relation = sa.table(self.target.relation, schema=self.target.schema)
        with self.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(relation)).scalar_one())

    def present(self, tables: Collection[str]) -> set[str]:
        """Return those of the tables that this store has, beside the relation."""
        if not tables or self.target.dialect not in _PRESENT:
            return set()
        query = sa.text(_PRESENT[self.target.dialect]).bindparams(sa.bindparam("tables", expanding=True))
        values = {"tables": sorted(tables), "schema": self.target.schema or _NO_SCHEMA[self.target.dialect]}
        with self.engine.connect() as connection:
            return set(connection.execute(query, values).scalars())


class _ExecutionEngine(SqlAlchemyExecutionEngine):
    """Takes the relation's columns from the contract, for a reflection costs as much as the rest of a validation."""

    relation_columns: Sequence[Column] = ()

    def get_inspector(self) -> Any:
        return _Columns(self.relation_columns, self.engine.dialect)

    def close(self) -> None:
        """Leave the connections to the other validations; this is called whenever an instance is collected."""


@dataclass(frozen=True)
class _Columns:
    """Answers what Great Expectations asks SQLAlchemy's inspector."""

    columns: Sequence[Column]
    dialect: sa.Dialect

    def get_columns(self, **_: Any) -> list[dict[str, Any]]:
        return [{"name": column.name, "type": _TYPES.get(column.type.kind, sa.String())} for column in self.columns]

    def get_pk_constraint(self, **_: Any) -> dict[str, Any]:
        return {"constrained_columns": []}


@contextmanager
def sql_rows(target: SqlValidationTarget) -> Iterator[SqlRows]:
    """Reach a validation target, and leave no connection behind when no other validation of its store is running."""
    with _lock:
        shared = _engines.get(target.url) or _engines.setdefault(target.url, _Shared(_engine(target)))
        shared.users += 1
    try:
        yield SqlRows(target, shared.engine)
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users:
                shared.engine.dispose()


@dataclass
class _Shared:
    """An engine knows its server after the first connection; its pool is empty while nobody uses it."""

    engine: sa.Engine
    users: int = 0


_lock = threading.Lock()
_engines: dict[sa.URL, _Shared] = {}


def _engine(target: SqlValidationTarget) -> sa.Engine:
    options = {"postgresql_readonly": True} if target.dialect == POSTGRESQL else {}
    engine = sa.create_engine(target.url, pool_size=8, execution_options=options)
    if target.dialect == CLICKHOUSE:
        engine.dialect.statement_compiler = _counting_characters(engine.dialect.statement_compiler)
    return engine


def _counting_characters(compiler: type[sa.sql.compiler.SQLCompiler]) -> type[sa.sql.compiler.SQLCompiler]:
    class CharacterCompiler(compiler):  # type: ignore[misc, valid-type]
        """Counts characters like the other stores; ClickHouse's `length` counts bytes."""

        def visit_length_func(self, function: Any, **keywords: Any) -> str:
            return f"lengthUTF8{self.function_argspec(function, **keywords)}"

    return CharacterCompiler
