"""What the lake counts is what it shows: rows and keys of some days, or of the whole table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from ownlens_plugins.api import Covers, LoadPlan, TouchedSlice
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.powers import SliceCounts, SupportsCounting
from ownlens_s3.destination import S3Destination

from .loads import Loader, contract_of
from .moving import FIRST, KEYS, LAYOUTS, Mover, row


def _of(destination: S3Destination, plan: LoadPlan, first: int | None, last: int = 0) -> tuple[int, int]:
    column = plan.contract.partition_by or ""
    days = None if first is None else (FIRST + timedelta(days=first), FIRST + timedelta(days=last))
    counts = destination.count(replace(plan, touched=days and TouchedSlice(column, *days)))
    return counts.rows, counts.keys


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("key", KEYS)
def test_rows_and_keys_of_days(destination: S3Destination, tmp_path: Path, layout: str, key: str) -> None:
    table = Mover.of(destination, tmp_path, layout, key=key)
    table.load(1, [row(n, day=n % 6) for n in range(30)])
    table.load(2, [row(1, day=40, version=1)])
    plan = table.loader.plans[2]
    days = [(None, 0), (0, 0), (1, 1), (2, 3), (-5, 100), (7, 39), (40, 40)]
    assert [_of(destination, plan, *span) for span in days] == [(number, number) for number in (30, 5, 4, 10, 30, 0, 1)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_days_of_long_ago_and_of_the_far_future(local: S3Destination, tmp_path: Path, layout: str) -> None:
    table = Mover.of(local, tmp_path, layout)
    moments = [datetime(year, month, day, 23, 59, 59, 999_999, UTC) for year, month, day in _ODD_DAYS]
    table.load(1, [{**row(n), "at": moment, "day": moment.date()} for n, moment in enumerate(moments)])
    plan = table.loader.plans[1]
    for moment in moments:
        touched = TouchedSlice(plan.contract.partition_by or "", moment.date(), moment.date())
        assert local.count(replace(plan, touched=touched)) == SliceCounts(1, 1)
    table.load(2, [], Covers("at", tuple(moment.date() for moment in moments[:2])))
    assert local.count(replace(plan, touched=None)) == SliceCounts(2, 2)


_ODD_DAYS = [(1, 1, 1), (1969, 12, 31), (1970, 1, 1), (9999, 12, 31)]


@pytest.mark.parametrize("form", ["parquet", "json"])
@pytest.mark.parametrize("partition", ["none", "day", "month"])
@pytest.mark.parametrize("column", ["day", "created_at"])
def test_files_are_counted_alike(local: S3Destination, tmp_path: Path, form: str, partition: str, column: str) -> None:
    loader = Loader(local, contract_of("overwrite", form, partition, partition_by=column), tmp_path)
    loader.load(1, loader.rows(30, days=5))
    plan = loader.plans[1]
    assert local.count(replace(plan, touched=None)) == SliceCounts(30, 30)
    assert local.count(replace(plan, touched=TouchedSlice(column, date(2026, 1, 2), date(2026, 1, 3)))) == (
        SliceCounts(12, 12)
    )


@pytest.mark.parametrize("form", ["delta", "parquet", "json"])
def test_a_key_that_is_there_twice_shows(local: S3Destination, tmp_path: Path, form: str) -> None:
    strategy = "append" if form == "delta" else "overwrite"
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, pa.concat_tables([loader.rows(10), loader.rows(4, version=1)]))
    assert local.count(replace(loader.plans[1], touched=None)) == SliceCounts(14, 10)


@pytest.mark.parametrize("form", ["delta", "parquet", "json"])
def test_a_table_that_is_not_there_has_no_rows(local: S3Destination, tmp_path: Path, form: str) -> None:
    loader = Loader(local, contract_of("overwrite", form), tmp_path)
    plan = loader.plan(1, loader.rows(3))
    assert local.count(plan) == SliceCounts(0, 0)
    load(local, replace(plan, strategy=Strategy.OVERWRITE))
    assert local.count(plan) == SliceCounts(3, 3)


def test_the_oldest_day_is_the_one_that_retention_leaves(local: S3Destination, tmp_path: Path) -> None:
    assert isinstance(local, SupportsCounting)
    today = datetime.now(UTC).date()
    for partition, options, oldest in (
        ("day", {}, None),
        ("day", {"retention_days": 30}, today - timedelta(days=29)),
        ("month", {"retention_days": 30}, (today - timedelta(days=29)).replace(day=1)),
    ):
        loader = Loader(local, contract_of("append", partition=partition, options=options), tmp_path)
        assert local.kept_since(loader.plan(1, loader.rows(0))) == oldest
