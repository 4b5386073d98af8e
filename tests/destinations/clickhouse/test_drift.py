"""A table whose contract changed: what follows, what stays, what is refused, and that the fix works when followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_rows
from tests.destinations.drift import CHANGES, Case, Policy

from .loads import NARROW, STRATEGIES, Loads, contract_for

EVOLVE, DROP, FREEZE, REFRESH = policies = ("evolve", "evolve, drop_columns", "freeze", "--full-refresh")
POLICIES: tuple[Policy, ...] = policies  # type: ignore[assignment]
_ANEW = "changed: the table is built anew by the contract, with what its owner added as far as it fits"
_BY_EVOLVING = "schema_policy: evolve"


def _columns(**kinds: str) -> dict[str, Any]:
    return {"columns": {**NARROW, **kinds}}


def _cases(
    change: str, before: dict[str, Any], after: dict[str, Any], evolve: str, freeze: str, **others: str
) -> Iterator[Case]:
    """Yield a change under each policy; an outcome that is not given under drop_columns is that of evolve."""
    outcomes = {EVOLVE: evolve, DROP: others.get("drop", evolve), FREEZE: freeze, REFRESH: _ANEW}
    for policy in POLICIES:
        outcome = outcomes[policy]
        fix = _BY_EVOLVING if policy == FREEZE and evolve.startswith(("changed", "kept")) else "--full-refresh"
        yield Case(change, policy, outcome, fix if outcome.startswith("refused") else None, before, after)


_ADDED = "changed: the column is added, null in the rows that are there"
_STAYS = "kept: the column stays, null in new rows"
_RELAXED = "changed: the column stays, becomes nullable, null in new rows"
_RENAMED = "changed: the old column stays, null in new rows; the new one is added, null in the rows that are there"
_DROPPED = "changed: the column is dropped"
_WIDER = "changed: the column becomes wider, its values stay"
_FROZEN = "refused: the table would have to change"
_LOSES = "refused: not every value that is there would fit"
_LABELS = "kept: labels are not part of the table"
_BOUND = "refused: ClickHouse cannot change it in a table that is there"


def _typed(change: str, old: str, new: str, evolve: str, freeze: str) -> Iterator[Case]:
    return _cases(change, _columns(value=old), _columns(value=new), evolve, freeze)


CASES: list[Case] = [
    *_cases("new nullable column", _columns(), _columns(value="text?"), _ADDED, _FROZEN),
    *_cases("new required column", _columns(), _columns(value="text"), *["refused: rows that are there have none"] * 2),
    *_cases("column left the contract", _columns(value="text?"), _columns(), _STAYS, _FROZEN, drop=_DROPPED),
    *_cases("required column left the contract", _columns(value="int32"), _columns(), _RELAXED, _FROZEN, drop=_DROPPED),
    *_cases(
        "renamed column",
        _columns(value="text?"),
        _columns(renamed="text?"),
        _RENAMED,
        _FROZEN,
        drop="changed: the old column is dropped, the new one is added, null in the rows that are there",
    ),
    *_typed("int16 to int32, int32 to int64", "int16", "int32", _WIDER, _FROZEN),
    *_typed("int64 to int32", "int64", "int32", _LOSES, _LOSES),
    *_typed("decimal(4,2) to decimal(10,4)", "decimal(4,2)", "decimal(10,4)", _WIDER, _FROZEN),
    *_typed("decimal(10,4) to decimal(4,2)", "decimal(10,4)", "decimal(4,2)", _LOSES, _LOSES),
    *_typed("float32 to float64", "float32", "float64", _WIDER, _FROZEN),
    *_typed("enum with more labels", "enum(a, b)", "enum(a, b, c)", _LABELS, _LABELS),
    *_typed("enum with fewer labels", "enum(a, b)", "enum(a)", _LABELS, _LABELS),
    *_typed("enum to text", "enum(a, b)", "text", _WIDER, _FROZEN),
    *_typed("text to enum", "text", "enum(a, b)", _LOSES, _LOSES),
    *_typed("text to int64", "text", "int64", _LOSES, _LOSES),
    *_typed("not null to null", "text", "text?", "changed: the column becomes nullable", _FROZEN),
    *_typed("null to not null", "text?", "text", _LOSES, _LOSES),
    *_cases("other key", {"key": ["id"]}, {"key": ["id", "day"]}, _BOUND, _BOUND),
    *_cases("other partition_by", {"partition_by": "day"}, {"partition_by": "created_at"}, _BOUND, _BOUND),
    *_cases("other version_by", {"version_by": "updated_at"}, {"version_by": "created_at"}, _BOUND, _BOUND),
]
_VALUES = {"int": 5, "decimal": Decimal("1.50"), "float": 0.5, "enum": "a", "text": "a"}


def _contract(values: dict[str, Any], policy: str, strategy: Strategy = Strategy.UPSERT) -> TableContract:
    frozen = policy in {FREEZE, REFRESH}
    rules = {"schema_policy": "freeze" if frozen else "evolve", "drop_columns": policy == DROP}
    return contract_for(strategy, **{"columns": NARROW, **values, **rules})


def _rows(contract: TableContract, *, first: int, day: int = 1) -> list[dict[str, Any]]:
    rows = [{**row, "day": row["day"].replace(day=day)} for row in sample_rows(3, first=first, days=1)]
    others = {
        column.name: next(value for kind, value in _VALUES.items() if str(column.type).startswith(kind))
        for column in contract.columns
        if column.name not in NARROW
    }
    return [{name: {**row, **others}[name] for name in contract.column_names} for row in rows]


def _id(case: Case) -> str:
    return f"{case.change}: {case.policy}"


def test_every_change_is_told_under_every_policy() -> None:
    assert [(case.change, case.policy) for case in CASES] == [(c, p) for c in CHANGES for p in POLICIES]


@pytest.mark.parametrize("case", CASES, ids=map(_id, CASES))
def test_what_comes_of_a_change(loads: Loads, case: Case) -> None:
    before, after = _contract(case.before or {}, EVOLVE), _contract(case.after or {}, case.policy)
    old, new = _rows(before, first=0), _rows(after, first=10, day=2)
    loads.load(before, old)
    ddl, plan = loads.ddl("samples"), _plan(loads, after, new, refresh=case.policy == REFRESH)
    if case.outcome.startswith("refused"):
        with pytest.raises(Rejected, match=f"^samples: clickhouse table .*{case.run}") as caught:
            loads.again(plan)
        assert "\n" not in str(caught.value)
        assert (loads.ddl("samples"), loads.landed(before)) == (ddl, loads.staged(before, old))
        after = _contract(case.after or {}, EVOLVE if case.run == _BY_EVOLVING else case.policy)
        plan = _plan(loads, after, new, refresh=case.run == "--full-refresh")
    loads.again(plan)
    there = [] if plan.full_refresh else [{n: row.get(n) for n in after.column_names} for row in old]
    assert loads.landed(after) == loads.staged(after, there, new)
    if not case.outcome.startswith("refused"):
        assert (loads.ddl("samples").partition(" COMMENT ")[0] == ddl) == case.outcome.startswith("kept")
    _require_left(loads, case, before, after)
    loads.load(after, _rows(after, first=20, day=3), sequence=3)
    assert loads.internal_tables() == []


def _plan(loads: Loads, contract: TableContract, rows: list[dict[str, Any]], *, refresh: bool) -> LoadPlan:
    plan = loads.plan(contract, rows, sequence=2, strategy=Strategy.OVERWRITE if refresh else None)
    return replace(plan, full_refresh=refresh)


def _shown(loads: Loads) -> set[str]:
    query = "SELECT name FROM system.columns WHERE database = {d:String} AND table = 'samples'"
    return {str(name) for (name,) in loads.sql(query, d=loads.config.database)}


def _require_left(loads: Loads, case: Case, before: TableContract, after: TableContract) -> None:
    """A column that left is there, null in new rows, unless the policy or the refresh took it out."""
    gone = set(before.column_names) - set(after.column_names)
    shown = _shown(loads)
    assert (gone <= shown) == (case.policy not in {DROP, REFRESH} or not gone)
    if gone <= shown:
        for name in gone:
            held = f"SELECT count(), countIf({name} IS NULL) FROM {loads.store.name('samples')}"
            assert loads.sql(held) == [(6, 3)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dropped", [False, True])
def test_columns_that_left_in_every_strategy(loads: Loads, strategy: Strategy, dropped: bool) -> None:
    more = {"number": "int16", "text": "text?", "tags": "array<text>", "marks": "array<int32>?"}
    before = _contract(_columns(**more), EVOLVE, strategy)
    values = {"number": 7, "text": "x", "tags": ["x"], "marks": [1]}
    old = [{**row, **values} for row in _rows(_contract({}, EVOLVE), first=0)]
    loads.load(before, old)
    after = _contract({}, DROP if dropped else EVOLVE, strategy)
    loads.load(after, _rows(after, first=10, day=2), sequence=2)
    names = set(more) & _shown(loads)
    assert names == (set() if dropped else set(more))
    if not dropped:  # the contract names them again
        again = _contract(_columns(**{name: kind.rstrip("?") + "?" for name, kind in more.items()}), EVOLVE, strategy)
        nulls = [{**row, **dict.fromkeys(more)} for row in _rows(after, first=10, day=2)]
        assert loads.landed(again) == loads.staged(again, [] if strategy is Strategy.OVERWRITE else old, nulls)


def test_all_differences_are_told_at_once(loads: Loads) -> None:
    before = _contract({**_columns(value="int64", title="text?"), "version_by": "updated_at"}, EVOLVE)
    after = _contract({**_columns(value="int32", title="text", more="int64"), "version_by": "created_at"}, EVOLVE)
    loads.load(before, _rows(before, first=0))
    with pytest.raises(Rejected) as caught:
        loads.load(after, [{**row, "title": "t"} for row in _rows(after, first=0)], sequence=2)
    for part in ("'value' as Int64, not Int32", "'title' as Nullable", "no column 'more'", "not created_at"):
        assert part in str(caught.value)


@pytest.mark.parametrize("made", ["Log", "ReplacingMergeTree ORDER BY tuple()"])
def test_a_full_refresh_gets_through_to_a_table_of_any_kind(loads: Loads, made: str) -> None:
    contract = _contract({}, FREEZE)
    loads.load(contract, _rows(contract, first=0))
    loads.run(f"DROP TABLE {loads.store.name('samples')} SYNC")
    loads.run(f"CREATE TABLE {loads.store.name('samples')} (id String, other Array(Int8)) ENGINE = {made}")
    loads.again(_plan(loads, contract, _rows(contract, first=0), refresh=True))
    assert loads.landed(contract) == loads.staged(contract, _rows(contract, first=0))


def test_a_table_that_somebody_else_made_can_be_given_rows(loads: Loads) -> None:
    contract = _contract({}, EVOLVE, Strategy.APPEND)
    loads.load(contract, [])
    ddl = loads.ddl("samples").replace("`_ownlens_load` UInt64 MATERIALIZED 0, ", "")
    ddl = ddl.replace(", INDEX _ownlens_load_index _ownlens_load TYPE minmax GRANULARITY 1", "")
    loads.run(f"DROP TABLE {loads.store.name('samples')} SYNC")
    loads.run(ddl)
    with pytest.raises(Rejected, match="is not one that OwnLens made; load it with --full-refresh") as caught:
        loads.load(contract, _rows(contract, first=0), sequence=2)
    loads.run(str(caught.value).rpartition("to it: ")[2])
    loads.load(contract, _rows(contract, first=0), sequence=2)
    assert loads.landed(contract) == loads.staged(contract, _rows(contract, first=0))


def test_a_view_is_refused_with_its_kind(loads: Loads) -> None:
    contract = _contract({}, EVOLVE)
    loads.load(_contract({"table": "other"}, EVOLVE), [])
    loads.run(f"CREATE VIEW {loads.store.name('samples')} AS SELECT 1 AS id")
    with pytest.raises(Rejected, match="is a View, not a table; drop or rename it first"):
        loads.again(_plan(loads, contract, _rows(contract, first=0), refresh=True))
    loads.run(f"DROP VIEW {loads.store.name('samples')}")
    loads.again(_plan(loads, contract, _rows(contract, first=0), refresh=True))


def test_a_view_in_the_place_of_a_loaded_table_is_called_so_at_once(loads: Loads) -> None:
    contract = _contract({}, EVOLVE)
    loads.load(contract, _rows(contract, first=0))
    loads.run(f"DROP TABLE {loads.store.name('samples')} SYNC")
    loads.run(f"CREATE VIEW {loads.store.name('samples')} AS SELECT 1 AS id")
    with pytest.raises(Rejected, match="is a View, not a table; drop or rename it first"):
        loads.load(contract, _rows(contract, first=10), sequence=2)


@pytest.mark.parametrize("refresh", [False, True], ids=["load", "refresh"])
def test_a_detached_table_is_called_so(loads: Loads, refresh: bool) -> None:
    """It is in no list of tables, and yet its name is taken."""
    contract = _contract({}, EVOLVE)
    loads.load(contract, _rows(contract, first=0))
    loads.run(f"DETACH TABLE {loads.store.name('samples')} PERMANENTLY")
    rows = _rows(contract, first=10)
    plan = _plan(loads, contract, rows, refresh=True) if refresh else loads.plan(contract, rows, sequence=2)
    with pytest.raises(Rejected, match="is detached, so that no other can be made; run ATTACH TABLE") as caught:
        loads.again(plan)
    loads.run(str(caught.value).rpartition("run ")[2])
    loads.again(plan)
    old = [] if refresh else _rows(contract, first=0)
    assert loads.landed(contract) == loads.staged(contract, old, rows)


def test_a_dropped_column_that_something_is_made_of(loads: Loads) -> None:
    before, after = _contract(_columns(value="int32"), EVOLVE), _contract({}, DROP)
    loads.load(before, _rows(before, first=0))
    loads.run(f"ALTER TABLE {loads.store.name('samples')} ADD COLUMN twice Int64 ALIAS value * 2")
    with pytest.raises(Rejected, match=r"cannot drop 'value': .*`twice`.*; drop first what depends on it, or"):
        loads.load(after, _rows(after, first=10), sequence=2)
    loads.run(f"ALTER TABLE {loads.store.name('samples')} DROP COLUMN twice")
    loads.load(after, _rows(after, first=10), sequence=2)


def test_another_nullable_version_is_noticed(loads: Loads) -> None:
    kinds = _columns(one="int32?", two="int32?")
    before, after = ({**kinds, "version_by": name, "cursor": ["updated_at"]} for name in ("one", "two"))
    loads.load(_contract(before, EVOLVE), _rows(_contract(before, EVOLVE), first=0))
    contract = _contract(after, EVOLVE)
    with pytest.raises(Rejected, match=r"keeps the newest row by another column, .*, not two, .*--full-refresh"):
        loads.load(contract, _rows(contract, first=0), sequence=2)
    loads.again(_plan(loads, contract, _rows(contract, first=0), refresh=True))
    assert loads.load(contract, _rows(contract, first=0), sequence=3).unchanged == 3


def test_the_position_is_the_highest_sequence_of_all_lives(loads: Loads) -> None:
    contract = _contract({}, EVOLVE)
    assert loads.destination.position(contract) == 0
    loads.load(contract, [], sequence=7)
    loads.run(f"DROP TABLE {loads.store.name('samples')} SYNC")
    loads.load(contract, [], sequence=3)
    assert loads.destination.position(contract) == 7
