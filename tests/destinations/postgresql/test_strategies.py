"""What append, upsert and overwrite mean, and what they count."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ownlens_plugins.api import LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract, sample_rows

from .conftest import Store


def counts(result: LoadResult) -> tuple[int, int, int, int]:
    return result.inserted, result.updated, result.unchanged, result.deleted


def contract_with(strategy: str, on_conflict: str | None = None, **overrides: Any) -> TableContract:
    block = {"strategy": strategy} | ({"on_conflict": on_conflict} if on_conflict else {})
    return sample_contract(destinations={"postgresql": block}, **overrides)


def small_rows(values: dict[int, tuple[str, int]]) -> list[dict[str, Any]]:
    """Rows of `SMALL` by id: a title, and the hour of its version."""
    return [
        {"id": key, "title": title, "updated_at": datetime(2026, 1, 1, hour, tzinfo=UTC)}
        for key, (title, hour) in values.items()
    ]


SMALL = {"id": "int64", "title": "text?", "updated_at": "timestamptz"}


def small(strategy: str, on_conflict: str | None = None, **overrides: Any) -> TableContract:
    return contract_with(
        strategy, on_conflict, columns=dict(SMALL), extraction="whole", preset="reference", **overrides
    )


# --- upsert


def test_upsert_counts_inserted_updated_unchanged(store: Store) -> None:
    assert counts(store.load(sample_rows(10))) == (10, 0, 0, 0)
    mixed = [*sample_rows(4), *sample_rows(6, first=4, version=1), *sample_rows(5, first=10)]
    assert counts(store.load(mixed, sequence=2)) == (5, 6, 4, 0)
    assert store.landed() == store.staged(mixed)


def test_rows_that_are_unchanged_are_not_rewritten(store: Store) -> None:
    store.load(sample_rows(5))
    before = store.sql("SELECT id, ctid::text, xmin::text FROM samples ORDER BY id")
    store.load(sample_rows(5), sequence=2)
    assert store.sql("SELECT id, ctid::text, xmin::text FROM samples ORDER BY id") == before


def test_upsert_keeps_the_newest_version(store: Store) -> None:
    contract = small("upsert")
    store.load(small_rows({1: ("new", 5), 2: ("new", 5), 3: ("new", 5)}), contract=contract)
    late = small_rows({1: ("older", 4), 2: ("corrected", 5), 3: ("newer", 6)})
    assert counts(store.load(late, contract=contract, sequence=2)) == (0, 2, 1, 0)
    expected = small_rows({1: ("new", 5), 2: ("corrected", 5), 3: ("newer", 6)})
    assert store.landed(contract) == store.staged(expected, contract)


def test_upsert_sees_null_become_a_value_and_back(store: Store) -> None:
    contract = small("upsert")
    row = small_rows({1: ("x", 1)})
    store.load([{**row[0], "title": None}], contract=contract)
    assert counts(store.load(row, contract=contract, sequence=2)) == (0, 1, 0, 0)
    assert counts(store.load([{**row[0], "title": None}], contract=contract, sequence=3)) == (0, 1, 0, 0)
    assert counts(store.load([{**row[0], "title": None}], contract=contract, sequence=4)) == (0, 0, 1, 0)
    assert counts(store.load([{**row[0], "title": ""}], contract=contract, sequence=5)) == (0, 1, 0, 0)


def test_upsert_of_a_table_that_is_all_key(store: Store) -> None:
    contract = sample_contract(
        preset="reference", columns={"id": "int64", "updated_at": "timestamptz"}, key=["id", "updated_at"]
    )
    rows = [{"id": 1, "updated_at": datetime(2026, 1, day, tzinfo=UTC)} for day in (1, 2)]
    assert counts(store.load(rows[:1], contract=contract)) == (1, 0, 0, 0)
    assert counts(store.load(rows, contract=contract, sequence=2)) == (1, 0, 1, 0)


def test_composite_keys(store: Store) -> None:
    columns = {"b": "text", "id": "int64", "a": "date", "n": "int32", "updated_at": "timestamptz"}
    contract = sample_contract(preset="reference", columns=columns, key=["b", "a"])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"b": b, "a": moment.date().replace(day=day), "id": n, "n": n, "updated_at": moment}
        for n, (b, day) in enumerate([("x", 1), ("x", 2), ("y", 1), ("", 1)])
    ]
    assert counts(store.load(rows, contract=contract)) == (4, 0, 0, 0)
    changed = [{**rows[1], "n": 99}, {**rows[2], "b": "z"}]
    assert counts(store.load(changed, contract=contract, sequence=2)) == (1, 1, 0, 0)
    assert store.landed(contract) == store.staged([rows[0], rows[2], rows[3], *changed], contract)
    keep = [rows[0], changed[0]]
    overwritten = store.load(keep, contract=contract, sequence=3, strategy=Strategy.OVERWRITE)
    assert counts(overwritten) == (0, 0, 2, 3)
    assert store.landed(contract) == store.staged(keep, contract)


# --- conflicts


def test_append_of_an_existing_key_is_refused_and_changes_nothing(store: Store) -> None:
    contract = contract_with("append", "error")
    store.load(sample_rows(10), contract=contract)
    with pytest.raises(Rejected) as caught:
        store.load(sample_rows(10, first=9), contract=contract, sequence=2)
    message = str(caught.value)
    assert message.startswith("samples: postgresql refused: duplicate key")
    assert "[23505, constraint samples_pkey]" in message
    assert "set on_conflict: skip or update" in message
    assert "\n" not in message
    assert "already exists" not in message  # DETAIL quotes the key
    assert store.landed(contract) == store.staged(sample_rows(10), contract)
    assert store.ledger() == [("samples", 1, 10, 0)]


def test_upsert_with_on_conflict_error_is_refused_too(store: Store) -> None:
    contract = contract_with("upsert", "error")
    store.load(sample_rows(10), contract=contract)
    with pytest.raises(Rejected, match="samples_pkey"):
        store.load(sample_rows(2, first=9), contract=contract, sequence=2)


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_on_conflict_skip_keeps_what_is_there(store: Store, strategy: str) -> None:
    contract = contract_with(strategy, "skip")
    store.load(sample_rows(10), contract=contract)
    result = store.load(sample_rows(10, first=5, version=1), contract=contract, sequence=2)
    assert counts(result) == (5, 0, 5, 0)
    assert store.landed(contract) == store.staged([*sample_rows(10), *sample_rows(5, first=10, version=1)], contract)


def test_append_with_on_conflict_update_updates(store: Store) -> None:
    contract = contract_with("append", "update")
    store.load(sample_rows(10), contract=contract)
    assert counts(store.load(sample_rows(10, first=5, version=1), contract=contract, sequence=2)) == (5, 5, 0, 0)


def test_another_unique_constraint_is_named_and_not_hidden(store: Store) -> None:
    contract = small("upsert", "skip")
    store.load(small_rows({1: ("a", 1)}), contract=contract)
    store.sql("CREATE UNIQUE INDEX one_title ON samples (title)")
    with pytest.raises(Rejected, match="constraint one_title"):
        store.load(small_rows({2: ("a", 1)}), contract=contract, sequence=2)
    assert store.landed(contract) == store.staged(small_rows({1: ("a", 1)}), contract)


def test_a_trigger_that_swallows_rows_is_found_out(store: Store) -> None:
    contract = contract_with("append", "error")
    store.load([], contract=contract)
    store.sql("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    store.sql(
        "CREATE TRIGGER swallow BEFORE INSERT ON samples FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION swallow()"
    )
    with pytest.raises(Rejected, match=r"stored 9 of 10 rows; a trigger or rule .* drops the others"):
        store.load(sample_rows(10), contract=contract, sequence=2)
    assert store.landed(contract) == []


# --- overwrite


def test_overwrite_leaves_exactly_the_staged_rows(store: Store) -> None:
    contract = small("overwrite")
    store.load(small_rows({1: ("a", 5), 2: ("b", 5), 3: ("c", 5)}), contract=contract)
    rows = small_rows({2: ("b", 5), 3: ("older wins", 1), 4: ("d", 1)})
    assert counts(store.load(rows, contract=contract, sequence=2)) == (1, 1, 1, 1)
    assert store.landed(contract) == store.staged(rows, contract)
    assert counts(store.load([], contract=contract, sequence=3)) == (0, 0, 0, 3)
    assert store.landed(contract) == []


def test_overwrite_replaces_rows_that_someone_else_wrote(store: Store) -> None:
    contract = small("overwrite")
    store.load(small_rows({1: ("a", 5)}), contract=contract)
    store.sql("INSERT INTO samples VALUES (9, 'by hand', now()), (10, 'by hand', now())")
    assert counts(store.load(small_rows({1: ("a", 5)}), contract=contract, sequence=2)) == (0, 0, 1, 2)


def test_a_full_refresh_overwrites_an_append_table(store: Store) -> None:
    contract = contract_with("append", "error")
    store.load(sample_rows(10), contract=contract)
    rows = sample_rows(8, first=5, version=1)
    result = store.load(rows, contract=contract, sequence=2, strategy=Strategy.OVERWRITE)
    assert counts(result) == (3, 5, 0, 5)
    assert store.landed(contract) == store.staged(rows, contract)
