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

from ..api import Destination, LoadPlan, LoadResult
from ..contracts import Strategy
from ..powers import SupportsCounting, SupportsSliceReading, SupportsSqlValidation
from .arrow import ArrowRows, arrow_rows, needed_columns
from .asking import Check, Inquiry, Rows, Verdict, verdicts
from .catalogue import PRESENCE, ROW_COUNTS, inquiry
from .outcome import failed_expectation, store_trouble, trouble
from .result import Evaluated, ValidationResult
from .sql import SqlRows, sql_rows
from .suite import suite_of


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

    suite: Sequence[Check]
    rows: ArrowRows | SqlRows


def validate(destination: Destination[Any, Any], plan: LoadPlan, *, result: LoadResult | None) -> ValidationResult:
    """Check the rows that a load touched; see `ownlens_plugins.validation.validate`."""
    started = time.monotonic()
    expired = _may_have_expired(destination, plan)
    if plan.strategy is Strategy.OVERWRITE:
        plan = replace(plan, touched=None)  # rows that should have gone may lie outside of the staged days
    if _is_empty(plan, result) and plan.strategy is not Strategy.OVERWRITE:
        return ValidationResult(plan.table, plan.destination, True, 0, (), (), 0, time.monotonic() - started)
    with store_trouble(plan), _subject(destination, plan, _asked(plan, result, expired=expired)) as subject:
        rows, found = _judged(plan, subject)
    broken = [failed_expectation(check, verdict) for check, verdict in found if not verdict.success]
    failed = tuple(one for one in broken if one.severity == "critical")
    return ValidationResult(
        table=plan.table,
        destination=plan.destination,
        success=not failed,
        expectations=len(found),
        failed=failed,
        warnings=tuple(one for one in broken if one.severity != "critical"),
        rows=rows,
        seconds=time.monotonic() - started,
        evaluated=tuple(Evaluated(c.name, dict(c.keywords), v.success, v.result) for c, v in found),
    )


def _judged(plan: LoadPlan, subject: _Subject) -> tuple[int, list[tuple[Check, Verdict]]]:
    """Return the number of rows, and each check with its verdict."""
    rows = Rows(subject.rows.dialect, {column.name: column for column in plan.contract.columns})
    asked = [_row_count(), *(inquiry(check, rows) for check in subject.suite)]
    checks = [None, *subject.suite]
    counted, *found = verdicts(asked, subject.rows.ask, lambda place, error: trouble(plan, checks[place], error))
    return counted.result["rows"], list(zip(subject.suite, found, strict=True))


def _row_count() -> Inquiry:
    (rows,) = yield ["count(*)"]
    return Verdict(True, {"rows": rows})


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
        with _fetched(destination, plan, asked) as subject:
            yield subject
        return
    target = destination.validation_target(plan)
    try:
        with sql_rows(target) as rows:
            parents = rows.present({reference.table for reference in plan.contract.references})
            yield _Subject(_suite(plan, asked, parents), rows)
    finally:
        destination.release_validation_target(target)


@contextmanager
def _fetched(destination: Destination[Any, Any], plan: LoadPlan, asked: _Asked) -> Iterator[_Subject]:
    suite = _suite(plan, asked)
    values = [name for one in suite if one.name not in PRESENCE for name in one.columns]
    presence = [*plan.contract.key, *(name for one in suite for name in one.columns)]
    reader = _reader(destination, plan, needed_columns(plan.touched, values, presence))
    with arrow_rows(reader, plan.touched, values=values, presence=presence) as rows:
        yield _Subject(suite, rows)


def _reader(destination: Destination[Any, Any], plan: LoadPlan, columns: list[str]) -> pa.RecordBatchReader:
    if isinstance(destination, SupportsSliceReading):
        return destination.read_slice(plan, columns)
    return destination.read(plan)


def _suite(plan: LoadPlan, asked: _Asked, parents: Collection[str] = ()) -> list[Check]:
    suite = suite_of(
        plan.contract,
        destination=plan.destination,
        strategy=plan.strategy,
        staged_rows=asked.staged_rows,
        exact_rows=asked.exact_rows,
        fresh_since=asked.fresh_since,
        parents=parents,
    )
    return [one for one in suite if one.name in ROW_COUNTS] if asked.counts_only else suite
