"""The three destinations that come with OwnLens: what they load passes, and what is spoilt afterwards is noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins import Destination, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import make_plan, sample_contract, sample_rows, sample_table
from ownlens_plugins.validation import ValidationResult, validate
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from .stores import ClickHouseRows, PostgresqlRows

Spoil = Callable[[str], None]
Loaded = tuple[Destination[Any, Any], Spoil]


@pytest.fixture
def s3(tmp_path: Path) -> Loaded:
    root = tmp_path / "lake"

    def spoil(condition: str) -> None:
        DeltaTable(str(root / "tests/samples")).delete(condition)

    return S3Destination(S3Config(uri=str(root))), spoil


@pytest.fixture
def real_postgresql(postgresql: PostgresqlRows) -> Loaded:
    url, schema = postgresql.url, postgresql.schema
    config = PostgreSQLConfig(
        host=str(url.query["host"]),
        database=str(url.database),
        user=str(url.username),
        schema=schema,
        ledger_schema=f"{schema}_ledger",
    )

    def spoil(condition: str) -> None:
        postgresql.run(f"DELETE FROM {schema}.samples WHERE {condition}")

    return PostgreSQLDestination(config), spoil


@pytest.fixture
def real_clickhouse(clickhouse: ClickHouseRows, clickhouse_path: Path) -> Iterator[Loaded]:
    destination = ClickHouseDestination(
        ClickHouseConfig(interface="chdb", path=clickhouse_path, database=clickhouse.schema)
    )

    def spoil(condition: str) -> None:
        clickhouse.run(f"DELETE FROM {clickhouse.schema}.samples WHERE {condition}")

    yield destination, spoil
    destination.close()


@pytest.fixture(params=["s3", "real_postgresql", "real_clickhouse"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return request.getfixturevalue(request.param)


def brought(
    destination: Destination[Any, Any], contract: TableContract, rows: list[dict[str, Any]], folder: Path, **how: Any
) -> ValidationResult:
    plan = make_plan(destination, contract, sample_table(contract, rows), folder, **how)
    return validate(destination, plan, result=load(destination, plan))


CHECKS = [
    {"expect_column_values_to_be_between": {"column": "day", "min_value": "2026-01-01"}},
    {"expect_column_values_to_be_between": {"column": "created_at", "min_value": "2026-01-01T00:00:00Z"}},
    {"expect_column_values_to_be_between": {"column": "amount", "min_value": 0}},
    {"expect_column_values_to_not_be_null": {"column": "tags", "mostly": 0.5}},
    {"expect_column_value_lengths_to_be_between": {"column": "title", "min_value": 5, "max_value": 40}},
    {"expect_column_values_to_be_unique": {"column": "token"}},
    {"expect_column_mean_to_be_between": {"column": "ratio", "min_value": 0}},
]


@pytest.mark.parametrize("preset", ["reference", "events", "entity", "daily"])
def test_what_was_loaded_passes(loaded: Loaded, tmp_path: Path, preset: str) -> None:
    destination, _ = loaded
    contract = sample_contract(preset, checks=CHECKS, references={"medium": "absent.medium"})
    first = brought(destination, contract, sample_rows(60), tmp_path)
    assert (first.failed, first.warnings, first.rows) == ((), (), 60)
    assert first.expectations == 11
    more = sample_rows(20, first=60) if preset == "events" else sample_rows(80, version=1)
    second = brought(destination, contract, more, tmp_path, sequence=2)
    assert (second.failed, second.warnings) == ((), ())
    assert second.rows == 80


def test_history_in_the_lake_passes(s3: Loaded, tmp_path: Path) -> None:
    contract = sample_contract(destinations={"s3": {"strategy": "append"}})
    brought(s3[0], contract, sample_rows(60), tmp_path)
    result = brought(s3[0], contract, sample_rows(60, version=1), tmp_path, sequence=2)
    assert (result.failed, result.rows) == ((), 120)


def test_rows_that_vanish_are_noticed(loaded: Loaded, tmp_path: Path) -> None:
    destination, spoil = loaded
    contract = sample_contract("events")
    plan = make_plan(destination, contract, sample_table(contract, sample_rows(60)), tmp_path)
    load(destination, plan)
    assert validate(destination, plan).success
    spoil("id IN (3, 33)")
    result = validate(destination, plan)
    assert [failed.message for failed in result.failed] == ["58 rows (expected min_value=60)"]
