"""A contract's `checks`: each kind passes and fails alike in every store, and what is misspelt is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins import ContractInvalid, TableContract, read_contracts
from ownlens_plugins.contracts import contract_from
from ownlens_plugins.validation import build_suite, check_expectations, validate
from ownlens_plugins.validation.catalogue import PORTABLE

from .stores import HeldRows

START = datetime(2026, 3, 1, tzinfo=UTC)


def readings(*checks: dict[str, dict[str, Any]]) -> TableContract:
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
                "notes": "json?",
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
        "code": None if index == 3 else "é" * 2 + str(index),
        "status": "draft" if index % 3 else "live",
        "token": index.to_bytes(16, "big"),
        "day": at.date(),
        "local_at": at.replace(tzinfo=None),
        "created_at": at,
        "notes": "{}",
    }


ROWS = [reading(index) for index in range(10)]

# expectation: keywords that hold for ROWS, and keywords that do not.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("column_distinct_values_to_be_in_set", {"column": "status", "value_set": ["draft", "live", "x"]}, {"value_set": ["draft"]}),
    ("column_distinct_values_to_contain_set", {"column": "status", "value_set": ["draft"]}, {"value_set": ["x"]}),
    ("column_distinct_values_to_equal_set", {"column": "status", "value_set": ["draft", "live"]}, {"value_set": ["live"]}),
    ("column_max_to_be_between", {"column": "score", "max_value": 0.9}, {"max_value": 0.8}),
    ("column_max_to_be_between", {"column": "created_at", "min_value": "2026-03-05T12:00:00+00:00"}, {"min_value": "2026-03-06"}),
    ("column_mean_to_be_between", {"column": "rank", "min_value": 4, "max_value": 5}, {"min_value": 5}),
    ("column_median_to_be_between", {"column": "rank", "min_value": 4, "max_value": 5}, {"min_value": 5}),
    ("column_min_to_be_between", {"column": "rank", "min_value": 0}, {"min_value": 1}),
    ("column_most_common_value_to_be_in_set", {"column": "status", "value_set": ["draft", "x"]}, {"value_set": ["live"]}),
    ("column_pair_values_a_to_be_greater_than_b", {"column_A": "rank", "column_B": "twin", "or_equal": True}, {"or_equal": False}),
    ("column_pair_values_to_be_equal", {"column_A": "rank", "column_B": "id"}, {"column_B": "ratio"}),
    ("column_pair_values_to_be_in_set", {"column_A": "rank", "column_B": "id", "value_pairs_set": [[i, i] for i in range(10)]}, {"value_pairs_set": [[1, 1]]}),
    ("column_proportion_of_non_null_values_to_be_between", {"column": "twin", "min_value": 0.9}, {"min_value": 0.95}),
    ("column_proportion_of_unique_values_to_be_between", {"column": "rank", "min_value": 1}, {"column": "status"}),
    ("column_stdev_to_be_between", {"column": "rank", "min_value": 2.9, "max_value": 3.1}, {"min_value": 4, "max_value": 5}),
    ("column_sum_to_be_between", {"column": "rank", "min_value": 45, "max_value": 45}, {"max_value": 44, "min_value": 1}),
    ("column_unique_value_count_to_be_between", {"column": "status", "min_value": 2, "max_value": 2}, {"min_value": 3, "max_value": 4}),
    ("column_value_lengths_to_be_between", {"column": "code", "min_value": 3, "max_value": 3}, {"min_value": 4, "max_value": 6}),
    ("column_value_lengths_to_equal", {"column": "code", "value": 3}, {"value": 5}),
    ("column_value_z_scores_to_be_less_than", {"column": "rank", "threshold": 3, "double_sided": True}, {"threshold": 1}),
    ("column_values_to_be_between", {"column": "rank", "min_value": 0, "max_value": 9}, {"max_value": 8}),
    ("column_values_to_be_between", {"column": "score", "min_value": 0, "max_value": 0.9}, {"max_value": 0.85}),
    ("column_values_to_be_between", {"column": "ratio", "min_value": 0, "max_value": 1.125}, {"max_value": 1}),
    ("column_values_to_be_between", {"column": "day", "min_value": "2026-03-01", "max_value": "2026-03-05"}, {"max_value": "2026-03-04"}),
    ("column_values_to_be_between", {"column": "local_at", "min_value": "2026-03-01", "max_value": "2026-03-05T12:00:00"}, {"max_value": "2026-03-05T11:59:59"}),
    ("column_values_to_be_between", {"column": "created_at", "min_value": "2026-03-01T00:00:00+00:00", "max_value": "2026-03-05T12:00:00"}, {"max_value": "2026-03-05T11:59:59Z"}),
    ("column_values_to_be_between", {"column": "rank", "max_value": 8, "row_condition": 'col("status")=="draft"', "condition_parser": "great_expectations"}, {"max_value": 7}),
    ("column_values_to_be_between", {"column": "rank", "max_value": 5, "row_condition": 'col("next")<6', "condition_parser": "great_expectations"}, {"max_value": 3}),
    ("column_values_to_be_in_set", {"column": "rank", "value_set": list(range(10))}, {"value_set": [1, 2]}),
    ("column_values_to_be_null", {"column": "empty"}, {"column": "code"}),
    ("column_values_to_be_unique", {"column": "code"}, {"column": "status"}),
    ("column_values_to_be_unique", {"column": "token"}, {"column": "status"}),
    ("column_values_to_match_regex", {"column": "code", "regex": "^éé[0-9]$"}, {"regex": "^a"}),
    ("column_values_to_match_regex_list", {"column": "code", "regex_list": ["^é", "^x"]}, {"regex_list": ["^a"]}),
    ("column_values_to_not_be_in_set", {"column": "rank", "value_set": [11]}, {"value_set": [1]}),
    ("column_values_to_not_be_null", {"column": "notes"}, {"column": "twin"}),
    ("column_values_to_not_match_regex", {"column": "code", "regex": "^x"}, {"regex": "^é"}),
    ("column_values_to_not_match_regex_list", {"column": "code", "regex_list": ["^a", "^x"]}, {"regex_list": ["^é"]}),
    ("compound_columns_to_be_unique", {"column_list": ["status", "rank"]}, {"column_list": ["status", "day"]}),
    ("multicolumn_sum_to_equal", {"column_list": ["rank", "next"], "sum_total": 3, "ignore_row_if": "never", "mostly": 0.1}, {"mostly": 0.2}),
    ("multicolumn_values_to_be_equal", {"column_list": ["id", "rank", "twin"], "ignore_row_if": "any_value_is_missing"}, {"column_list": ["id", "next", "rank"]}),
    ("select_column_values_to_be_unique_within_record", {"column_list": ["rank", "next"]}, {"column_list": ["rank", "twin"]}),
    ("table_row_count_to_be_between", {"min_value": 10, "max_value": 10}, {"min_value": 11, "max_value": 12}),
    ("table_row_count_to_equal", {"value": 10}, {"value": 9}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "holds", "changes"), CASES, ids=[f"{n}-{h.get('column', '')}" for n, h, _ in CASES])
def test_a_check_runs_alike_in_every_store(
    store: HeldRows, tmp_path: Path, name: str, holds: dict[str, Any], changes: dict[str, Any]
) -> None:
    good = readings({f"expect_{name}": holds})
    store.hold(good, ROWS)
    result = validate(store, store.plan(good, ROWS, tmp_path / "good"))
    assert result.failed == ()
    bad = readings({f"expect_{name}": {**holds, **changes}})
    result = validate(store, store.plan(bad, ROWS, tmp_path / "bad"))
    assert [failed.name for failed in result.failed] == [f"expect_{name}"]
    print(result.failed[0])
