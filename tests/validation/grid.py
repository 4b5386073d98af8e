"""Every expectation on every type of column: what is asked of which rows, and what `contracts check` refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from ownlens_plugins.contracts import Kind, TableContract, contract_from
from ownlens_plugins.validation.catalogue import OFFERS

Case = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Kinded:
    """A type of column, values in order (None and doubles of them come by themselves), and how a contract writes them.

    `near` are literals around the values: on them, between them and beyond, as a contract may write them.
    """

    type: str
    values: Sequence[Any]
    written: Sequence[Any]
    near: Sequence[Any] = ()


def _f32(value: float) -> float:
    return float(np.float32(value))


INF, NAN = math.inf, math.nan
_UUIDS = [f"{digit * 8}-0000-0000-0000-00000000000{digit}" for digit in "08f"]
_DAYS = [date(1970, 1, 1), date(2024, 2, 29), date(2026, 12, 31)]
_CLOCK = [time(0), time(12, 0, 0, 500_000), time(23, 59, 59, 999_999)]
_MOMENTS = [
    datetime(1969, 12, 31, 23, 59, 59, 999_999),
    datetime(2026, 3, 1, 12, 0, 0, 250_000),
    datetime(2026, 3, 1, 12, 0, 1),
]
_MOMENTS_NEAR = [
    "1969-12-31T23:59:59.999998",
    "2026-03-01T12:00:00",
    "2026-03-01T12:00:00.249999",
    "2026-03-01T12:00:00.250001",
    "2026-03-02",
    "9999-12-31T23:59:59.999999",
    "0001-01-01",
]
_TEXTS = ["", " a", "A", "a", "a\nb", "a'b\\", "é", "éé%:x", "100%%s", "日本", "😀"]

KINDS: Mapping[Kind, Kinded] = {
    Kind.BOOL: Kinded("bool", [False, True], [False, True]),
    Kind.INT16: Kinded("int16", [-(2**15), 0, 2**15 - 1], [-(2**15), 0, 2**15 - 1], [-1, 0.5, 1, 40_000, -40_000]),
    Kind.INT32: Kinded("int32", [-7, 3, 4], [-7, 3, 4], [-6.5, 3.0, 3.5, 2**40]),
    Kind.INT64: Kinded(
        "int64",
        [-(2**63), 2**53, 2**53 + 1, 2**63 - 1],
        [-(2**63), 2**53, 2**53 + 1, 2**63 - 1],
        [2**53 - 1, 0.5, 2**70],
    ),
    Kind.FLOAT32: Kinded(
        "float32", [_f32(-0.3), 0.0, _f32(0.1), _f32(1.5)], [-0.3, 0, 0.1, 1.5], [-0.30001, 0.05, 1e39, 7]
    ),
    Kind.FLOAT64: Kinded(
        "float64",
        [-1e300, -0.0, 0.1, 0.2, 0.3, 1e300],
        [-1e300, 0, 0.1, 0.2, 0.3, 1e300],
        [0.30000000000000004, 0.15, 1.1e300, 1],
    ),
    Kind.DECIMAL: Kinded(
        "decimal(38,10)",
        [Decimal("-99.99"), Decimal("0.1"), Decimal("99.99"), Decimal("1234567890123456789012345678.0123456789")],
        [-99.99, 0.1, 99.99, "1234567890123456789012345678.0123456789"],
        [99.995, "1234567890123456789012345678.0123456788", "99.98999999999", 0],
    ),
    Kind.TEXT: Kinded("text", _TEXTS, _TEXTS),
    Kind.ENUM: Kinded("enum(draft, live, Ünique)", ["draft", "live", "Ünique"], ["draft", "live", "Ünique"]),
    Kind.UUID: Kinded("uuid", [UUID(one).bytes for one in _UUIDS], [_UUIDS[0], _UUIDS[1].upper(), _UUIDS[2]]),
    Kind.DATE: Kinded(
        "date", _DAYS, [day.isoformat() for day in _DAYS], ["2024-02-28", "2025-01-01", "2027-01-01", "0001-01-01"]
    ),
    Kind.TIME: Kinded("time", _CLOCK, [one.isoformat() for one in _CLOCK]),
    Kind.TIMESTAMP: Kinded("timestamp", _MOMENTS, [one.isoformat() for one in _MOMENTS], _MOMENTS_NEAR),
    Kind.TIMESTAMPTZ: Kinded(
        "timestamptz",
        [one.replace(tzinfo=UTC) for one in _MOMENTS],
        [_MOMENTS[0].isoformat(), "2026-03-01T14:00:00.250000+02:00", "2026-03-01T12:00:01Z"],
        [*_MOMENTS_NEAR, "2026-03-01T14:00:00.25+02:00"],
    ),
    Kind.JSON: Kinded("json", ["{}", "[1]"], []),
    Kind.BYTES: Kinded("bytes", [b"", b"\xff"], []),
    Kind.ARRAY: Kinded("array<text>", [["a", None], []], []),
}
_AT = datetime(2026, 1, 1, tzinfo=UTC)
SPECIAL = {Kind.FLOAT32: [NAN, INF], Kind.FLOAT64: [NAN, -INF]}


def rows_of(kind: Kind, shape: str) -> list[dict[str, Any]]:
    """Return rows of one shape: `plain` ones, with each value but the first once and NULLs; `odd` with NaN; others."""
    values = list(KINDS[kind].values)
    if shape == "empty":
        return []
    if shape == "nulls":
        return [{"id": number, "created_at": _AT} for number in range(3)]
    if shape == "single":
        values, pairs = values[-1:], [(values[-1], values[-1])]
    else:
        odd = SPECIAL.get(kind, []) if shape == "odd" else []
        pairs = [(a, b) for a, b in zip([*values, *odd], [*values[1:], *odd, values[0]], strict=True)]
        pairs += [(values[0], values[0]), (values[0], values[0]), (values[-1], None), (None, values[0]), (None, None)]
    return [{"id": number, "v": a, "w": b, "n": number, "created_at": _AT} for number, (a, b) in enumerate(pairs)]


SHAPES = ("plain", "odd", "single", "nulls", "empty")


def contract_of(kind: Kind, cases: Sequence[Case], table: str = "grid") -> TableContract:
    type_ = KINDS[kind].type
    document = {"table": table, "domain": "tests", "preset": "events", "key": ["id"], "path": "tests/grid"}
    columns = {"id": "int64", "v": f"{type_}?", "w": f"{type_}?", "n": "int32?", "created_at": "timestamptz"}
    return contract_from({**document, "columns": columns, "checks": [{name: keywords} for name, keywords in cases]})


def cases_of(kind: Kind) -> list[Case]:
    """Return the cases of a type: each expectation that is offered for it, many ways."""
    kinded = KINDS[kind]
    return [
        (name, keywords) for name in OFFERS if kind in OFFERS[name].kinds for keywords in _keywords(name, kind, kinded)
    ]


def _keywords(name: str, kind: Kind, kinded: Kinded) -> Iterator[dict[str, Any]]:
    column = {"column": "v"}
    if name in _FIXED:
        for one in _FIXED[name]:
            yield {**_columns(name), **one}
    elif "value_set" in OFFERS[name].required:
        yield from ({**column, **one} for one in _sets(name, kinded))
    elif name == "expect_column_pair_values_to_be_in_set":
        yield from _pairs(kinded)
    elif name == "expect_multicolumn_sum_to_equal":
        yield from _sums(kinded)
    elif "_sum_" in name or "_mean_" in name or "_median_" in name or "_stdev_" in name:
        yield from ({**column, **one} for one in _statistics(kinded, kind))
    else:
        yield from ({**column, **one} for one in _ranges(kinded, mostly="mostly" in OFFERS[name].readers))


def _columns(name: str) -> dict[str, Any]:
    needed = OFFERS[name].required
    if "column_A" in needed:
        return {"column_A": "v", "column_B": "w"}
    if "column_list" in needed:
        return {"column_list": ["v", "w"]}
    return {"column": "v"} if "column" in needed else {}


_MOSTLY: list[dict[str, Any]] = [{}, {"mostly": 0.5}, {"mostly": 0.75}, {"mostly": 0.1}, {"severity": "warning"}]
_LENGTHS = [
    {"min_value": 1},
    {"max_value": 2},
    {"min_value": 0, "max_value": 3, "strict_max": True},
    {"min_value": 0, "strict_min": True, "mostly": 0.5},
    {"min_value": 0, "max_value": 99},
]
_REGEXES = [
    "^$",
    "^.$",
    r"^\w+$",
    "é",
    "[^a-z]",
    "a.b",
    r"\\$",
    "^(draft|live|a)$",
    "^[aéÜ].{0,5}$",
    "日{1,2}本?",
    r"\s",
    "'b",
    "%:",
    "%%",
    "^",
]
_COUNTS = [
    {"min_value": 0},
    {"min_value": 1},
    {"max_value": 2},
    {"min_value": 2, "max_value": 9},
    {"min_value": 3, "strict_min": True},
]
_PROPORTIONS = [
    {"min_value": 0.5},
    {"max_value": 0.5},
    {"min_value": 1},
    {"max_value": 0},
    {"min_value": 0, "strict_min": True},
]
_FIXED: Mapping[str, list[dict[str, Any]]] = {
    "expect_column_value_lengths_to_be_between": _LENGTHS,
    "expect_column_value_lengths_to_equal": [{"value": 1}, {"value": 4}, {"value": 1, "mostly": 0.3}],
    "expect_column_values_to_match_regex": [{"regex": one} for one in _REGEXES] + [{"regex": "a", "mostly": 0.2}],
    "expect_column_values_to_not_match_regex": [{"regex": one} for one in _REGEXES],
    "expect_column_values_to_match_regex_list": [
        {"regex_list": ["a", "é"]},
        {"regex_list": ["", "^"], "match_on": "all"},
        {"regex_list": ["^a", "a$"], "match_on": "all"},
    ],
    "expect_column_values_to_not_match_regex_list": [{"regex_list": ["z", "y"]}, {"regex_list": ["z", "^"]}],
    "expect_column_unique_value_count_to_be_between": _COUNTS,
    "expect_table_row_count_to_be_between": _COUNTS,
    "expect_table_row_count_to_equal": [{"value": 0}, {"value": 3}, {"value": 1}],
    "expect_column_proportion_of_unique_values_to_be_between": _PROPORTIONS,
    "expect_column_proportion_of_non_null_values_to_be_between": _PROPORTIONS,
    "expect_column_values_to_be_null": _MOSTLY,
    "expect_column_values_to_not_be_null": _MOSTLY,
    "expect_column_values_to_be_unique": _MOSTLY,
    "expect_compound_columns_to_be_unique": [*_MOSTLY, {"column_list": ["v", "n"]}],
    "expect_column_pair_values_to_be_equal": _MOSTLY,
    "expect_column_pair_values_a_to_be_greater_than_b": [
        *_MOSTLY,
        {"or_equal": True},
        {"or_equal": False, "mostly": 0.01},
    ],
    "expect_multicolumn_values_to_be_equal": [*_MOSTLY],
    "expect_select_column_values_to_be_unique_within_record": [*_MOSTLY],
    "expect_column_value_z_scores_to_be_less_than": [
        {"threshold": threshold, "double_sided": both} for threshold in (0.5, 1, 3) for both in (True, False)
    ],
}


def _sets(name: str, kinded: Kinded) -> Iterator[dict[str, Any]]:
    more: list[dict[str, Any]] = [{"mostly": 0.5}] if "mostly" in OFFERS[name].readers else []
    more += [{"ties_okay": True}] if "ties_okay" in OFFERS[name].readers else []
    for size in range(1, len(kinded.written) + 1):
        yield {"value_set": list(kinded.written[:size])}
        yield {"value_set": list(kinded.written[-size:])}
        yield from ({"value_set": list(kinded.written[:size]), **one} for one in more)


def _ranges(kinded: Kinded, *, mostly: bool) -> Iterator[dict[str, Any]]:
    for literal in (*kinded.written, *kinded.near):
        yield {"min_value": literal}
        yield {"max_value": literal}
        yield {"min_value": literal, "strict_min": True}
        yield {"max_value": literal, "strict_max": True}
    yield {"min_value": kinded.written[0], "max_value": kinded.written[-1]}
    if mostly:
        yield {"min_value": kinded.written[1], "mostly": 0.5}


def _pairs(kinded: Kinded) -> Iterator[dict[str, Any]]:
    written = kinded.written
    pairs = [[a, b] for a, b in zip(written, [*written[1:], written[0]], strict=True)]
    for some in (pairs, [*pairs, [written[0], written[0]]], pairs[:1], pairs[1:]):
        for more in _MOSTLY[:2]:
            yield {"column_A": "v", "column_B": "w", "value_pairs_set": some, **more}


def _statistics(kinded: Kinded, kind: Kind) -> Iterator[dict[str, Any]]:
    literals = [*kinded.written, 0, 1, 0.15, 1000000]
    literals += [0.6, 0.3, 5e299, 1e301, 6e299, 0.10000000001] if kind is Kind.FLOAT64 else []
    for literal in literals:
        yield {"min_value": literal}
        yield {"max_value": literal, "strict_max": True}
        yield {"max_value": literal}
    yield {"min_value": -1000, "max_value": 1000}


def _sums(kinded: Kinded) -> Iterator[dict[str, Any]]:
    for literal in (0, 1, 7, *(one for one in kinded.written if isinstance(one, int | float))):
        for more in ({}, {"mostly": 0.1}):
            yield {"column_list": ["v", "w"], "sum_total": literal, **more}
    yield {"column_list": ["n", "id"], "sum_total": 2, "mostly": 0.1}
