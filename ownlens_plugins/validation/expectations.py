"""OwnLens's own expectations: what would be many, counted in one pass over the rows."""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from .catalogue import POSTGRESQL

_NULLS = "ownlens.null_counts"
_ORPHANS = "ownlens.orphan_counts"


class NullCounts(TableMetricProvider):
    """How many rows have no value, by column."""

    metric_name = _NULLS
    value_keys = ("column_list",)

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> dict[str, int]:
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        return {name: int(frame[name].isna().sum()) for name in metric_value_kwargs["column_list"]}

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls,
        execution_engine: SqlAlchemyExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> dict[str, int]:
        rows, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        names = metric_value_kwargs["column_list"]
        counts = [sa.func.count(), *(sa.func.count(sa.column(name)) for name in names)]
        total, *present = execution_engine.execute_query(sa.select(*counts).select_from(rows)).fetchone()
        return {name: total - count for name, count in zip(names, present, strict=True)}


class OrphanCounts(TableMetricProvider):
    """How many rows name a parent that is not there, by column. SQL only; the parents lie beside the relation."""

    metric_name = _ORPHANS
    value_keys = ("references",)

    @metric_value(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(
        cls, execution_engine: SqlAlchemyExecutionEngine, metric_value_kwargs: dict[str, Any], **_: Any
    ) -> dict[str, int]:
        batch: Any = execution_engine.batch_manager.active_batch_data
        references = metric_value_kwargs["references"]
        dialect = execution_engine.dialect_name
        counts = [_orphans(batch.selectable, dialect, *reference) for reference in references]
        found = execution_engine.execute_query(sa.select(*counts)).fetchone()
        return {column: count for (column, _, _), count in zip(references, found, strict=True)}


def _orphans(relation: Any, dialect: str, column: str, parent: str, parent_column: str) -> sa.ScalarSelect[int]:
    # Great Expectations may hand out a query instead of a table.
    children = sa.select(sa.column(column).label("child")).select_from(relation).subquery("children")
    parents = sa.table(parent, sa.column(parent_column), schema=getattr(relation, "schema", None)).alias("parents")
    named, known = children.c.child, parents.c[parent_column]
    # PostgreSQL turns NOT IN quadratic once the parents outgrow work_mem; ClickHouse has it as a hash lookup.
    lost = ~sa.exists().where(known == named) if dialect == POSTGRESQL else named.not_in(sa.select(known))
    return sa.select(sa.func.count()).select_from(children).where(named.is_not(None), lost).scalar_subquery()


class ExpectRequiredColumnsToHaveValues(BatchExpectation):
    """Expect no row to lack a value in any of `column_list`; the observed value is the null count by column."""

    column_list: list[str]

    metric_dependencies: ClassVar[tuple[str, ...]] = (_NULLS,)
    success_keys: ClassVar[tuple[str, ...]] = ("column_list",)
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        missing = {name: count for name, count in metrics[_NULLS].items() if count}
        return {"success": not missing, "result": {"observed_value": missing}}


class ExpectReferencesToExist(BatchExpectation):
    """Expect `references` ([column, parent table, parent column], ...) to name rows that are there.

    The observed value is the number of orphans by column.
    """

    references: list[list[str]]

    metric_dependencies: ClassVar[tuple[str, ...]] = (_ORPHANS,)
    success_keys: ClassVar[tuple[str, ...]] = ("references",)
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        orphans = {name: count for name, count in metrics[_ORPHANS].items() if count}
        return {"success": not orphans, "result": {"observed_value": orphans}}
