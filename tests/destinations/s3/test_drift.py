"""What the lake does with a table whose contract changed, under each policy; docs/drift.md is made from `CASES`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.powers import SupportsPosition
from ownlens_plugins.testing.samples import canonical_rows, sample_table
from ownlens_s3.destination import S3Destination
from ownlens_s3.shape import held_columns
from tests.destinations.drift import CHANGES, Case, Policy
from tests.destinations.s3.loads import Loader, contract_of, left_over

COLUMNS = {"id": "int64", "code": "text", "created_at": "timestamptz", "seen_at": "timestamptz"}
_REPLACED = "changed: rows and schema are replaced"
_REFRESH = "--full-refresh"
_FROZEN = "refused: schema_policy is freeze"
_LOSSY = "refused: the column cannot hold every old value"
_WIDER = "changed: the table is written anew in wider types"
# What changes, and what comes of it under evolve and freeze; `None`: as under evolve.
_TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], str, str | None]] = {
    "new nullable column": ({}, {"note": "text?"}, "changed: added, null in old rows", _FROZEN),
    "new required column": ({}, {"note": "text"}, "refused: old rows have no value for it", None),
    "column left the contract": ({"note": "text?"}, {}, "kept: stays, null in new rows", _FROZEN),
    "required column left the contract": ({"note": "text"}, {}, "changed: stays, may be null from now on", _FROZEN),
    "renamed column": (
        {"note": "text?"},
        {"remark": "text?"},
        "changed: the old one stays, the new one comes",
        _FROZEN,
    ),
    "int16 to int32, int32 to int64": (
        {"small": "int16?", "medium": "int32?"},
        {"small": "int32?", "medium": "int64?"},
        _WIDER,
        _FROZEN,
    ),
    "int64 to int32": ({"small": "int64?"}, {"small": "int32?"}, _LOSSY, None),
    "decimal(4,2) to decimal(10,4)": ({"price": "decimal(4,2)?"}, {"price": "decimal(10,4)?"}, _WIDER, _FROZEN),
    "decimal(10,4) to decimal(4,2)": ({"price": "decimal(10,4)?"}, {"price": "decimal(4,2)?"}, _LOSSY, None),
    "float32 to float64": ({"ratio": "float32?"}, {"ratio": "float64?"}, _WIDER, _FROZEN),
    "enum with more labels": ({"kind": "enum(a, b)?"}, {"kind": "enum(a, b, c)?"}, "kept: labels are text", None),
    "enum with fewer labels": ({"kind": "enum(a, b)?"}, {"kind": "enum(a)?"}, "kept: old rows keep their labels", None),
    "enum to text": ({"kind": "enum(a, b)?"}, {"kind": "text?"}, "changed: the type that is noted", _FROZEN),
    "text to enum": ({"kind": "text?"}, {"kind": "enum(a, b)?"}, _LOSSY, None),
    "text to int64": ({"kind": "text?"}, {"kind": "int64?"}, _LOSSY, None),
    "not null to null": ({"note": "text"}, {"note": "text?"}, "changed: may be null from now on", _FROZEN),
    "null to not null": ({"note": "text?"}, {"note": "text"}, "kept: the table goes on to allow null", None),
    "other key": (
        {"_": {"key": ["id"]}},
        {"_": {"key": ["code"]}},
        "refused: a merge finds rows by the key (appends go on)",
        None,
    ),
    "other partition_by": (
        {"_": {"partition_by": "created_at"}, "day": "date"},
        {"_": {"partition_by": "day"}, "day": "date"},
        "refused: rows lie in other folders",
        None,
    ),
    "other version_by": (
        {"_": {"version_by": "seen_at"}},
        {"_": {"version_by": "created_at"}},
        "kept: the next set is compared by the new one",
        None,
    ),
}
_LEAVING = {
    "column left the contract": "changed: dropped; all rows are written anew",
    "required column left the contract": "changed: dropped; all rows are written anew",
    "renamed column": "changed: the old one is dropped, the new one comes, null in old rows",
}


def _cases(change: str) -> list[Case]:
    before, after, evolved, frozen = _TABLE[change]
    outcomes: dict[Policy, str] = {
        "evolve": evolved,
        "evolve, drop_columns": _LEAVING.get(change, evolved),
        "freeze": frozen or evolved,
        "--full-refresh": _REPLACED,
    }
    return [
        Case(change, policy, outcome, _REFRESH if outcome.startswith("refused") else None, _yaml(before), _yaml(after))
        for policy, outcome in outcomes.items()
    ]


def _yaml(values: dict[str, Any]) -> dict[str, Any]:
    return {"columns": {name: kind for name, kind in values.items() if name != "_"}, **values.get("_", {})}


CASES = [case for change in CHANGES for case in _cases(change)]
_POLICIES: dict[str, dict[str, Any]] = {
    "evolve": {},
    "evolve, drop_columns": {"drop_columns": True},
    "freeze": {"schema_policy": "freeze"},
    "--full-refresh": {"schema_policy": "freeze"},  # which it does not ask
}


def contract(values: dict[str, Any] | None, strategy: str, form: str = "delta", **more: Any) -> TableContract:
    changed = values or {}
    defaults = {"key": ["id"], "partition_by": "created_at", "version_by": "seen_at", "cursor": "seen_at"}
    columns = {**COLUMNS, **changed.get("columns", {})}
    return contract_of(strategy, form, **{**defaults, **changed, "columns": columns, **more})


def rows(of: TableContract, first: int, *, count: int = 6) -> pa.Table:
    return sample_table(of, [_row(of, number) for number in range(first, first + count)])


def _row(of: TableContract, number: int) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number % 2, hours=number)
    base = {"id": number, "code": f"c{number}", "created_at": at, "seen_at": at}
    return {**{column.name: _value(str(column), number) for column in of.columns}, **base}


def _value(kind: str, number: int) -> Any:
    plain = kind.removesuffix("?")
    if plain.startswith("decimal"):
        return Decimal(number % 90).scaleb(-1)
    if plain.startswith("enum"):
        return "a"
    values = {"text": f"n{number}", "date": datetime(2026, 1, 1 + number % 2, tzinfo=UTC).date(), "float32": 0.5}
    return values.get(plain, 0.25 if plain == "float64" else number)


def refresh(plan: LoadPlan) -> LoadPlan:
    """Return the plan that `--full-refresh` makes."""
    return replace(plan, strategy=Strategy.OVERWRITE, full_refresh=True)


@pytest.mark.parametrize("strategy", ["append", "upsert"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.change}-{case.policy}")
def test_what_comes_of_a_change(local: S3Destination, tmp_path: Path, case: Case, strategy: str) -> None:
    old = Loader(local, contract(case.before, strategy), tmp_path)
    first = rows(old.contract, 0)
    old.load(1, first)
    new = Loader(local, contract(case.after, strategy, **_POLICIES[case.policy]), tmp_path)
    second = rows(new.contract, 100)
    plan = new.plan(2, second)
    if case.policy == "--full-refresh":
        _require_replaced(new, plan, second)
    elif case.outcome.startswith("refused") and not ("appends go on" in case.outcome and strategy == "append"):
        with pytest.raises(Rejected, match=r"^samples: .*--full-refresh$"):
            load(local, plan)
        old.require(first)
        assert case.run == _REFRESH
        _require_replaced(new, plan, second)
    else:
        load(local, plan)
        _require_both(new, first, second)
        assert load(local, plan).replayed
        assert left_over(local, plan) == []


def _require_replaced(new: Loader, plan: LoadPlan, second: pa.Table) -> None:
    """Load it as `--full-refresh` does: the table has the rows and columns of the contract, and takes the next set."""
    result = load(new.destination, refresh(plan))
    assert (result.inserted, result.deleted) == (6, 6)
    new.require(second)
    held = held_columns(delta_of(new))
    assert [name for name in held if not name.startswith("_ownlens")] == list(new.contract.column_names)
    third = rows(new.contract, 200)
    new.load(3, third)
    new.require(second, third)
    # Files of the older version stay for its readers; with other partitions delta-rs does not list them.
    assert [name for name in left_over(new.destination, new.plans[3]) if "part-00000001-" not in name] == []


def _require_both(new: Loader, first: pa.Table, second: pa.Table) -> None:
    shown = {name: first[name] for name in first.schema.names if name in new.contract.column_names}
    kept = pa.table(shown).cast(pa.schema([new.contract.arrow_schema.field(name) for name in shown]).remove_metadata())
    expected = pa.concat_tables([kept, second], promote_options="permissive")
    landed = new.landed()
    assert canonical_rows(landed) == canonical_rows(expected.select(landed.schema.names))


def delta_of(loader: Loader) -> Any:
    plan = loader.plans[max(loader.plans)]
    table = loader.destination.delta(loader.contract, plan.options).open()  # type: ignore[arg-type]
    assert table is not None
    return table


@pytest.mark.parametrize("form", ["delta", "parquet", "json"])
@pytest.mark.parametrize("change", CHANGES)
def test_overwrites_are_refused_or_replace_and_a_full_refresh_always_does(
    local: S3Destination, tmp_path: Path, change: str, form: str
) -> None:
    before, after, _, _ = _TABLE[change]
    old = Loader(local, contract(_yaml(before), "overwrite", form), tmp_path)
    old.load(1, rows(old.contract, 0))
    new = Loader(local, contract(_yaml(after), "overwrite", form), tmp_path)
    second = rows(new.contract, 100)
    plan = new.plan(2, second)
    if _passes(change, form):
        load(local, plan)
    else:
        with pytest.raises(Rejected, match=r"--full-refresh$"):
            load(local, plan)
        load(local, refresh(plan))
    new.require(second)
    assert [name for name in left_over(local, plan) if "part-00000001-" not in name or form != "delta"] == []


def _passes(change: str, form: str) -> bool:
    free = {"other key"} if form == "delta" else {"other key", "other partition_by"}
    return not _TABLE[change][2].startswith("refused") or change in free


def test_the_position_is_the_newest_set_in_either_format(destination: S3Destination, tmp_path: Path) -> None:
    for form in ("delta", "parquet", "delta"):
        loader = Loader(destination, contract({}, "overwrite", form), tmp_path)
        before = destination.position(loader.contract)
        load(destination, refresh(loader.plan(before + 3, rows(loader.contract, 0))))
        assert destination.position(loader.contract) == before + 3
    assert isinstance(destination, SupportsPosition)
    assert destination.position(contract({}, "append", path="tests/nothing")) == 0


def test_every_change_is_spoken_of() -> None:
    assert {case.change for case in CASES} == set(CHANGES)
