"""A contract that widens a loaded table's columns: the next load widens the table, and no value changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows

from .conftest import Store
from .test_protocol import in_threads
from .test_tables import columns_of

Value = Any
APPEND = {"postgresql": {"strategy": "append", "on_conflict": "error"}}
THIRD = 0.3333333432674408  # a float32

WIDENINGS: list[tuple[str, str, Value, Value]] = [
    ("int16?", "int32?", -(2**15), 2**31 - 1),
    ("int16?", "int64?", 2**15 - 1, -(2**63)),
    ("int32?", "int64?", -(2**31), 2**63 - 1),
    ("decimal(5,2)?", "decimal(9,4)?", Decimal("-999.99"), Decimal("99999.9999")),
    ("decimal(5,2)?", "decimal(6,2)?", Decimal("999.99"), Decimal("-9999.99")),
    ("decimal(5,2)?", "decimal(38,20)?", Decimal("0.01"), Decimal("0.00000000000000000001")),
    ("float32?", "float64?", THIRD, 0.1),
    ("float32?", "float64?", float("nan"), 5e-324),
    ("enum(a, b)?", "enum(a, b, c)?", "b", "c"),
    ('enum(it\'s, "q", back\\slash)?', 'enum(new, "q", it\'s, back\\slash)?', "back\\slash", "new"),
    ("enum(a)?", "enum(b, a)?", "a", "b"),
    ("enum(a, b)?", "text?", "a", "anything"),
    ("text", "text?", "there", None),
    ("int16", "int64?", 7, None),
    ("enum(a, b)", "text?", "a", None),
    ("array<int16>?", "array<int64>?", [1, None, -(2**15)], [2**62]),
    ("array<decimal(5,2)>?", "array<decimal(9,4)>?", [Decimal("1.50")], [Decimal("12345.0001")]),
    ("array<float32>?", "array<float64>?", [THIRD], [0.1]),
]
NAMES = [f"{old} to {new}" for old, new, *_ in WIDENINGS]


def titled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "title": "x y"} for row in rows]


def contract_of(kind: str, **overrides: Any) -> TableContract:
    columns = {"id": "int64", "odd \"v'alue": kind, "day": "date", "updated_at": "timestamptz"}
    return sample_contract(columns=columns, **overrides)


def rows_of(value: Value, count: int = 3, first: int = 0, version: int = 0) -> list[dict[str, Any]]:
    return [{**row, "odd \"v'alue": value} for row in sample_rows(count, first=first, version=version)]


@pytest.mark.parametrize("append", [False, True], ids=["upsert", "append"])
@pytest.mark.parametrize(("old", "new", "held", "fits"), WIDENINGS, ids=NAMES)
def test_a_wider_column_takes_new_rows_and_keeps_the_old(
    either: Store, old: str, new: str, held: Value, fits: Value, append: bool
) -> None:
    block = {"destinations": APPEND} if append else {}
    narrow, wide = contract_of(old, **block), contract_of(new, **block)
    either.load(rows_of(held), contract=narrow)
    plan = either.plan(rows_of(fits, first=3), contract=wide, sequence=2)
    other = type(either.destination)(either.config)
    assert either.load(rows_of(fits, first=3), contract=wide, sequence=2).inserted == 3
    assert sorted(either.landed(wide)) == sorted(either.staged([*rows_of(held), *rows_of(fits, first=3)], wide))
    assert other.find_commit(plan) is not None
    assert either.load(rows_of(held, first=6), contract=wide, sequence=3).inserted == 3
    expected = [*rows_of(held), *rows_of(fits, first=3), *rows_of(held, first=6)]
    assert sorted(either.landed(wide)) == sorted(either.staged(expected, wide))


@pytest.mark.parametrize(("old", "new", "held", "fits"), WIDENINGS, ids=NAMES)
def test_a_frozen_table_is_not_widened(either: Store, old: str, new: str, held: Value, fits: Value) -> None:
    either.load(rows_of(held), contract=contract_of(old))
    before = columns_of(either)
    with pytest.raises(Rejected, match=r"^samples: postgresql") as caught:
        either.load(rows_of(fits), contract=contract_of(new, schema_policy="freeze"), sequence=2)
    assert columns_of(either) == before
    assert "\n" not in str(caught.value)
    assert len(either.ledger()) == 1


NARROWINGS: list[tuple[str, str]] = [
    ("int64?", "int32?"),
    ("float64?", "float32?"),
    ("decimal(9,4)?", "decimal(9,2)?"),
    ("decimal(9,2)?", "decimal(9,4)?"),
    ("decimal(9,4)?", "decimal(8,4)?"),
    ("int32?", "float64?"),
    ("int32?", "text?"),
    ("array<int64>?", "array<int32>?"),
    ("int16?", "array<int16>?"),
]


@pytest.mark.parametrize(("old", "new"), NARROWINGS)
def test_what_could_lose_a_value_is_refused(either: Store, old: str, new: str) -> None:
    either.load(rows_of(None), contract=contract_of(old))
    before = columns_of(either)
    with pytest.raises(Rejected, match="load it with --full-refresh"):
        either.load([], contract=contract_of(new), sequence=2)
    assert columns_of(either) == before


def test_the_sample_table_is_widened_at_once_and_goes_on(either: Store) -> None:
    """Key, labels, numbers and NOT NULL in one contract; then an upsert, an overwrite that deletes, and a replay."""
    narrow = sample_contract(columns={**EVERY_TYPE, "id": "int32", "title": "text"})
    wide = sample_contract(columns={**EVERY_TYPE, "medium": "int64?", "amount": "decimal(38,10)?", "status": "text?"})
    either.load(titled(sample_rows(5)), contract=narrow)
    assert either.load(sample_rows(6, version=1), contract=wide, sequence=2, strategy=Strategy.UPSERT).updated == 5
    big = [{**row, "id": row["id"] + 2**40, "medium": 2**40, "title": None} for row in sample_rows(2, version=1)]
    options: dict[str, Any] = {"contract": wide, "sequence": 3, "strategy": Strategy.OVERWRITE}
    result = either.load(big, **options)
    assert (result.inserted, result.deleted) == (2, 6)
    assert either.load(big, **options).replayed
    assert either.landed(wide) == either.staged(big, wide)


def test_an_open_that_ends_midway_changes_nothing_and_the_next_one_does_all(either: Store) -> None:
    """The last step fails, a row that is no label; nothing before it stays."""
    narrow = sample_contract(columns={**EVERY_TYPE, "title": "text"})
    wide = sample_contract(columns={**EVERY_TYPE, "medium": "int64?", "title": "enum(x)?"})
    either.load(titled(sample_rows(3)), contract=narrow)
    before = columns_of(either)
    with pytest.raises(Rejected, match="'title' is no label"):
        either.load([], contract=wide, sequence=2)
    assert columns_of(either) == before
    either.sql("UPDATE samples SET title = 'x'")
    either.load([], contract=wide, sequence=2)
    assert (columns_of(either)["medium"], columns_of(either)["title"]) == (("bigint", False), ("text", False))
    either.load([], contract=wide, sequence=3)


def test_loads_at_once_widen_one_table_once(either: Store) -> None:
    narrow, wide = contract_of("float32?"), contract_of("float64?")
    either.load(rows_of(THIRD), contract=narrow)
    destinations = [type(either.destination)(either.config) for _ in range(4)]
    plan = either.plan(rows_of(0.1, first=3), contract=wide, sequence=2)

    def run(number: int) -> Any:
        session = destinations[number].open(plan)
        return session.commit([session.writer.write(part) for part in plan.parts])

    results = in_threads(4, run)
    assert sorted(result.replayed for result in results) == [False, True, True, True]
    assert sorted(either.landed(wide)) == sorted(either.staged([*rows_of(THIRD), *rows_of(0.1, first=3)], wide))


@pytest.mark.parametrize("block", [{}, {"destinations": APPEND}], ids=["upsert", "append"])
def test_a_load_that_was_opened_before_is_whole_or_comes_again(either: Store, block: dict[str, Any]) -> None:
    narrow, wide = contract_of("int16?", **block), contract_of("int64?", **block)
    either.load(rows_of(1), contract=narrow)
    earlier = either.plan(rows_of(2, first=3), contract=narrow, sequence=2)
    session = either.destination.open(earlier)
    type(either.destination)(either.config).open(either.plan([], contract=wide, sequence=3))
    try:
        session.commit([session.writer.write(part) for part in earlier.parts])
    except Retryable:
        either.load(rows_of(2, first=3), contract=wide, sequence=2)
    assert sorted(either.landed(wide)) == sorted(either.staged([*rows_of(1), *rows_of(2, first=3)], wide))


def test_widening_waits_for_a_load_that_is_running(either: Store) -> None:
    """In the order of a load, ledger before table: in the other one the two would deadlock."""
    either.load(rows_of(1), contract=contract_of("int16?"))
    plan = either.plan([], contract=contract_of("int64?"), sequence=2)
    with either.session() as running:
        running.autocommit = False
        running.execute("SELECT FROM ownlens.tables FOR UPDATE")

        def run(number: int) -> None:
            if number:
                type(either.destination)(either.config).open(plan)
                return
            either.wait_for("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
            running.execute("UPDATE samples SET day = day")
            running.commit()

        results = in_threads(2, run)
    assert results == [None, None]
    assert columns_of(either)["odd \"v'alue"] == ("bigint", False)


def test_rows_that_wait_for_a_parent_come_back_as_the_table_s_old_rows_are(either: Store) -> None:
    parents = sample_contract(table="parents", columns={"id": "int64", "updated_at": "timestamptz"}, preset="reference")
    references = {"references": {"id": "parents.id"}}
    narrow, wide = contract_of("float32?", **references), contract_of("float64?", **references)
    either.load(sample_rows(1), contract=parents)
    assert either.load(rows_of(THIRD), contract=narrow).rejected == 2
    either.load([], contract=wide, sequence=2)
    either.load(sample_rows(3), contract=parents, sequence=2)
    either.load([], contract=wide, sequence=3)
    assert sorted(either.landed(wide)) == sorted(either.staged(rows_of(THIRD), wide))


def test_a_parent_s_key_is_widened_below_its_foreign_keys(either: Store) -> None:
    columns = {"id": "int32", "updated_at": "timestamptz"}
    parents = sample_contract(table="parents", columns=columns, preset="reference")
    children = contract_of("text?", references={"id": "parents.id"})
    either.load(sample_rows(3), contract=parents)
    either.load(rows_of("x"), contract=children)
    wide = sample_contract(table="parents", columns={**columns, "id": "int64"}, preset="reference")
    more = [{**sample_rows(1)[0], "id": 2**40}]
    either.load(more, contract=wide, sequence=2, strategy=Strategy.UPSERT)
    child = [{**rows_of("y")[0], "id": 2**40}]
    assert either.load(child, contract=children, sequence=2).inserted == 1
    assert either.landed(children) == either.staged([*rows_of("x"), *child], children)


# --- tables that others had a hand in


def test_another_owner_s_table_is_left_to_its_owner(either: Store) -> None:
    either.load(rows_of(1), contract=contract_of("int16"))
    either.sql("ALTER TABLE samples OWNER TO CURRENT_USER")
    either.sql("GRANT ALL ON samples TO PUBLIC")
    wide = contract_of("int64?")
    with pytest.raises(Rejected, match="belongs to another role, which must run ALTER TABLE") as caught:
        either.load([], contract=wide, sequence=2)
    either.sql(str(caught.value).partition("must run ")[2])
    assert either.load(rows_of(2**40, first=3), contract=wide, sequence=2).inserted == 3


def test_another_owner_s_labels_are_left_to_its_owner(either: Store) -> None:
    either.load(rows_of("a"), contract=contract_of("enum(a, b)?"))
    either.sql("ALTER TABLE samples OWNER TO CURRENT_USER")
    either.sql("GRANT ALL ON samples TO PUBLIC")
    for number, (kind, value) in enumerate([("enum(a, b, c)?", "c"), ("text?", "d")], start=2):
        with pytest.raises(Rejected, match="belongs to another role, which must run ALTER TABLE") as caught:
            either.load([], contract=contract_of(kind), sequence=number)
        either.sql(str(caught.value).partition("must run ")[2])
        assert either.load(rows_of(value, first=3 * number), contract=contract_of(kind), sequence=number).inserted == 3


def test_a_view_of_the_column_is_named(either: Store) -> None:
    either.load(rows_of(1), contract=contract_of("int16?"))
    either.sql("CREATE VIEW shown AS SELECT * FROM samples")
    wide = contract_of("int64?")
    with pytest.raises(Rejected, match=r"view public\.shown uses them; .* run DROP VIEW public\.shown, and load"):
        either.load([], contract=wide, sequence=2)
    either.sql("DROP VIEW shown")
    assert either.load(rows_of(2**40, first=3), contract=wide, sequence=2).inserted == 3


def test_a_validation_s_view_is_waited_for(either: Store) -> None:
    either.load(rows_of(1), contract=contract_of("int16?"))
    either.sql("CREATE VIEW _ownlens_validation_29990101000000_x AS SELECT * FROM samples")
    with pytest.raises(Retryable, match=r"DROP VIEW public\._ownlens_validation_29990101000000_x"):
        either.load([], contract=contract_of("int64?"), sequence=2)


IMMOVABLE = [
    ("v smallint, PRIMARY KEY (id, v)) PARTITION BY RANGE (v", "int64", "change the contract, or load it with"),
    ("v smallint PRIMARY KEY", "int16?", "make it int16 in the contract, or load it"),
    ("v bigint GENERATED ALWAYS AS IDENTITY", "int64?", "identity column 'v', which .* never NULL; .* DROP IDENTITY"),
    ("v smallint, g int GENERATED ALWAYS AS (v + 1) STORED", "int64?", "generated column g uses .* DROP COLUMN g"),
]


@pytest.mark.parametrize(("made", "kind", "message"), IMMOVABLE)
def test_what_postgresql_cannot_alter_is_refused_with_a_way_out(
    either: Store, made: str, kind: str, message: str
) -> None:
    either.sql(f"CREATE TABLE samples (id bigint, day date, updated_at timestamptz NOT NULL, {made})")
    if "PARTITION" not in made:
        either.sql("ALTER TABLE samples ADD UNIQUE (id)")
    either.sql("ALTER TABLE samples OWNER TO loader")
    columns = {"id": "int64", "v": kind, "updated_at": "timestamptz"}
    key = ["id", "v"] if "PARTITION" in made else ["id"]
    contract = sample_contract(preset="reference", columns=columns, key=key)
    with pytest.raises(Rejected, match=message):
        either.destination.open(either.plan([], contract=contract))
