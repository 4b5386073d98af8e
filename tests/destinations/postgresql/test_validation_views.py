"""Where Great Expectations looks: the table, or a view of the days that a load touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ownlens_plugins.powers import SqlValidationTarget
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows

from .conftest import Store


def views(store: Store) -> list[str]:
    return [name for (name,) in store.sql("SELECT viewname FROM pg_views WHERE schemaname = 'public' ORDER BY 1")]


def ids(target: SqlValidationTarget) -> list[int]:
    engine = sa.create_engine(target.url, poolclass=sa.NullPool)
    relation = sa.table(target.relation, sa.column("id"), schema=target.schema)
    with engine.connect() as connection:
        return sorted(connection.execute(sa.select(relation.c.id)).scalars())


def test_a_table_without_slices_is_shown_whole(store: Store) -> None:
    contract = sample_contract(preset="reference")
    store.load(sample_rows(4), contract=contract)
    target = store.destination.validation_target(store.plan(sample_rows(2), contract=contract, sequence=2))
    assert (target.schema, target.relation, target.dialect) == ("public", "samples", "postgresql")
    assert ids(target) == [0, 1, 2, 3]
    store.destination.release_validation_target(target)
    assert len(store.landed(contract)) == 4


@pytest.mark.parametrize("column", ["day", "local", "created_at"])
def test_a_view_shows_the_touched_days(store: Store, column: str) -> None:
    contract = sample_contract(partition_by=column, columns={**EVERY_TYPE, "local": "timestamp"})
    first = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [first + timedelta(days=day) - timedelta(microseconds=early) for day in range(4) for early in (0, 1)]
    rows = [
        {**row, "created_at": moment, "local": moment.replace(tzinfo=None), "day": moment.date()}
        for row, moment in zip(sample_rows(8), moments, strict=True)
    ]
    store.load(rows, contract=contract)
    plan = store.plan(rows[2:6], contract=contract, sequence=2)  # the second day, the last instant of the first ...
    assert plan.touched is not None
    target = store.destination.validation_target(plan)
    inside = [row["id"] for row in rows if plan.touched.first <= row["day"] <= plan.touched.last]
    assert inside == [0, 2, 3, 4, 5, 7]
    assert ids(target) == inside
    assert views(store) == [target.relation]
    store.destination.release_validation_target(target)
    store.destination.release_validation_target(target)  # once more does no harm
    assert views(store) == []


def test_the_url_masks_the_password_and_carries_every_character(make_store: Callable[..., Store]) -> None:
    store = make_store(password="p@ss%/:'\"w", host="/tmp/a b")
    # No connection is made for a table without slices.
    target = store.destination.validation_target(store.plan([], contract=sample_contract(preset="reference")))
    assert "p@ss" not in str(target.url)
    assert "p%40ss" not in repr(target)
    arguments = target.url.get_dialect()().create_connect_args(target.url)[1]
    assert arguments["password"] == "p@ss%/:'\"w"
    assert arguments["host"] == "/tmp/a b"
    assert arguments["sslmode"] == "prefer"


def test_views_that_a_crash_left_are_dropped_after_a_day(store: Store) -> None:
    store.load(sample_rows(3))

    def view(age: timedelta) -> str:
        name = f"_ownlens_validation_{datetime.now(UTC) - age:%Y%m%d%H%M%S}_{os.urandom(8).hex()}"
        store.sql(f"CREATE VIEW {name} AS SELECT 1 AS x")
        return name

    kept = [view(timedelta(hours=23)), view(timedelta(0))]
    view(timedelta(hours=25))
    view(timedelta(days=400))
    store.sql("CREATE VIEW _ownlens_validations AS SELECT 1 AS x")
    target = store.destination.validation_target(store.plan(sample_rows(1), sequence=2))
    assert set(views(store)) == {*kept, target.relation, "_ownlens_validations"}
    store.destination.release_validation_target(target)


def test_a_view_lies_beside_the_tables_that_its_references_name(store: Store) -> None:
    parent = sample_contract(preset="reference", table="parents", columns={"id": "int64", "updated_at": "timestamptz"})
    store.load([], contract=parent)
    store.load(sample_rows(3))
    target = store.destination.validation_target(store.plan(sample_rows(3), sequence=2))
    assert store.sql("SELECT to_regclass(%s) IS NOT NULL", f"{target.schema}.parents") == [(True,)]
    store.destination.release_validation_target(target)
