"""Columns of different types beside one another: compared exactly and alike in every store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

from ownlens_plugins.contracts import contract_from
from ownlens_plugins.validation import validate
from ownlens_plugins.validation.checks import checks_of

from .reference import answer
from .stores import HeldRows

TYPES = {
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "f4": "float32",
    "f8": "float64",
    "d2": "decimal(12,2)",
    "d9": "decimal(18,9)",
    "word": "text",
    "label": "enum(draft, live)",
    "day": "date",
    "local_at": "timestamp",
}
DAY = date(2026, 1, 2)
VALUES: list[tuple[Any, ...]] = [
    (1, 1, 1, 1.0, 1.0, Decimal(1), Decimal(1), "live", "live", DAY, datetime(2026, 1, 2)),
    (1, 2, 3, 0.5, 0.25, Decimal("0.5"), Decimal("0.25"), "Live", "live", DAY, datetime(2026, 1, 2, 0, 0, 0, 1)),
    (
        -3,
        -3,
        2**53 + 1,
        -3.0,
        2.0**53,
        Decimal("-3.01"),
        Decimal("-3.010000001"),
        "",
        "draft",
        DAY,
        datetime(2026, 1, 1),
    ),
    (None, 1, None, 1.0, None, None, Decimal(1), "live", None, DAY, None),
    (3, None, 3, None, 3.0, Decimal(3), None, None, "live", None, datetime(2026, 1, 2)),
]


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for a, b in permutations(TYPES, 2):
        pair = {"column_A": a, "column_B": b}
        yield "expect_column_pair_values_to_be_equal", {**pair, "mostly": 0.4}
        yield "expect_column_pair_values_a_to_be_greater_than_b", {**pair, "or_equal": True, "mostly": 0.4}
        yield "expect_column_pair_values_a_to_be_greater_than_b", {**pair, "mostly": 0.3}
        both = {"column_list": [a, b]}
        yield "expect_multicolumn_sum_to_equal", {**both, "sum_total": 2, "mostly": 0.3}
        yield "expect_multicolumn_values_to_be_equal", {**both, "mostly": 0.4}
        yield "expect_select_column_values_to_be_unique_within_record", {**both, "mostly": 0.6}


def test_stores_agree(store: HeldRows, tmp_path: Path) -> None:
    columns = {"id": "int64", "created_at": "timestamptz", **{name: f"{type_}?" for name, type_ in TYPES.items()}}
    document = {"table": "mixed", "domain": "tests", "preset": "events", "key": ["id"], "path": "tests/mixed"}
    checks, _ = checks_of(contract_from({**document, "columns": columns, "checks": [{n: k} for n, k in cases()]}))
    contract = contract_from({**document, "columns": columns, "checks": [{c.name: dict(c.keywords)} for c in checks]})
    rows = [
        {"id": number, "created_at": datetime(2026, 1, 1, tzinfo=UTC), **dict(zip(TYPES, values, strict=True))}
        for number, values in enumerate(VALUES)
    ]
    store.hold(contract, rows)
    plan = store.plan(replace(contract, checks=()), rows, tmp_path)
    found = validate(store, replace(plan, contract=contract)).evaluated[-len(checks) :]
    kinds = {column.name: column.type.kind for column in contract.columns}
    told = [(c.name, dict(c.keywords), answer(c.name, c.keywords, kinds, rows)) for c in checks]
    assert len(told) > 100
    assert {held for _, _, (held, _) in told} == {True, False}
    assert [
        (*one, f.result["unexpected_count"])
        for one, f in zip(told, found, strict=True)
        if one[2] != (f.success, f.result["unexpected_count"])
    ] == []
