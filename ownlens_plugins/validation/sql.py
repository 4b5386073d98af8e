"""Rows where they are, in PostgreSQL or ClickHouse, as Great Expectations reaches them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine

from ..api import SqlValidationTarget
from ..contracts import Reference
from .catalogue import CLICKHOUSE, POSTGRESQL

# Not by SQLAlchemy's own, which doubles per cent signs for a query that is not text.
_QUOTED: Mapping[str, Callable[[str], str]] = {
    POSTGRESQL: lambda name: '"' + name.replace('"', '""') + '"',
    CLICKHOUSE: lambda name: "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`",
}
_CURRENT_SCHEMA: Mapping[str, str] = {POSTGRESQL: "current_schema()", CLICKHOUSE: "currentDatabase()"}
# PostgreSQL loads parents first. In ClickHouse a parent without rows is one that has yet to come.
_HOLDING_ROWS: Mapping[str, str] = {POSTGRESQL: "", CLICKHOUSE: "AND table_rows > 0"}


@dataclass(frozen=True)
class SqlRows:
    """One relation through connections of its own, which end with the validation."""

    target: SqlValidationTarget
    engine: sa.Engine

    def execution_engine(self) -> SqlAlchemyExecutionEngine:
        """Return an engine of Great Expectations. Not shared: it keeps the batch that was loaded last."""
        engine = SqlAlchemyExecutionEngine(engine=self.engine, create_temp_table=False)
        if self.target.dialect != POSTGRESQL:
            # It looks for another driver's dialect of ClickHouse, and without any it runs no regular expression.
            engine.dialect_module = sys.modules[type(self.engine.dialect).__module__]
        return engine

    def batch_data(self, engine: SqlAlchemyExecutionEngine) -> SqlAlchemyBatchData:
        """Return the relation as Great Expectations takes it: a table asset, as a query would be run without limit."""
        return SqlAlchemyBatchData(
            engine, schema_name=self.target.schema, table_name=self.target.relation, create_temp_table=False
        )

    def count(self) -> int:
        """Return the number of rows."""
        relation = sa.table(self.target.relation, schema=self.target.schema)
        with self.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(relation)).scalar_one())

    def orphan_queries(self, references: Iterable[Reference]) -> dict[str, str]:
        """Return by column the query that selects a 1 for each orphan, for parents that this store has."""
        references = tuple(references)
        parents = self._existing({reference.table for reference in references}) if references else set()
        return {ref.column: self._orphans(ref) for ref in references if ref.table in parents}

    def _existing(self, tables: set[str]) -> set[str]:
        schema = "CAST(:schema AS text)" if self.target.dialect == POSTGRESQL else ":schema"
        query = sa.text(
            "SELECT table_name FROM information_schema.tables WHERE table_name IN :tables "
            f"AND table_schema = {schema if self.target.schema else _CURRENT_SCHEMA[self.target.dialect]} "
            f"{_HOLDING_ROWS[self.target.dialect]}"
        ).bindparams(sa.bindparam("tables", expanding=True))
        values = {"tables": sorted(tables), **({"schema": self.target.schema} if self.target.schema else {})}
        with self.engine.connect() as connection:
            return set(connection.execute(query, values).scalars())

    def _orphans(self, reference: Reference) -> str:
        child, parent = self._quoted(reference.column), self._quoted(reference.parent_column)
        table = self._quoted(reference.table)
        relation = f"{self._quoted(self.target.schema)}.{table}" if self.target.schema else table
        children = f"SELECT {child} AS ownlens_child FROM {{batch}} WHERE {child} IS NOT NULL"
        if self.target.dialect == POSTGRESQL:  # where NOT IN turns quadratic once the parents outgrow work_mem
            lost = f"NOT EXISTS (SELECT 1 FROM {relation} AS parents WHERE parents.{parent} = children.ownlens_child)"
        else:
            lost = f"children.ownlens_child NOT IN (SELECT {parent} FROM {relation})"
        return f"SELECT 1 AS orphan FROM ({children}) AS children WHERE {lost}"

    def _quoted(self, name: str) -> str:
        # Braces and colons mean something to the two templates that the query goes through.
        return _QUOTED[self.target.dialect](name).replace("{", "{{").replace("}", "}}").replace(":", "\\:")


@contextmanager
def sql_rows(target: SqlValidationTarget) -> Iterator[SqlRows]:
    """Connect to a validation target, and leave no connection behind."""
    engine = _engine(target)
    try:
        yield SqlRows(target, engine)
    finally:
        engine.dispose()


def _engine(target: SqlValidationTarget) -> sa.Engine:
    # One pooled connection serves the queries of a validation in turn; opening one costs ClickHouse 18 ms.
    if target.dialect == POSTGRESQL:
        return sa.create_engine(target.url, pool_size=1, execution_options={"postgresql_readonly": True})
    engine = sa.create_engine(target.url, pool_size=1)
    engine.dialect.statement_compiler = _counting_characters(engine.dialect.statement_compiler)
    return engine


def _counting_characters(compiler: type[sa.sql.compiler.SQLCompiler]) -> type[sa.sql.compiler.SQLCompiler]:
    class CharacterCompiler(compiler):  # type: ignore[misc, valid-type]
        """Counts characters like the other stores; ClickHouse's `length` counts bytes."""

        def visit_length_func(self, function: Any, **keywords: Any) -> str:
            return f"lengthUTF8{self.function_argspec(function, **keywords)}"

    return CharacterCompiler
