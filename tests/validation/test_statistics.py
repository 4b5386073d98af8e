"""Statistics of floats that lie close together and far from zero."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.contracts import contract_from
from ownlens_plugins.validation.arrow import arrow_rows
from ownlens_plugins.validation.asking import Rows, verdicts
from ownlens_plugins.validation.catalogue import inquiry
from ownlens_plugins.validation.checks import accepted

Z_SCORES = "expect_column_value_z_scores_to_be_less_than"


def unexpected(kind: str, values: list[float], **keywords: Any) -> int:
    """Return how many values have a score beyond the threshold, as the lake counts them."""
    contract = contract_from(
        {
            "table": "things",
            "domain": "news",
            "preset": "events",
            "key": ["id"],
            "path": "news/things",
            "columns": {"id": "int64", "v": kind, "created_at": "timestamptz"},
        }
    )
    check = accepted(contract, Z_SCORES, {"column": "v", **keywords})
    table = pa.table({"v": pa.array(values, contract.column("v").type.arrow)})
    with arrow_rows(table.to_reader(), None, values=["v"], presence=[]) as asked:
        rows = Rows(asked.dialect, {"v": contract.column("v")})
        (found,) = verdicts([inquiry(check, rows)], asked.ask, lambda _, error: error)
    return int(found.result["unexpected_count"])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("float32", [1e8] * 5 + [1e8 + 8] * 2),
        ("float64", [1e16] * 5 + [1e16 + 2] * 2),
        ("float64", [5e-324] * 5 + [5e-323] * 2),
        ("float64", [1e300] * 5 + [2e300] * 2),
    ],
)
def test_scores_of_values_that_lie_close_together(kind: str, values: list[float]) -> None:
    assert unexpected(kind, values, threshold=1, double_sided=True) == 2
    assert unexpected(kind, values, threshold=1, double_sided=False) == 2
    assert unexpected(kind, values, threshold=2, double_sided=True) == 0
