"""OwnLens's own expectation: many required columns counted in one pass over the rows instead of one pass each."""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

_METRIC = "ownlens.null_counts"


class NullCounts(TableMetricProvider):
    """How many rows have no value, by column."""

    metric_name = _METRIC
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


class ExpectRequiredColumnsToHaveValues(BatchExpectation):
    """Expect no row to lack a value in any of `column_list`; the observed value is the null count by column."""

    column_list: list[str]

    metric_dependencies: ClassVar[tuple[str, ...]] = (_METRIC,)
    success_keys: ClassVar[tuple[str, ...]] = ("column_list",)
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id",)

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,  # noqa: ARG002
        execution_engine: Any = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        missing = {name: count for name, count in metrics[_METRIC].items() if count}
        return {"success": not missing, "result": {"observed_value": missing}}
