"""Every expectation on every type in every store: the answer is the reference's, or `contracts check` refuses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.contracts import Kind
from ownlens_plugins.validation import validate
from ownlens_plugins.validation.checks import checks_of

from .grid import KINDS, SHAPES, cases_of, contract_of, rows_of
from .reference import answer
from .stores import HeldRows


def judged(store: HeldRows, kind: Kind, shape: str, folder: Path) -> list[tuple[Any, ...]]:
    """Return (case, expected, answered) of every case."""
    checks, _ = checks_of(contract_of(kind, cases_of(kind)))
    accepted = [(check.name, dict(check.keywords)) for check in checks]
    contract = contract_of(kind, accepted, table=f"grid_{shape}")
    rows = rows_of(kind, shape)
    store.hold(contract, rows)
    bare = replace(contract, checks=())
    plan = store.plan(bare, rows_of(kind, "nulls"), folder)
    result = validate(store, replace(plan, contract=contract))
    kinds = {column.name: column.type.kind for column in contract.columns}
    found = result.evaluated[-len(accepted) :]
    assert [one.name for one in found] == [name for name, _ in accepted]
    return [
        (name, keywords, answer(name, keywords, kinds, rows), (one.success, one.result.get("unexpected_count")))
        for (name, keywords), one in zip(accepted, found, strict=True)
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", list(KINDS))
def test_stores_agree(store: HeldRows, kind: Kind, shape: str, tmp_path: Path) -> None:
    found = judged(store, kind, shape, tmp_path)
    assert [one for one in found if one[2] != one[3]] == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_grid_holds_what_passes_and_what_fails(kind: Kind) -> None:
    """For every expectation on offer for a type, some case passes and some fails, on some rows."""
    checks, refused = checks_of(contract_of(kind, cases_of(kind)))
    kinds = {column.name: column.type.kind for column in contract_of(kind, []).columns}
    answers: dict[str, set[bool]] = {}
    for check in checks:
        for shape in SHAPES:
            held = answer(check.name, check.keywords, kinds, rows_of(kind, shape))[0]
            answers.setdefault(check.name, set()).add(held)
    assert {name for name, both in answers.items() if len(both) < 2} == set()
    assert set(answers) == {name for name, _ in cases_of(kind)}, refused
