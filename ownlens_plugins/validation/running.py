"""Run a contract's suite in one destination, on the rows that one load touched."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.core.batch import Batch
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.validator.validator import Validator

from ..api import Destination, LoadPlan, LoadResult
from ..contracts import Strategy
from ..errors import Rejected
from ..powers import SupportsCounting, SupportsSliceReading, SupportsSqlValidation
from .catalogue import PRESENCE, ROW_COUNTS
from .checks import columns_of
from .frame import needed_columns, touched_frame
from .library import data_context
from .outcome import errored, failed_expectation, store_trouble, trouble, unchecked_columns
from .result import ValidationResult
from .sql import SqlRows, sql_rows
from .suite import build_suite

# The quick pass asks only whether an expectation holds, which Great Expectations answers in one query for most of a
# suite. The second pass counts, for the few that do not. Neither lets the value of a row into a result.
_QUICK = "BOOLEAN_ONLY"
_COUNTED = {"result_format": "BASIC", "partial_unexpected_count": 0}


@dataclass(frozen=True)
class _Asked:
    """What is to be checked beyond the contract. `staged_rows` None leaves the row count open."""

    staged_rows: int | None
    exact_rows: bool
    fresh_since: datetime | None
    counts_only: bool


@dataclass(frozen=True)
class _Subject:
    """A suite and the rows that it is to be run on."""

    suite: Sequence[ExpectationConfiguration]
    engine: ExecutionEngine[Any]
    data: Any
    rows: int


def validate(destination: Destination[Any, Any], plan: LoadPlan, *, result: LoadResult | None) -> ValidationResult:
    """Check the rows that a load touched; see `ownlens_plugins.validation.validate`."""
    started = time.monotonic()
    expired = _may_have_expired(destination, plan)
    if plan.strategy is Strategy.OVERWRITE:
        plan = replace(plan, touched=None)  # rows that should have gone may lie outside of the staged days
    if _is_empty(plan, result) and plan.strategy is not Strategy.OVERWRITE:
        return ValidationResult(plan.table, plan.destination, True, 0, (), (), 0, time.monotonic() - started)
    with store_trouble(plan), _subject(destination, plan, _asked(plan, result, expired=expired)) as subject:
        broken = [failed_expectation(found) for found in _broken(plan, subject)]
    broken += unchecked_columns(plan.contract)
    failed = tuple(one for one in broken if one.severity == "critical")
    return ValidationResult(
        table=plan.table,
        destination=plan.destination,
        success=not failed,
        expectations=len(subject.suite),
        failed=failed,
        warnings=tuple(one for one in broken if one.severity != "critical"),
        rows=subject.rows,
        seconds=time.monotonic() - started,
    )


def _is_empty(plan: LoadPlan, result: LoadResult | None) -> bool:
    """Say whether the load left no rows to look at. An empty set may stand for older ones too, by the days it names."""
    return plan.rows == 0 and plan.touched is None and not (result and result.released)


def _may_have_expired(destination: Destination[Any, Any], plan: LoadPlan) -> bool:
    """Say whether retention may have taken rows of the set out again: how many are left cannot be told then."""
    if not isinstance(destination, SupportsCounting):
        return False
    kept = destination.kept_since(plan)
    return kept is not None and (plan.touched is None or plan.touched.first <= kept)


def _asked(plan: LoadPlan, result: LoadResult | None, *, expired: bool) -> _Asked:
    exact = _slice_is_staged_set(plan)
    fresh_since = plan.window.start if plan.rows else None
    expected = None if expired else _expected_rows(plan, result, exact=exact)
    return _Asked(expected, exact, fresh_since, _is_empty(plan, result))


def _expected_rows(plan: LoadPlan, result: LoadResult | None, *, exact: bool) -> int | None:
    if result is None:
        return plan.rows
    overtaken = result.rows == 0 < plan.rows
    if overtaken or (exact and result.replayed):  # newer loads may have replaced the rows since
        return None
    return min(result.rows, plan.rows - result.rejected)


def _slice_is_staged_set(plan: LoadPlan) -> bool:
    """Say whether the strategy leaves nothing but staged rows between the first and the last touched day."""
    if plan.strategy is not Strategy.REPLACE_PARTITION:
        return plan.strategy is Strategy.OVERWRITE
    if plan.rows == 0:
        return False
    if plan.touched is None or plan.touched.first == plan.touched.last:
        return True
    # A late row far in the past stretches the slice over days that this load left alone.
    days = pc.unique(pa.chunked_array(_staged_days(plan), pa.date32()))
    return len(days) == (plan.touched.last - plan.touched.first).days + 1


def _staged_days(plan: LoadPlan) -> Iterator[pa.Array]:
    assert plan.touched is not None
    for batch in plan.reader([plan.touched.column]):
        yield pc.unique(batch.column(0).cast(pa.date32()))


@contextmanager
def _subject(destination: Destination[Any, Any], plan: LoadPlan, asked: _Asked) -> Iterator[_Subject]:
    if not isinstance(destination, SupportsSqlValidation):
        yield _framed(destination, plan, asked)
        return
    target = destination.validation_target(plan)
    try:
        with sql_rows(target) as rows:
            yield _in_place(rows, plan, asked)
    finally:
        destination.release_validation_target(target)


def _in_place(rows: SqlRows, plan: LoadPlan, asked: _Asked) -> _Subject:
    parents = rows.present({reference.table for reference in plan.contract.references})
    suite = _suite(plan, asked, rows.target.dialect, parents)
    engine = rows.execution_engine(plan.contract.columns)
    return _Subject(suite, engine, rows.batch_data(engine), rows.count())


def _framed(destination: Destination[Any, Any], plan: LoadPlan, asked: _Asked) -> _Subject:
    suite = _suite(plan, asked, None)
    values = [name for one in suite if one.type not in PRESENCE for name in columns_of(one.kwargs)]
    presence = [*plan.contract.key, *(name for one in suite for name in columns_of(one.kwargs))]
    reader = _reader(destination, plan, needed_columns(plan.touched, values, presence))
    frame = touched_frame(reader, plan.touched, values=values, presence=presence)
    return _Subject(suite, PandasExecutionEngine(), frame, len(frame))


def _reader(destination: Destination[Any, Any], plan: LoadPlan, columns: list[str]) -> pa.RecordBatchReader:
    if isinstance(destination, SupportsSliceReading):
        return destination.read_slice(plan, columns)
    return destination.read(plan)


def _suite(
    plan: LoadPlan, asked: _Asked, dialect: str | None, parents: Collection[str] = ()
) -> list[ExpectationConfiguration]:
    suite = build_suite(
        plan.contract,
        destination=plan.destination,
        dialect=dialect,
        strategy=plan.strategy,
        staged_rows=asked.staged_rows,
        exact_rows=asked.exact_rows,
        fresh_since=asked.fresh_since,
        parents=parents,
    )
    configurations = [expectation.configuration for expectation in suite]
    return [one for one in configurations if one.type in ROW_COUNTS] if asked.counts_only else configurations


def _broken(plan: LoadPlan, subject: _Subject) -> list[ExpectationValidationResult]:
    validator = Validator(subject.engine, batches=[Batch(data=subject.data)], data_context=data_context())
    quick = _run(plan, validator, subject.suite, _QUICK)
    unmet = [found.expectation_config for found in quick if not found.success and found.expectation_config]
    return [found for found in _run(plan, validator, unmet, _COUNTED) if not found.success]


def _run(
    plan: LoadPlan, validator: Validator, suite: Sequence[ExpectationConfiguration], result_format: Any
) -> list[ExpectationValidationResult]:
    results = _evaluated(validator, suite, result_format)
    if any(errored(found) for found in results):
        # One query serves many expectations, and an error in it is told of all of them: ask again, one by one.
        results = [found for one in suite for found in _evaluated(validator, [one], result_format)]
        for found in filter(errored, results):
            raise trouble(plan, found)
    if len(results) != len(suite):
        raise Rejected(f"{plan.table}: {plan.destination} evaluated {len(results)} of {len(suite)} expectations")
    return results


def _evaluated(
    validator: Validator, suite: Sequence[ExpectationConfiguration], result_format: Any
) -> list[ExpectationValidationResult]:
    return validator.graph_validate(list(suite), {"result_format": result_format}) if suite else []
