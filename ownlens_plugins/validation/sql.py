"""Rows where they are, in PostgreSQL or ClickHouse."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from ..powers import SqlValidationTarget
from .asking import Unanswered
from .catalogue import CLICKHOUSE, POSTGRESQL
from .dialects import ClickHouse, Dialect, PostgreSQL
from .outcome import names_of, store_is_away

# In ClickHouse, where tables come in any order, a parent without rows is one that has yet to come.
_PRESENT: Mapping[str, str] = {
    POSTGRESQL: "SELECT table_name FROM information_schema.tables WHERE table_name IN :tables "
    "AND table_schema = coalesce(CAST(:schema AS text), current_schema())",
    CLICKHOUSE: "SELECT name FROM system.tables WHERE name IN :tables "
    "AND database = if(:schema = '', currentDatabase(), :schema) AND total_rows > 0",
}
_NO_SCHEMA: Mapping[str, str | None] = {POSTGRESQL: None, CLICKHOUSE: ""}
# Short of PostgreSQL's 1,664 columns, and of the 256 KiB that ClickHouse reads of a query.
_MOST_QUESTIONS = 500
_MOST_CHARACTERS = 200_000


@dataclass(frozen=True)
class SqlRows:
    """One relation, through connections that end with the last validation of its store."""

    target: SqlValidationTarget
    engine: sa.Engine

    @cached_property
    def dialect(self) -> Dialect:
        if self.target.dialect == CLICKHOUSE:
            spelt = ClickHouse("", database=self.target.schema, null_flags=self.target.null_flags)
            return ClickHouse(spelt.beside(self.target.relation), self.target.schema, self.target.null_flags)
        relation = PostgreSQL("", schema=self.target.schema).beside(self.target.relation)
        return PostgreSQL(relation, schema=self.target.schema)

    def ask(self, questions: Sequence[str]) -> list[Any]:
        """Answer questions about the rows, in one statement as long as it is not too long.

        Raises:
            Unanswered: the store refused it.
        """
        return [answer for some in _statements(questions) for answer in self._answers(some)]

    def _answers(self, questions: Sequence[str]) -> list[Any]:
        statement = self.dialect.statement(questions)
        try:
            with self.engine.connect() as connection:
                # As it is: a driver that saw parameters would take percent signs for them.
                exact = connection.execution_options(no_parameters=True)
                (found,) = exact.exec_driver_sql(statement).fetchall()
        except sa.exc.SQLAlchemyError as error:
            if store_is_away(error):
                raise
            raise Unanswered(names_of(error)[-1]) from None
        return [int(value) if isinstance(value, Decimal) else value for value in found[1:]]

    def present(self, tables: Collection[str]) -> set[str]:
        """Return those of the tables that this store has, beside the relation."""
        if not tables or self.target.dialect not in _PRESENT:
            return set()
        query = sa.text(_PRESENT[self.target.dialect]).bindparams(sa.bindparam("tables", expanding=True))
        values = {"tables": sorted(tables), "schema": self.target.schema or _NO_SCHEMA[self.target.dialect]}
        with self.engine.connect() as connection:
            return set(connection.execute(query, values).scalars())


def _statements(questions: Sequence[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for question in questions:
        if some and (len(some) == _MOST_QUESTIONS or size + len(question) > _MOST_CHARACTERS):
            yield some
            some, size = [], 0
        some.append(question)
        size += len(question)
    if some:
        yield some


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
    return sa.create_engine(target.url, pool_size=8, execution_options=options)
