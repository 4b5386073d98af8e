"""Columns whose contract admits more values than before: the table follows, and what it holds stays as it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins import faults
from ownlens_plugins.api import Covers, LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, NARROW, STRATEGIES, Loads, contract_for

STORES = EVERYWHERE
# Old type, new type, a value that fits both, and one that fits the new type only.
CHANGES: list[tuple[str, str, Any, Any]] = [
    ("int16", "int32", -(2**15), 2**31 - 1),
    ("int16", "int64", 2**15 - 1, -(2**63)),
    ("int32", "int64", -(2**31), 2**63 - 1),
    ("int32?", "int64?", None, 2**40),
    ("int16", "int64?", 7, None),
    ("decimal(9,2)", "decimal(12,2)", Decimal("-1234567.89"), Decimal("1234567890.12")),
    ("decimal(18,4)", "decimal(38,10)", Decimal("12345678901234.5678"), Decimal("1.0123456789")),
    ("decimal(10,2)", "decimal(12,4)?", Decimal("99999999.99"), None),
    ("float32", "float64", 0.5, 0.1),
    ("float32?", "float64?", float("inf"), 1e300),
    ("enum(a, b)", "enum(a, b, c)", "b", "c"),
    ("enum(a, b)", "text", "a", "anything"),
    ("enum(a, b)?", "text?", None, "anything"),
    ("enum(a, b)", "text?", "a", None),
    ("text", "text?", "", None),
    ("timestamptz", "timestamptz?", sample_rows(1)[0]["created_at"], None),
    ("array<int16>", "array<int64>", [1, None], [2**40]),
    ("array<text>", "array<text>?", ["x", None], None),
    ("array<int16>", "array<int32>?", [], None),
]


def _contract(strategy: Strategy, kind: str, **overrides: Any) -> TableContract:
    columns = {**NARROW, **overrides.pop("more", {}), "value": kind}
    return contract_for(strategy, columns=columns, **overrides)


def _rows(contract: TableContract, value: Any, *, first: int, day: int = 1, **others: Any) -> list[dict[str, Any]]:
    rows = [{**row, "value": value, **others} for row in sample_rows(3, first=first, days=1)]
    return [{name: {**row, "day": row["day"].replace(day=day)}[name] for name in contract.column_names} for row in rows]


def _storage_only(old: str, new: str) -> bool:
    return old.startswith("enum") and new.startswith("enum")


@pytest.mark.parametrize(("old", "new", "fits", "beyond"), CHANGES, ids=[f"{c[0]}-{c[1]}" for c in CHANGES])
def test_the_column_becomes_wider(loads: Loads, old: str, new: str, fits: Any, beyond: Any) -> None:
    before, after = _contract(Strategy.UPSERT, old), _contract(Strategy.UPSERT, new)
    kept = _rows(before, fits, first=0)
    loads.load(before, kept)
    added = _rows(after, beyond, first=10, day=2)
    loads.load(after, added, sequence=2)
    assert loads.landed(after) == loads.staged(after, kept, added)

    assert loads.load(after, kept, sequence=3).unchanged == 3
    loads.load(after, _rows(after, beyond, first=1), sequence=4)
    changed = _rows(after, beyond, first=1)
    assert loads.landed(after) == loads.staged(after, kept[:1], changed, added)
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_goes_on(loads: Loads, strategy: Strategy) -> None:
    before, after = _contract(strategy, "int16"), _contract(strategy, "int64?")
    kept = _rows(before, 5, first=0)
    loads.load(before, kept)
    added = _rows(after, 2**40, first=10, day=20)
    loads.load(after, added, sequence=2)
    there = [] if strategy is Strategy.OVERWRITE else kept
    assert loads.landed(after) == loads.staged(after, there, added)
    assert [entry[:2] for entry in loads.ledger()] == [("samples", 1), ("samples", 2)]
    assert loads.again(loads.plan(after, added, sequence=2)).replayed


@pytest.mark.parametrize(("old", "new", "fits", "beyond"), CHANGES, ids=[f"{c[0]}-{c[1]}" for c in CHANGES])
def test_a_frozen_table_stays_as_it_is(loads: Loads, old: str, new: str, fits: Any, beyond: Any) -> None:
    if _storage_only(old, new):
        pytest.skip("labels are not kept in the table")
    before = _contract(Strategy.APPEND, old)
    loads.load(before, _rows(before, fits, first=0))
    ddl = loads.ddl("samples")
    after = _contract(Strategy.APPEND, new, schema_policy="freeze")
    with pytest.raises(
        Rejected, match=r"^samples: clickhouse table \w+\.samples has .*; set schema_policy: evolve, or"
    ):
        loads.load(after, _rows(after, beyond, first=10), sequence=2)
    assert loads.ddl("samples") == ddl


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("int64", "int32", 1),
        ("int32", "float64", 1.0),
        ("int32?", "int64", 1),
        ("decimal(10,2)", "decimal(12,0)", Decimal(1)),
        ("decimal(10,2)", "decimal(11,4)", Decimal(1)),
        ("float64", "float32", 1.0),
        ("text", "enum(a, b)", "a"),
        ("enum(a, b)", "json", "{}"),
        ("int32", "text", "1"),
        ("array<int64>", "array<int32>", [1]),
        ("date", "timestamp", sample_rows(1)[0]["created_at"].replace(tzinfo=None)),
    ],
)
def test_what_could_change_a_value_is_refused(loads: Loads, old: str, new: str, value: Any) -> None:
    before, after = _contract(Strategy.APPEND, old), _contract(Strategy.APPEND, new)
    loads.load(before, [])
    with pytest.raises(Rejected, match=r"has column 'value' as .*, not .*; load it with --full-refresh"):
        loads.load(after, _rows(after, value, first=0), sequence=2)


@pytest.mark.parametrize(
    ("old", "new", "options"),
    [
        ("int32", "int64", {"order_by": ["value", "id"]}),
        ("enum(a, b)", "text", {"order_by": ["value", "id"]}),
    ],
)
def test_a_sorting_column_needs_a_full_refresh(loads: Loads, old: str, new: str, options: Any) -> None:
    before = _contract(Strategy.APPEND, old, options={"strategy": "append", **options})
    after = _contract(Strategy.APPEND, new, options={"strategy": "append", **options})
    small, big = ("a", "anything") if "enum" in old else (1, 2**40)
    loads.load(before, _rows(before, small, first=0))
    with pytest.raises(Rejected, match=r"has column 'value' as .*; load it with --full-refresh"):
        loads.load(after, _rows(after, big, first=10), sequence=2)
    rows = [*_rows(after, small, first=0), *_rows(after, big, first=10)]
    loads.load(after, rows, sequence=3, strategy=Strategy.OVERWRITE)
    loads.load(after, _rows(after, big, first=20), sequence=4)
    assert loads.landed(after) == loads.staged(after, rows, _rows(after, big, first=20))


def test_a_key_needs_a_full_refresh(loads: Loads) -> None:
    before, after = (contract_for(Strategy.UPSERT, columns={**NARROW, "id": kind}) for kind in ("int32", "int64"))
    rows = [{name: row[name] for name in NARROW} for row in sample_rows(5)]
    big = [{**row, "id": row["id"] + 2**40} for row in rows]
    loads.load(before, rows)
    with pytest.raises(Rejected, match=r"has column 'id' as Int32, not Int64; load it with --full-refresh"):
        loads.load(after, big, sequence=2)
    loads.load(after, [*rows, *big], sequence=3, strategy=Strategy.OVERWRITE)
    assert loads.load(after, big, sequence=4).unchanged == 5
    assert loads.landed(after) == loads.staged(after, rows, big)


@pytest.mark.parametrize("null", ["", "?"])
def test_a_version_becomes_wider(loads: Loads, null: str) -> None:
    before, after = (
        _contract(Strategy.UPSERT, kind + null, version_by="value", cursor=["day"]) for kind in ("int32", "int64")
    )
    loads.load(before, _rows(before, 5, first=0))
    loads.load(after, _rows(after, 2**40, first=0, title="new"), sequence=2)
    loads.load(after, _rows(after, 6, first=0, title="late"), sequence=3)
    assert loads.landed(after) == loads.staged(after, _rows(after, 2**40, first=0, title="new"))


def test_a_version_that_may_become_null_needs_a_full_refresh(loads: Loads) -> None:
    before, after = (
        _contract(Strategy.UPSERT, kind, version_by="value", cursor=["day"]) for kind in ("int32", "int32?")
    )
    loads.load(before, _rows(before, 5, first=0))
    with pytest.raises(Rejected, match=r"^samples: clickhouse .*; load it with --full-refresh"):
        loads.load(after, _rows(after, None, first=5), sequence=2)
    rows = [*_rows(after, 5, first=0), *_rows(after, None, first=5)]
    loads.load(after, rows, sequence=3, strategy=Strategy.OVERWRITE)
    assert loads.load(after, _rows(after, 1, first=5), sequence=4).updated == 3


def test_a_new_column_and_a_wider_one_with_a_codec(loads: Loads) -> None:
    options = {"codec": {"value": "Delta, ZSTD"}, "low_cardinality": ["title"]}
    before = _contract(Strategy.APPEND, "int16", options=options)
    after = _contract(Strategy.APPEND, "int64", options=options, more={"note": "text?", "tags": "array<text>?"})
    loads.load(before, _rows(before, 5, first=0))
    added = _rows(after, 2**40, first=10, note="n", tags=["x"])
    loads.load(after, added, sequence=2)
    assert loads.landed(after) == loads.staged(after, _rows(after, 5, first=0, note=None, tags=None), added)
    assert "`value` Int64 CODEC(Delta(8), ZSTD(1))" in loads.ddl("samples")


def test_deletes_follow_in_a_wider_table(loads: Loads) -> None:
    before, after = _contract(Strategy.UPSERT, "int16"), _contract(Strategy.UPSERT, "int64")
    loads.load(before, _rows(before, 5, first=0))
    keys = loads.plan(after, _rows(after, 5, first=1), sequence=2, covers=Covers(keys_only=True))
    assert loads.again(keys).deleted == 1
    whole = loads.plan(after, _rows(after, 2**40, first=2), sequence=3, covers=Covers())
    assert loads.again(whole).deleted == 1
    assert loads.landed(after) == loads.staged(after, _rows(after, 2**40, first=2))


POINTS = ["part_written", "before_commit", "commit_sent", "after_commit", "before_ledger"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("point", POINTS)
def test_the_table_becomes_wider_while_an_older_load_goes_on(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, point: str
) -> None:
    """The rival only opens: it waits for no turn, and its load comes later."""
    before = _contract(strategy, "int16", more={"tags": "array<int16>"})
    after = _contract(strategy, "int64", more={"tags": "array<int32>?"})
    loads.load(before, _rows(before, 5, first=0, tags=[1]))
    rival = loads.plan(after, _rows(after, 2**40, first=20, day=9, tags=None), sequence=3)
    _once(monkeypatch, point, lambda: ClickHouseDestination(loads.config).open(rival).abort())

    loads.load(before, _rows(before, 6, first=1, day=1, tags=[2]), sequence=2)
    loads.again(rival)

    kept = _left(strategy, _rows(after, 5, first=0, tags=[1]), _rows(after, 6, first=1, tags=[2]))
    there = [] if strategy is Strategy.OVERWRITE else kept
    assert loads.landed(after) == loads.staged(after, there, _rows(after, 2**40, first=20, day=9, tags=None))
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    assert loads.internal_tables() == []


def test_a_table_that_became_narrower_meanwhile_is_made_wide_again(loads: Loads) -> None:
    """A full refresh by the old contract lands in between: nothing may be begun that could not be finished."""
    before, after = _contract(Strategy.APPEND, "int16"), _contract(Strategy.APPEND, "int64")
    loads.load(before, _rows(before, 5, first=0))
    rival = loads.plan(before, _rows(before, 6, first=0), sequence=2, strategy=Strategy.OVERWRITE)
    wide = loads.plan(after, _rows(after, 2**40, first=10), sequence=3)
    other = ClickHouseDestination(loads.config)
    with other.open(rival) as older, loads.destination.open(wide) as newer:
        _write(older, rival)
        with pytest.raises(Retryable, match=r"^samples: clickhouse: the table.s definition changed while .*; run it"):
            _write(newer, wide)
        newer.abort()
    assert loads.again(wide).rows == 3
    assert loads.landed(after) == loads.staged(after, _rows(after, 6, first=0), _rows(after, 2**40, first=10))
    assert loads.internal_tables() == []


def _left(strategy: Strategy, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if strategy is Strategy.APPEND:
        return first + second
    keys = {row["id"] for row in second}
    return second if strategy is not Strategy.UPSERT else [r for r in first if r["id"] not in keys] + second


def _once(monkeypatch: pytest.MonkeyPatch, point: str, action: Any) -> None:
    done: list[str] = []

    def reach(here: str) -> None:
        if here == point and not done:
            done.append(here)
            action()

    monkeypatch.setattr(faults, "reach", reach)


def test_two_opens_at_once_are_one_change(loads: Loads) -> None:
    before, after = _contract(Strategy.APPEND, "int16"), _contract(Strategy.APPEND, "int64")
    loads.load(before, _rows(before, 5, first=0))
    plans = [loads.plan(after, _rows(after, 2**40, first=n * 10), sequence=n) for n in (2, 3)]
    with loads.destination.open(plans[0]) as one, ClickHouseDestination(loads.config).open(plans[1]) as two:
        for session, plan in ((one, plans[0]), (two, plans[1])):
            _write(session, plan)
    rows = [*_rows(after, 2**40, first=20), *_rows(after, 2**40, first=30)]
    assert loads.landed(after) == loads.staged(after, _rows(after, 5, first=0), rows)


def _write(session: Any, plan: LoadPlan) -> None:
    session.commit([session.writer.write(part) for part in plan.parts])


def test_a_validation_view_shows_the_wider_column(loads: Loads) -> None:
    before, after = _contract(Strategy.UPSERT, "float32"), _contract(Strategy.UPSERT, "float64?")
    loads.load(before, _rows(before, 0.5, first=0))
    plan = loads.plan(after, _rows(after, None, first=10), sequence=2)
    load(loads.destination, plan)
    view = loads.destination.validation_target(plan)
    assert loads.sql(f"SELECT count(), countIf(value IS NULL) FROM {loads.store.name(view.relation)}") == [(6, 3)]
    loads.destination.release_validation_target(view)
    assert loads.destination.count(plan).rows == 6
