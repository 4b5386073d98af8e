"""Which expectations a contract may ask for, and what is particular about some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

POSTGRESQL = "postgresql"
CLICKHOUSE = "clickhouse"

# Seen to pass and to fail as they should on pandas, PostgreSQL and ClickHouse alike (tests/validation/test_checks.py).
PORTABLE = frozenset(
    {
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_max_to_be_between",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)
REQUIRED = "expect_required_columns_to_have_values"
REFERENCES = "expect_references_to_exist"
# These look at whether there is a value, not at which.
PRESENCE = frozenset(
    {
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_null",
        REQUIRED,
    }
)
ROW_COUNTS = frozenset({"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"})
# SQL cannot compare a missing value and lets the row pass; pandas would count it as a failure unless it is left out.
IGNORED_ROWS = {
    "expect_column_pair_values_a_to_be_greater_than_b": "either_value_is_missing",
    "expect_column_pair_values_to_be_equal": "either_value_is_missing",
    "expect_column_pair_values_to_be_in_set": "either_value_is_missing",
    "expect_compound_columns_to_be_unique": "any_value_is_missing",
    "expect_multicolumn_sum_to_equal": "any_value_is_missing",
    "expect_multicolumn_values_to_be_equal": "any_value_is_missing",
    "expect_select_column_values_to_be_unique_within_record": "any_value_is_missing",
}
# Fields of every expectation that say nothing about rows, and conditions, which are spelt differently for each store.
HIDDEN_FIELDS = frozenset(
    {
        "batch_id",
        "catch_exceptions",
        "condition_parser",
        "description",
        "id",
        "meta",
        "notes",
        "rendered_content",
        "result_format",
        "row_condition",
        "windows",
    }
)


def unreachable(names: Collection[str]) -> frozenset[str]:
    """Return the columns that Great Expectations cannot name: it ignores case, and stumbles over double quotes."""
    folded = Counter(name.casefold() for name in names)
    return frozenset(name for name in names if '"' in name or folded[name.casefold()] > 1)
