"""Rows that wait for their parents can be listed and shown."""

from __future__ import annotations

import json

from ownlens_plugins.powers import SupportsKeptRows

from .conftest import Store
from .test_references import CHILDREN, PARENTS, child, parents


def test_rows_that_wait_can_be_listed_and_shown(store: Store) -> None:
    keeper = store.destination
    assert isinstance(keeper, SupportsKeptRows)
    assert keeper.kept_counts() == {}
    assert keeper.kept_rows("children").read_all().num_rows == 0
    store.load(parents(1), contract=PARENTS)
    store.load([child(1, 1), child(2, 9), child(3, 8)], contract=CHILDREN)
    reason = "parent_id: no such row in parents.id"
    assert keeper.kept_counts() == {"children": {reason: 2}}
    rows = keeper.kept_rows("children").read_all().to_pylist()
    assert [(row["reason"], row["load_id"]) for row in rows] == [(reason, "children/00000001")] * 2
    assert json.loads(rows[0]["row"]) == {
        "id": "2",
        "parent_id": "9",
        "n": "0",
        "updated_at": "2026-01-01 00:00:00+00",
    }
    assert keeper.kept_rows("parents").read_all().num_rows == 0
