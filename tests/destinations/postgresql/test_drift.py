"""What becomes of a loaded table when its contract changes, under each policy; docs/drift.md is made from `CASES`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from ownlens_plugins.api import LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.destinations.drift import CHANGES, Case, Policy

from .conftest import Store
from .test_tables import columns_of

REFRESH = "--full-refresh"
ANEW = "changed: table and rows are the contract's and the set's, in one step"
SAME = "kept: nothing in the table says so"
POLICIES: tuple[Policy, ...] = ("evolve", "evolve, drop_columns", "freeze", "--full-refresh")


def cases(
    change: str,
    before: dict[str, Any],
    after: dict[str, Any],
    evolve: str,
    freeze: str,
    *,
    drop: str | None = None,
    refresh: str = ANEW,
) -> list[Case]:
    """Return one change's cases. Where a load is refused, a full refresh brings it through."""
    outcomes = (evolve, drop or evolve, freeze, refresh)
    return [
        Case(change, policy, outcome, REFRESH if outcome.startswith("refused") else None, before, after)
        for policy, outcome in zip(POLICIES, outcomes, strict=True)
    ]


def columns(**changed: str) -> dict[str, Any]:
    return {"columns": {"id": "int64", **changed, "day": "date", "updated_at": "timestamptz"}}


WIDER = "changed: the column is widened before the load, and old values stay"
OTHER_TYPE = "refused: each column that differs is named, with both types"
LEFT = "kept: the column stays, and is null in new rows"
NOT_THERE = "refused: the column that left is named"

CASES: list[Case] = [
    *cases(
        "new nullable column",
        columns(),
        columns(v="text?"),
        "changed: the column is added, and null in old rows",
        "refused: the columns that the table lacks are named",
    ),
    *cases(
        "new required column",
        columns(),
        columns(v="int32"),
        "refused: old rows have no value for it",
        "refused: the columns that the table lacks are named",
    ),
    *cases(
        "column left the contract",
        columns(v="text?"),
        columns(),
        LEFT,
        NOT_THERE,
        drop="changed: the column is dropped in the load's transaction",
    ),
    *cases(
        "required column left the contract",
        columns(v="int32"),
        columns(),
        "changed: NOT NULL is dropped; the column stays, and is null in new rows",
        NOT_THERE,
        drop="changed: the column is dropped in the load's transaction",
    ),
    *cases(
        "renamed column",
        columns(v="text?"),
        columns(w="text?"),
        "changed: the new column is added; the old one stays, and is null in new rows",
        "refused: the column that left and the one that came are named",
        drop="changed: the new column is added, the old one dropped with its values",
    ),
    *cases(
        "int16 to int32, int32 to int64",
        columns(v="int16", w="int32"),
        columns(v="int32", w="int64"),
        WIDER,
        OTHER_TYPE,
    ),
    *cases("int64 to int32", columns(v="int64"), columns(v="int32"), OTHER_TYPE, OTHER_TYPE),
    *cases("decimal(4,2) to decimal(10,4)", columns(v="decimal(4,2)"), columns(v="decimal(10,4)"), WIDER, OTHER_TYPE),
    *cases(
        "decimal(10,4) to decimal(4,2)", columns(v="decimal(10,4)"), columns(v="decimal(4,2)"), OTHER_TYPE, OTHER_TYPE
    ),
    *cases("float32 to float64", columns(v="float32"), columns(v="float64"), WIDER, OTHER_TYPE),
    *cases(
        "enum with more labels",
        columns(v="enum(a)"),
        columns(v="enum(a, b)"),
        "changed: the check of labels becomes the contract's",
        "refused: the check of labels is named, with the statement that drops it",
    ),
    *cases(
        "enum with fewer labels",
        columns(v="enum(a, b)"),
        columns(v="enum(b)"),
        "refused while rows have the label that left; else the check becomes the contract's",
        "refused: the check of labels is named, with the statement that drops it",
    ),
    *cases(
        "enum to text",
        columns(v="enum(a)"),
        columns(v="text"),
        "changed: the check of labels is dropped",
        "refused: the check of labels is named, with the statement that drops it",
    ),
    *cases(
        "text to enum",
        columns(v="text"),
        columns(v="enum(b)"),
        "refused while rows have other texts; else a check of labels is added",
        "kept: the table takes any text, and staged rows hold labels only",
    ),
    *cases("text to int64", columns(v="text"), columns(v="int64"), OTHER_TYPE, OTHER_TYPE),
    *cases(
        "not null to null",
        columns(v="int32"),
        columns(v="int32?"),
        "changed: NOT NULL is dropped",
        "refused: the columns that take no NULL are named",
    ),
    *cases(
        "null to not null",
        columns(v="int32?"),
        columns(v="int32"),
        "kept: the table takes NULL as before, and staged rows hold none",
        "kept: the table takes NULL as before, and staged rows hold none",
    ),
    *cases(
        "other key",
        columns(v="int64") | {"key": ["id"]},
        columns(v="int64") | {"key": ["v"]},
        "refused: no unique key; with the statement that adds one, which fails where rows are not unique by it",
        "refused: no unique key; with the statement that adds one, which fails where rows are not unique by it",
    ),
    *cases("other partition_by", {"partition_by": "day"}, {"partition_by": "updated_at"}, SAME, SAME),
    *cases(
        "other version_by",
        columns(v="timestamptz") | {"version_by": "updated_at"},
        columns(v="timestamptz") | {"version_by": "v"},
        "kept: rows are compared by the new column from now on",
        "kept: rows are compared by the new column from now on",
    ),
]

OLD: dict[str, Any] = {"text": "a", "enum": "a", "int": 7, "decimal": Decimal("1.25"), "float": 0.5}
OLD["timestamp"] = datetime(2025, 1, 1, tzinfo=UTC)
NEW: dict[str, Any] = {"text": "b", "enum": "b", "int": 8, "decimal": Decimal("2.25"), "float": 0.25}
NEW["timestamp"] = datetime(2026, 6, 1, tzinfo=UTC)


def contract_of(values: dict[str, Any], policy: Policy = "evolve") -> TableContract:
    fixed = {} if policy == "--full-refresh" else {"schema_policy": policy.partition(",")[0]}
    dropped = {"drop_columns": True} if "drop_columns" in policy else {}
    return sample_contract(**{**columns(), **values, **fixed, **dropped})


def rows_of(contract: TableContract, ids: range, values: dict[str, Any], version: int = 0) -> list[dict[str, Any]]:
    moment = datetime(2026, 1, 1 + version, tzinfo=UTC)
    fixed = {"day": date(2026, 1, 1), "updated_at": moment}
    others = [column for column in contract.columns if column.name not in {"id", *fixed}]
    return [
        {"id": id_, **fixed, **{c.name: id_ if c.name in contract.key else worth(str(c), values) for c in others}}
        for id_ in ids
    ]


def worth(type_: str, values: dict[str, Any]) -> Any:
    return next(value for kind, value in values.items() if type_.startswith(kind))


def refreshed(store: Store, contract: TableContract, rows: list[dict[str, Any]], sequence: int) -> LoadResult:
    plan = store.plan(rows, contract=contract, sequence=sequence, strategy=Strategy.OVERWRITE)
    return load(PostgreSQLDestination(store.config), replace(plan, full_refresh=True))


def attempted(store: Store, case: Case, contract: TableContract, rows: list[dict[str, Any]]) -> str:
    """Load, and return what came of it: an outcome's first word, or the message of a refusal."""
    before = shape(store)
    if case.policy == "--full-refresh":
        refreshed(store, contract, rows, 2)
    else:
        try:
            load(PostgreSQLDestination(store.config), store.plan(rows, contract=contract, sequence=2))
        except Rejected as error:
            assert shape(store) == before
            return str(error)
    return "kept" if shape(store) == before else "changed"


def shape(store: Store) -> tuple[Any, ...]:
    checks = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'samples'::regclass ORDER BY 1"
    return columns_of(store), store.sql(checks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.change}-{case.policy}")
def test_a_change_ends_as_the_page_says_and_its_fix_works(either: Store, case: Case) -> None:
    old, new = contract_of(case.before or {}), contract_of(case.after or {}, case.policy)
    either.load(rows_of(old, range(3), OLD), contract=old)
    rows = rows_of(new, range(1, 4), NEW, version=1)
    found = attempted(either, case, new, rows)
    if not case.outcome.startswith("refused"):
        assert case.policy == "--full-refresh" or case.outcome.startswith(found), found
        check(either, case, new, rows)
        return
    assert found.startswith("samples: postgresql"), found
    assert "\n" not in found
    assert (len(either.ledger()), either.landed(old)) == (1, either.staged(rows_of(old, range(3), OLD), old))
    refreshed(either, new, rows, 2)
    check(either, replace(case, policy="--full-refresh"), new, rows)


def check(store: Store, case: Case, contract: TableContract, rows: list[dict[str, Any]]) -> None:
    landed = store.landed(contract)
    assert set(store.staged(rows, contract)) <= set(landed)
    if case.policy != "--full-refresh":
        assert len(landed) == 4
        return
    assert landed == store.staged(rows, contract)
    assert {name: required for name, (_, required) in columns_of(store).items()} == {
        column.name: not column.nullable for column in contract.columns
    }
    more = rows_of(contract, range(4, 6), NEW)
    assert store.load(more, contract=contract, sequence=3).inserted == 2


def test_labels_leave_once_no_row_has_them_and_come_back(either: Store) -> None:
    """Enum to fewer labels, to text, and to an enum again; rows that wait for a parent count too."""
    kinds = ["enum(a, b)?", "enum(b)?", "text?", "enum(b, c)?", "enum(a, b)?"]
    for number, kind in enumerate(kinds, start=1):
        contract = contract_of(columns(v=kind))
        either.load(rows_of(contract, range(number, number + 1), NEW), contract=contract, sequence=number)
    assert either.sql("SELECT count(*) FROM samples WHERE v = 'b'") == [(5,)]


def test_the_check_of_its_labels_leaves_with_a_column(either: Store) -> None:
    wide, narrow = contract_of(columns(v="enum(a, b)?")), contract_of(columns(), "evolve, drop_columns")
    either.load(rows_of(wide, range(3), OLD), contract=wide)
    either.load(rows_of(narrow, range(3, 5), NEW), contract=narrow, sequence=2)
    assert "v" not in columns_of(either)
    assert len(either.landed(narrow)) == 5


def test_a_row_that_waits_keeps_its_label_in_the_contract(either: Store) -> None:
    references = {"references": {"id": "parents.id"}}
    parents = sample_contract("reference", table="parents", columns={"id": "int64", "updated_at": "timestamptz"})
    either.load([], contract=parents)
    wide, narrow = contract_of(columns(v="enum(a, b)") | references), contract_of(columns(v="enum(b)") | references)
    assert either.load(rows_of(wide, range(3), OLD), contract=wide).rejected == 3
    with pytest.raises(Rejected, match=r"'v' is no label of the contract; .* --full-refresh"):
        either.load(rows_of(narrow, range(3), NEW), contract=narrow, sequence=2)
    assert refreshed(either, narrow, rows_of(narrow, range(3), NEW), 2).rejected == 3


def test_every_change_is_spoken_of_under_every_policy() -> None:
    assert [(case.change, case.policy) for case in CASES] == [(c, p) for c in CHANGES for p in POLICIES]
