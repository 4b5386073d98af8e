"""Which expectations a contract may ask for: of which columns, with which keywords, and how each is answered.

The names, the keywords, `mostly`, `severity` and the results are those of Great Expectations; a missing value is
never compared, and NaN lies outside of every bound and set. The answers come from SQL of our own, so that they are
the same in every store (docs/decisions/0013-checks-are-asked-in-our-own-sql.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..contracts import Kind
from . import per_row, statistics, whole
from .asking import Check, Inquiry, Rows
from .keywords import (
    Reader,
    count,
    flag,
    length,
    moment_or_number,
    name,
    names,
    number,
    one_of,
    pairs,
    proportion,
    regex,
    regexes,
    values,
)
from .literals import MOMENTS, NUMBERS, TEXTS

POSTGRESQL = "postgresql"
CLICKHOUSE = "clickhouse"
REQUIRED = "expect_required_columns_to_have_values"
REFERENCES = "expect_references_to_exist"

ALL = frozenset(Kind)
# Whether there is a value can be told of every type; the stores compare these ones each in its own way.
OPAQUE = frozenset({Kind.JSON, Kind.BYTES, Kind.ARRAY})
VALUES = ALL - OPAQUE
ORDERED = NUMBERS | MOMENTS | {Kind.TIME, Kind.TEXT}


@dataclass(frozen=True)
class Offer:
    """One expectation: how it is answered, the kinds of columns that it suits, and its keywords."""

    inquiry: Callable[[Check, Rows], Inquiry]
    kinds: frozenset[Kind]
    required: Mapping[str, Reader] = field(default_factory=dict)
    optional: Mapping[str, Reader] = field(default_factory=dict)
    # Great Expectations wants to be told which rows to leave out; this is the only answer.
    ignored: str | None = None

    @property
    def readers(self) -> dict[str, Reader]:
        return {**self.required, **self.optional, "severity": one_of("critical", "warning")}


_COLUMN = {"column": name}
_MOSTLY = {"mostly": proportion}
_STRICT = {"strict_min": flag, "strict_max": flag}


def _between(reader: Reader) -> dict[str, Reader]:
    return {"min_value": reader, "max_value": reader, **_STRICT}


def _rows(
    condition: per_row.Condition, kinds: frozenset[Kind], *, optional: Mapping[str, Reader] = {}, **more: Reader
) -> Offer:
    return Offer(per_row.of_column(condition), kinds, {**_COLUMN, **more}, {**optional, **_MOSTLY})


def _set(inquiry: Callable[[Check, Rows], Inquiry]) -> Offer:
    return Offer(inquiry, VALUES, {**_COLUMN, "value_set": values})


def _measure(inquiry: Callable[[Check, Rows], Inquiry], kinds: frozenset[Kind], reader: Reader) -> Offer:
    return Offer(inquiry, kinds, _COLUMN, _between(reader))


def _pair(
    condition: per_row.Condition,
    kinds: frozenset[Kind],
    required: Mapping[str, Reader] = {},
    optional: Mapping[str, Reader] = {},
) -> Offer:
    keywords = {"column_A": name, "column_B": name, **required}
    return Offer(per_row.of_columns(condition), kinds, keywords, {**optional, **_MOSTLY}, "either_value_is_missing")


def _many(inquiry: Callable[[Check, Rows], Inquiry], kinds: frozenset[Kind], **required: Reader) -> Offer:
    return Offer(inquiry, kinds, {"column_list": names, **required}, _MOSTLY, "any_value_is_missing")


OFFERS: Mapping[str, Offer] = {
    "expect_column_distinct_values_to_be_in_set": _set(whole.distinct_in_set),
    "expect_column_distinct_values_to_contain_set": _set(whole.distinct_contain_set),
    "expect_column_distinct_values_to_equal_set": _set(whole.distinct_equal_set),
    "expect_column_max_to_be_between": _measure(whole.maximum, NUMBERS | MOMENTS, moment_or_number),
    "expect_column_mean_to_be_between": _measure(statistics.mean, NUMBERS, moment_or_number),
    "expect_column_median_to_be_between": _measure(statistics.median, NUMBERS, moment_or_number),
    "expect_column_min_to_be_between": _measure(whole.minimum, NUMBERS | MOMENTS, moment_or_number),
    "expect_column_most_common_value_to_be_in_set": Offer(
        whole.most_common, VALUES, {**_COLUMN, "value_set": values}, {"ties_okay": flag}
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": _pair(per_row.a_is_greater, ORDERED, {}, {"or_equal": flag}),
    "expect_column_pair_values_to_be_equal": _pair(per_row.are_equal, VALUES),
    "expect_column_pair_values_to_be_in_set": _pair(per_row.is_in_pairs, VALUES, {"value_pairs_set": pairs}),
    "expect_column_proportion_of_non_null_values_to_be_between": _measure(whole.proportion_of_values, ALL, proportion),
    "expect_column_proportion_of_unique_values_to_be_between": _measure(
        whole.proportion_of_distinct, VALUES, proportion
    ),
    "expect_column_stdev_to_be_between": _measure(statistics.deviation, NUMBERS, moment_or_number),
    "expect_column_sum_to_be_between": _measure(statistics.total, NUMBERS, moment_or_number),
    "expect_column_unique_value_count_to_be_between": _measure(whole.distinct_count, VALUES, count),
    "expect_column_value_lengths_to_be_between": _rows(per_row.has_length_between, TEXTS, optional=_between(length)),
    "expect_column_value_lengths_to_equal": _rows(per_row.has_length, TEXTS, value=length),
    "expect_column_value_z_scores_to_be_less_than": Offer(
        statistics.z_scores, NUMBERS, {**_COLUMN, "threshold": number, "double_sided": flag}, _MOSTLY
    ),
    "expect_column_values_to_be_between": _rows(
        per_row.is_between, NUMBERS | MOMENTS, optional=_between(moment_or_number)
    ),
    "expect_column_values_to_be_in_set": _rows(per_row.is_in_set, VALUES, value_set=values),
    "expect_column_values_to_be_null": Offer(whole.is_null, ALL, _COLUMN, _MOSTLY),
    "expect_column_values_to_be_unique": Offer(whole.unique, VALUES, _COLUMN, _MOSTLY),
    "expect_column_values_to_match_regex": _rows(per_row.matches, TEXTS, regex=regex),
    "expect_column_values_to_match_regex_list": _rows(
        per_row.matches_list, TEXTS, optional={"match_on": one_of("any", "all")}, regex_list=regexes
    ),
    "expect_column_values_to_not_be_in_set": _rows(per_row.is_not_in_set, VALUES, value_set=values),
    "expect_column_values_to_not_be_null": Offer(whole.is_not_null, ALL, _COLUMN, _MOSTLY),
    "expect_column_values_to_not_match_regex": _rows(per_row.matches_not, TEXTS, regex=regex),
    "expect_column_values_to_not_match_regex_list": _rows(per_row.matches_none, TEXTS, regex_list=regexes),
    "expect_compound_columns_to_be_unique": _many(whole.unique, VALUES),
    "expect_multicolumn_sum_to_equal": _many(per_row.of_columns(per_row.sums_to), NUMBERS, sum_total=number),
    "expect_multicolumn_values_to_be_equal": _many(per_row.of_columns(per_row.are_equal), VALUES),
    "expect_select_column_values_to_be_unique_within_record": _many(per_row.of_columns(per_row.all_differ), VALUES),
    "expect_table_row_count_to_be_between": Offer(whole.row_count, ALL, {}, _between(count)),
    "expect_table_row_count_to_equal": Offer(whole.row_count_equals, ALL, {"value": count}),
}
PORTABLE = frozenset(OFFERS)
# What Great Expectations 1.24 has beside these: told apart from a misspelt name without importing it, for seconds.
OTHERS = frozenset(
    {
        "expect_column_kl_divergence_to_be_less_than",
        "expect_column_quantile_values_to_be_between",
        "expect_column_to_exist",
        "expect_column_type_to_be",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_decreasing",
        "expect_column_values_to_be_in_type_list",
        "expect_column_values_to_be_increasing",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_outliers",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_query_results_to_match_comparison",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_equal_other_table",
        "unexpected_rows_expectation",
    }
)
# A range without an end holds for everything.
BOUNDED = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_value_lengths_to_be_between",
        "expect_table_row_count_to_be_between",
    }
)
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
# What a suite asks of every table; no contract names these two.
_IMPLIED: Mapping[str, Callable[[Check, Rows], Inquiry]] = {
    REQUIRED: whole.values_in_all,
    REFERENCES: whole.references_exist,
}


def inquiry(check: Check, rows: Rows) -> Inquiry:
    """Return the questions that decide a check."""
    ask = _IMPLIED.get(check.name) or OFFERS[check.name].inquiry
    return ask(check, rows)
