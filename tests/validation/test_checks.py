"""A contract's `checks`: each kind passes and fails alike in every store, and what is misspelt is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from ownlens_plugins import ContractInvalid, Rejected, TableContract, read_contracts
from ownlens_plugins.contracts import Column, Kind, LogicalType, contract_from
from ownlens_plugins.validation import build_suite, check_expectations, validate
from ownlens_plugins.validation.catalogue import PORTABLE

from .stores import HeldRows

START = datetime(2026, 3, 1, tzinfo=UTC)
CASES = yaml.safe_load(Path(__file__).with_name("checks.yaml").read_text(encoding="utf-8"))
CONTRACTS = Path(__file__).parents[2] / "table_configs"


def readings(*checks: Mapping[str, Any]) -> TableContract:
    return contract_from(
        {
            "table": "readings",
            "domain": "tests",
            "preset": "events",
            "key": ["id"],
            "path": "tests/readings",
            "columns": {
                "id": "int64",
                "rank": "int32",
                "next": "int32",
                "twin": "int32?",
                "score": "decimal(6,4)?",
                "ratio": "float32?",
                "code": "text?",
                "status": "enum(draft, live)",
                "token": "uuid",
                "day": "date",
                "local_at": "timestamp",
                "created_at": "timestamptz",
                "empty": "text?",
                "extra": "json?",
            },
            "checks": list(checks),
        }
    )


def reading(index: int) -> dict[str, Any]:
    at = START + timedelta(hours=12 * index)
    return {
        "id": index,
        "rank": index,
        "next": index + 1,
        "twin": None if index == 3 else index,
        "score": None if index == 3 else Decimal(index) / 10,
        "ratio": None if index == 3 else index / 8,
        "code": None if index == 3 else f"éé{index}",
        "status": "draft" if index % 3 else "live",
        "token": index.to_bytes(16, "big"),
        "day": at.date(),
        "local_at": at.replace(tzinfo=None),
        "created_at": at,
        "extra": "{}",
    }


ROWS = [reading(index) for index in range(10)]


def test_every_expectation_on_offer_is_tried() -> None:
    assert {f"expect_{case['expect']}" for case in CASES} == PORTABLE


def test_checks_hold_alike_in_every_store(store: HeldRows, tmp_path: Path) -> None:
    contract = readings(*({f"expect_{case['expect']}": case["holds"]} for case in CASES))
    store.hold(contract, ROWS)
    result = validate(store, store.plan(contract, ROWS, tmp_path))
    assert result.failed == ()
    assert result.expectations == len(CASES) + 4


def test_checks_fail_alike_in_every_store(store: HeldRows, tmp_path: Path) -> None:
    broken = [{f"expect_{case['expect']}": {**case["holds"], **case["breaks"]}} for case in CASES]
    contract = readings(*broken)
    store.hold(contract, ROWS)
    result = validate(store, store.plan(contract, ROWS, tmp_path))
    assert sorted(failed.name for failed in result.failed) == sorted(name for check in broken for name in check)
    assert all("\n" not in failed.message for failed in result.failed)


def test_severity_decides_between_failing_and_warning(store: HeldRows, tmp_path: Path) -> None:
    contract = readings({"expect_column_mean_to_be_between": {"column": "rank", "max_value": 4, "severity": "warning"}})
    store.hold(contract, ROWS)
    result = validate(store, store.plan(contract, ROWS, tmp_path))
    assert result.success
    assert [str(warning) for warning in result.warnings] == [
        "expect_column_mean_to_be_between(rank): does not hold (expected max_value=4)"
    ]


BETWEEN = "expect_column_values_to_be_between"


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("expect_column_values_to_be_betwen", {"column": "rank"}, f"did you mean '{BETWEEN}'?"),
        ("expect_column_values_to_match_like_pattern", {"column": "code"}, "does not run alike on every destination"),
        ("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT 1"}, "does not run alike"),
        (BETWEEN, {"column": "rank", "min_valu": 1}, "unknown keyword 'min_valu'; did you mean 'min_value'?"),
        (BETWEEN, {"column": "rank", "min_value": 1, "meta": {}}, "unknown keyword 'meta'"),
        (BETWEEN, {"column": "rank", "min_value": 1, "row_condition": "x"}, "unknown keyword 'row_condition'"),
        (BETWEEN, {"column": "rnak", "min_value": 1}, "unknown column 'rnak'; did you mean 'rank'?"),
        (BETWEEN, {"column": "rank", "min_value": 1, "severity": "waring"}, "did you mean 'warning'?"),
        (BETWEEN, {"column": "rank", "min_value": 1, "mostly": 2}, "mostly: "),
        (BETWEEN, {"min_value": 1}, "column: field required"),
        (BETWEEN, {"column": "rank", "min_value": 2, "max_value": 1}, "min_value"),
        (BETWEEN, {"column": "day", "min_value": "yesterday"}, "'yesterday' is no date; write it as 2026-01-31"),
        (BETWEEN, {"column": "extra", "min_value": 1}, "the json column 'extra' cannot be compared"),
        (
            "expect_column_pair_values_to_be_equal",
            {"column_A": "rank", "column_B": "twin", "ignore_row_if": "never"},
            "ignore_row_if can only be either_value_is_missing",
        ),
    ],
)
def test_a_check_that_cannot_be_run_is_refused(name: str, keywords: dict[str, Any], message: str) -> None:
    contract = readings({BETWEEN: {"column": "rank", "min_value": 0}}, {name: keywords})
    (problem,) = check_expectations(contract)
    assert problem.file == "tests/readings.yaml"
    assert problem.message.startswith("checks.1: ")
    assert message in problem.message
    assert "\n" not in problem.message
    with pytest.raises(ContractInvalid, match=r"checks\.1"):
        build_suite(contract, destination="s3", dialect=None)


def test_every_problem_is_reported_at_once() -> None:
    contract = readings({"expect_nothing": {}}, {BETWEEN: {"column": "rnak"}}, {"expect_anything": {}})
    assert [problem.message.split(":")[0] for problem in check_expectations(contract)] == [
        "checks.0",
        "checks.1",
        "checks.2",
    ]


def test_the_contracts_of_this_repository_are_sound() -> None:
    contracts = read_contracts(CONTRACTS).values()
    assert [str(problem) for contract in contracts for problem in check_expectations(contract)] == []
    for contract in contracts:
        for destination, dialect in (("s3", None), ("postgresql", "postgresql"), ("clickhouse", "clickhouse")):
            suite = build_suite(contract, destination=destination, dialect=dialect, staged_rows=1)
            assert len(suite) >= 3 + len(contract.checks)


def test_a_table_that_is_not_the_contracts_is_not_taken_for_bad_rows(sql_store: HeldRows, tmp_path: Path) -> None:
    contract = readings({"expect_column_value_lengths_to_equal": {"column": "code", "value": 3}})
    sql_store.hold(replace(contract, columns=(*contract.columns[:6], Column("code", LogicalType(Kind.DATE)))), [])
    sql_store.run(f"INSERT INTO {sql_store.named('readings')} (id) VALUES (1)")
    plan = sql_store.plan(contract, ROWS, tmp_path)
    with pytest.raises(Rejected) as caught:
        validate(sql_store, plan)
    assert str(caught.value).startswith(f"readings: {sql_store.name} cannot evaluate ")
    assert "\n" not in str(caught.value)
