"""The part of the table that a load is about: the days that it touches, and those that its set holds completely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Kind, Strategy, TableContract
from ownlens_plugins.errors import Rejected

from . import sql


def exchanges(plan: LoadPlan) -> bool:
    """Tell whether the staged rows become the table: an upsert of the whole source is one, too."""
    covers = plan.covers
    whole = covers is not None and covers.days is None and not covers.keys_only
    return plan.strategy is Strategy.OVERWRITE or (plan.strategy is Strategy.UPSERT and whole)


def keys_only(plan: LoadPlan) -> bool:
    """Tell whether the parts hold keys and no rows.

    Raises:
        Rejected: the strategy would take them for rows.
    """
    if plan.covers is None or not plan.covers.keys_only:
        return False
    if plan.strategy is not Strategy.UPSERT:
        raise Rejected(f"{plan.table}: {plan.destination}: {plan.strategy} needs whole rows, not keys; use upsert")
    return True


def overrules(plan: LoadPlan) -> bool:
    """Tell whether staged rows win over any version: the set is what the source holds now."""
    return plan.covers is not None and not plan.covers.keys_only


def touched(plan: LoadPlan) -> str | None:
    """Return the condition of the rows of the touched days; None when that is the whole table."""
    if plan.touched is None:
        return None
    return _between(_day(plan.contract, plan.touched.column), plan.touched.first, plan.touched.last)


def covered(plan: LoadPlan) -> str | None:
    """Return the condition of the rows of the covered days; None when that is the whole table."""
    if plan.covers is None or plan.covers.days is None:
        return None
    day = _day(plan.contract, str(plan.covers.column))
    spans = [_between(day, first, last) for first, last in _spans(plan.covers.days)]
    return f"({' OR '.join(spans)})" if spans else "false"


def before(contract: TableContract, day: date) -> str:
    """Return the condition of the rows of the days before that one."""
    return f"{_day(contract, str(contract.partition_by))} < toDate32({sql.literal(day.isoformat())})"


def _day(contract: TableContract, column: str) -> str:
    name = sql.identifier(column)
    return name if contract.column(column).type.kind is Kind.DATE else f"toDate32({name})"


def _between(day: str, first: date, last: date) -> str:
    ends = " AND ".join(f"toDate32({sql.literal(each.isoformat())})" for each in (first, last))
    return f"{day} BETWEEN {ends}"


def _spans(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """Yield days that follow one another as one span: a statement of thousands of days would be too long."""
    first = last = None
    for day in sorted(set(days)):
        if first is None or last is None or day - last > timedelta(days=1):
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last
