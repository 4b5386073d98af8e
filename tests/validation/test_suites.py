"""Each expectation that a contract implies: it holds for good rows and fails for the fault it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins import TableContract
from ownlens_plugins.testing.samples import sample_contract, sample_rows
from ownlens_plugins.validation import ValidationResult, validate

from .stores import HeldRows


def validated(
    store: HeldRows,
    folder: Path,
    held: list[dict[str, Any]],
    *,
    staged: list[dict[str, Any]] | None = None,
    contract: TableContract | None = None,
    **how: Any,
) -> ValidationResult:
    contract = contract or sample_contract()
    store.hold(contract, held)
    return validate(store, store.plan(contract, held if staged is None else staged, folder, **how))


def test_good_rows_pass(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, sample_rows(30))
    assert result.success, result.failed
    assert (result.table, result.destination, result.rows) == ("samples", store.name, 30)
    assert result.expectations == 4
    assert result.failed == result.warnings == ()
    result.raise_if_failed()
