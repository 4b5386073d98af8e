"""Checks that `contracts check` refuses, because they can never run, never hold, never fail, or differ by store."""

from __future__ import annotations

from typing import Any

BETWEEN = "expect_column_values_to_be_between"
MAX = "expect_column_max_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"
REGEX = "expect_column_values_to_match_regex"
LENGTHS = "expect_column_value_lengths_to_be_between"
MEAN, SUM = "expect_column_mean_to_be_between", "expect_column_sum_to_be_between"
PAIR, PAIRS = "expect_column_pair_values_to_be_equal", "expect_column_pair_values_to_be_in_set"
GREATER = "expect_column_pair_values_a_to_be_greater_than_b"
ADDS_UP, COMPOUND = "expect_multicolumn_sum_to_equal", "expect_compound_columns_to_be_unique"
Z_SCORES, ROWS = "expect_column_value_z_scores_to_be_less_than", "expect_table_row_count_to_be_between"

# The columns that the cases below name.
COLUMNS = {
    "id": "int64",
    "rank": "int32",
    "small": "int16",
    "large": "int64",
    "price": "decimal(6,2)",
    "wide": "decimal(38,0)",
    "fine": "decimal(38,30)",
    "ratio": "float32",
    "exact": "float64",
    "code": "text",
    "status": "enum(draft, live)",
    "token": "uuid",
    "flag": "bool",
    "day": "date",
    "clock": "time",
    "local_at": "timestamp",
    "created_at": "timestamptz",
    "extra": "json",
    "raw": "bytes",
    "tags": "array<text>",
}
# Expectation, its keywords, and what the reason says.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (BETWEEN, {"column": "rank", "min_value": 2, "max_value": 1}, "min_value 2 is greater than max_value 1"),
    (BETWEEN, {"column": "rank", "min_value": 2, "max_value": 2, "strict_max": True}, "min_value 2 is not less than"),
    (BETWEEN, {"column": "day", "min_value": "2026-02-01", "max_value": "2026-01-31"}, "is greater than max_value"),
    (MAX, {"column": "created_at", "min_value": "2026-01-01T01:00+02:00", "max_value": "2025-12-31T22:00Z"}, "greater"),
    (SUM, {"column": "price", "min_value": "2.00", "max_value": 1}, "min_value 2.00 is greater than max_value 1"),
    (ROWS, {"min_value": 9, "max_value": 8}, "min_value 9 is greater than max_value 8"),
    (BETWEEN, {"column": "rank"}, "min_value or max_value is required; without a bound it always holds"),
    (LENGTHS, {"column": "code"}, "min_value or max_value is required"),
    (BETWEEN, {"column": "code", "min_value": 1}, "asks what only numbers, dates and timestamps can be asked"),
    (MAX, {"column": "token", "max_value": 1}, "'token' is uuid"),
    (BETWEEN, {"column": "status", "min_value": 1}, "'status' is enum(draft, live)"),
    (BETWEEN, {"column": "clock", "min_value": "12:00"}, "'clock' is time"),
    (BETWEEN, {"column": "flag", "min_value": False}, "False bounds nothing"),
    (BETWEEN, {"column": "day", "min_value": 1}, "1 is no date; write it as 2026-01-31"),
    (MAX, {"column": "local_at", "max_value": 20260101}, "20260101 is no timestamp; write it as"),
    (BETWEEN, {"column": "day", "min_value": "2026-01-01T12:00"}, "is no date"),
    (BETWEEN, {"column": "local_at", "min_value": "2026-01-01T12:00Z"}, "has a zone, and a timestamp has none"),
    (BETWEEN, {"column": "created_at", "min_value": "2026-01-01T00:00:00.1234567Z"}, "is no timestamptz"),
    (BETWEEN, {"column": "created_at", "min_value": "0001-01-01T00:00+14:00"}, "outside of the years 1 to 9999"),
    (BETWEEN, {"column": "rank", "min_value": "1"}, "'1' is text; write the number without quotes"),
    (BETWEEN, {"column": "price", "min_value": "cheap"}, "'cheap' is no number"),
    (BETWEEN, {"column": "exact", "max_value": float("inf")}, "bounds nothing"),
    (BETWEEN, {"column": "wide", "max_value": 1.2345678901234568e26}, "may have lost digits; write it in quotes"),
    (BETWEEN, {"column": "large", "max_value": 9.007199254740994e15}, "may have lost digits"),
    (BETWEEN, {"column": "rank", "min_value": [1]}, "bounds nothing"),
    (BETWEEN, {"column": "rank", "min_value": 1, "strict_min": 1}, "strict_min: 1 is neither true nor false"),
    (BETWEEN, {"column": "rank", "min_value": 1, "mostly": "most"}, "mostly: 'most'"),
    (BETWEEN, {"column": "rank", "min_value": 1, "mostly": 1.5}, "mostly: 1.5 is no proportion"),
    (BETWEEN, {"column": "rank", "min_value": {"$PARAMETER": "low"}}, "bounds nothing"),
    (BETWEEN, {"column": "rank", "min_value": 1, "row_condition": "rank > 1"}, "conditions are spelt differently"),
    *((name, {"column": column, "min_value": 1}, "asks what only numbers can be asked")
      for name in (MEAN, SUM, "expect_column_median_to_be_between", "expect_column_stdev_to_be_between")
      for column in ("code", "token", "status", "flag", "day", "clock", "local_at", "created_at")),
    (Z_SCORES, {"column": "code", "threshold": 3, "double_sided": True}, "asks what only numbers can be asked"),
    (MEAN, {"column": "rank", "min_value": "2026-01-01"}, "'2026-01-01' is no number"),
    (LENGTHS, {"column": "rank", "min_value": 1}, "asks what only texts and enums can be asked"),
    (LENGTHS, {"column": "code", "min_value": 1.5}, "1.5 is no whole number"),
    ("expect_column_value_lengths_to_equal", {"column": "token", "value": 36}, "asks what only texts and enums"),
    (REGEX, {"column": "day", "regex": "^2"}, "asks what only texts and enums can be asked"),
    (REGEX, {"column": "code", "regex": "["}, "'[' is no regular expression"),
    (REGEX, {"column": "code", "regex": "a(?=b)"}, "needs look-ahead or look-behind"),
    (REGEX, {"column": "code", "regex": "(?<!a)b"}, "needs look-ahead or look-behind"),
    (REGEX, {"column": "code", "regex": r"(a)\1"}, "needs a back-reference"),
    (REGEX, {"column": "code", "regex": r"\bword"}, "needs a word boundary"),
    (REGEX, {"column": "code", "regex": r"\p{L}"}, "is no regular expression"),
    (REGEX, {"column": "code", "regex": "(?i)a"}, "sets flags"),
    (REGEX, {"column": "code", "regex": "(?i:a)"}, "needs flags"),
    (REGEX, {"column": "code", "regex": "a{300}"}, "repeats more than 255 times"),
    (REGEX, {"column": "code", "regex": "(?:^a)*"}, "repeats an anchor"),
    (REGEX, {"column": "code", "regex": r"[\W_]"}, "has a negated class inside of brackets"),
    (REGEX, {"column": "code", "regex": "a*+"}, "needs possessive repeat"),
    (REGEX, {"column": "code", "regex": 5}, "5 is no regular expression"),
    ("expect_column_values_to_match_regex_list", {"column": "code", "regex_list": []}, "at least one"),
    (IN_SET, {"column": "rank", "value_set": ["1", "2"]}, "'1' is text; write the number without quotes"),
    (IN_SET, {"column": "rank", "value_set": [1.5]}, "1.5 is no value of int32"),
    (IN_SET, {"column": "small", "value_set": [40_000]}, "40000 is no value of int16"),
    (IN_SET, {"column": "price", "value_set": [0.125]}, "0.125 is no value of decimal(6,2)"),
    (IN_SET, {"column": "ratio", "value_set": [1e39]}, "is no value of float32"),
    (IN_SET, {"column": "exact", "value_set": [float("nan")]}, "equals nothing"),
    (IN_SET, {"column": "code", "value_set": ["a", 1]}, "1 is no text; write it in quotes"),
    (IN_SET, {"column": "code", "value_set": [None]}, "missing values are never compared"),
    (IN_SET, {"column": "flag", "value_set": [0, 1]}, "0 is no bool; write true or false without quotes"),
    (IN_SET, {"column": "token", "value_set": ["x"]}, "'x' is no uuid"),
    (IN_SET, {"column": "clock", "value_set": ["25:00"]}, "'25:00' is no time"),
    (IN_SET, {"column": "code", "value_set": []}, "needs a list of at least one value"),
    (IN_SET, {"column": "code", "value_set": "ab"}, "needs a list of at least one value"),
    (IN_SET, {"column": "extra", "value_set": ["{}"]}, "values of the json column 'extra' cannot be compared"),
    (COMPOUND, {"column_list": ["rank", "tags"]}, "values of the array column 'tags' cannot be compared"),
    (COMPOUND, {"column_list": ["rank", "rank"]}, "none of them twice"),
    (COMPOUND, {"column_list": ["rank"]}, "at least two columns"),
    (PAIR, {"column_A": "day", "column_B": "created_at"}, "cannot be compared; the stores would convert them"),
    (PAIR, {"column_A": "large", "column_B": "exact"}, "cannot be compared exactly"),
    (PAIR, {"column_A": "wide", "column_B": "fine"}, "together need more than 38 digits"),
    (GREATER, {"column_A": "rank", "column_B": "code"}, "cannot be compared"),
    (GREATER, {"column_A": "flag", "column_B": "flag"}, "asks what only numbers, dates, times and texts"),
    (PAIRS, {"column_A": "rank", "column_B": "code", "value_pairs_set": [[1]]}, "needs a list of pairs"),
    (PAIRS, {"column_A": "rank", "column_B": "code", "value_pairs_set": [["1", "a"]]}, "'1' is text"),
    (ADDS_UP, {"column_list": ["code", "day"], "sum_total": 1}, "asks what only numbers can be asked"),
    (ADDS_UP, {"column_list": ["price", "rank"], "sum_total": 0.125}, "0.125 is no value of"),
    (ADDS_UP, {"column_list": ["large", "exact"], "sum_total": 1}, "cannot be added exactly"),
    (ADDS_UP, {"column_list": ["wide", "rank"], "sum_total": 1}, "together need more than 38 digits"),
    ("expect_column_quantile_values_to_be_between", {"column": "rank"}, "does not run alike on every destination"),
]  # fmt: skip
