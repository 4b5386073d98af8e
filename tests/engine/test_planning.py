"""What a run stages next, and which staged sets a destination still lacks."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, Strategy, TableContract
from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.engine.planning import pending
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest, keys_of
from ownlens_plugins.errors import Rejected, StagedSetChanged
from ownlens_plugins.registry import Registry

from .sqlite_destination import SqliteConfig, SqliteDestination
from .staging_rows import REFRESH, START, WHOLE, reads, row, rows, stage

COLUMNS = {"read_id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}


class AppendOnly(SqliteDestination):
    strategies = frozenset({Strategy.APPEND})


@pytest.fixture
def load(area: StagingArea, registry: Registry, sqlite: SqliteDestination) -> Any:
    def load(contract: TableContract, destination: SqliteDestination = sqlite) -> LoadOutcome:
        return load_table(destination, contract, area, registry)

    return load


def stage_rows(
    area: StagingArea, contract: TableContract, values: list[dict[str, Any]], request: StageRequest | None = None
) -> None:
    """Stage rows that have the contract's columns, whatever those are."""
    schema = pa.schema([field.with_nullable(True) for field in contract.arrow_schema])
    table = pa.Table.from_pylist([{name: value.get(name) for name in schema.names} for value in values], schema)
    used = request or StageRequest(Extraction.WINDOW, Window(None, START))
    assert area.stage(contract, Extracted(table.to_reader()), used) is not None


def sequences(
    destination: SqliteDestination, contract: TableContract, area: StagingArea, registry: Registry
) -> list[int]:
    return [plan.sequence for plan in pending(destination, contract, area, registry).plans]


def test_a_destination_loads_what_it_lacks_oldest_first(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, load: Any
) -> None:
    for number in (1, 2):
        stage(area, reads(), rows(number))
    assert sequences(sqlite, reads(), area, registry) == [1, 2]
    outcome = load(reads())
    assert (outcome.status, outcome.rows, outcome.inserted, outcome.loads) == (
        Status.LOADED,
        2,
        2,
        ("reads/00000001", "reads/00000002"),
    )
    assert load(reads()).status is Status.NOTHING_NEW
    stage(area, reads(), rows(3))
    assert load(reads()).loads == ("reads/00000003",)
    assert [value["read_id"] for value in sqlite.landed("reads")] == [1, 2, 3]
    assert sqlite.staged() == 0


def test_a_destination_that_comes_later_catches_up(
    area: StagingArea, sqlite: SqliteDestination, load: Any, tmp_path: Path
) -> None:
    contract = reads("entity")
    stage(area, contract, [row(1, "old"), row(2, "only")])
    load(contract)
    stage(area, contract, [row(1, "new", version=1)])
    load(contract)
    second = SqliteDestination(SqliteConfig(path=str(tmp_path / "second.sqlite")))
    assert load(contract, second).rows == 3
    assert second.landed("reads") == sqlite.landed("reads")
    assert [value["title"] for value in second.landed("reads")] == ["new", "only"]


def test_a_full_refresh_replaces_all_that_came_before(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, load: Any, tmp_path: Path
) -> None:
    stage(area, reads(), rows(1, 2))
    load(reads())
    stage(area, reads(), rows(3))
    refresh = stage(area, reads(), rows(4), REFRESH)
    stage(area, reads(), rows(5))
    (first, second) = pending(sqlite, reads(), area, registry).plans
    assert (first.sequence, first.strategy, second.strategy) == (refresh.sequence, Strategy.OVERWRITE, Strategy.APPEND)
    load(reads())
    assert [value["read_id"] for value in sqlite.landed("reads")] == [4, 5]
    fresh = SqliteDestination(SqliteConfig(path=str(tmp_path / "fresh.sqlite")))
    assert load(reads(), fresh).loads == ("reads/00000003", "reads/00000004")
    assert fresh.landed("reads") == sqlite.landed("reads")


def test_of_overwritten_tables_only_the_newest_set_is_loaded(
    area: StagingArea, sqlite: SqliteDestination, load: Any
) -> None:
    contract = reads("reference")
    for number in (1, 2, 3):
        stage(area, contract, rows(number), WHOLE)
    assert load(contract).loads == ("reads/00000003",)
    assert [value["read_id"] for value in sqlite.landed("reads")] == [3]


@pytest.mark.parametrize("strategy", ["overwrite", "upsert"])
def test_rows_that_staging_knows_nothing_of_are_not_taken_away_by_an_empty_source(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, tmp_path: Path, strategy: str
) -> None:
    contract = reads("reference", destinations={"sqlite": {"strategy": strategy}})
    stage(area, contract, rows(1, 2), WHOLE)
    load_table(sqlite, contract, area, registry)
    other = StagingArea(str(tmp_path / "other"), registry)
    for _ in range(2):
        stage_rows(other, reads("reference", allow_empty=True), [{**row(1), "title": "other"}], WHOLE)
        stage_rows(other, reads("reference", allow_empty=True), [], WHOLE)
    with pytest.raises(Rejected) as caught:
        load_table(sqlite, contract, other, registry)
    assert str(caught.value) == (
        "reads: the source has no rows, and sqlite has 2, which would all go; check the source, or set "
        "allow_empty: true in the contract"
    )
    allowed = reads("reference", allow_empty=True, destinations={"sqlite": {"strategy": strategy}})
    assert load_table(sqlite, allowed, other, registry).deleted == 2
    assert sqlite.landed("reads") == []


def test_a_destination_without_overwrite_refuses_a_full_refresh(
    area: StagingArea, registry: Registry, tmp_path: Path
) -> None:
    destination = AppendOnly(SqliteConfig(path=str(tmp_path / "store.sqlite")))
    stage(area, reads(), rows(1), REFRESH)
    with pytest.raises(Rejected) as caught:
        pending(destination, reads(), area, registry)
    assert str(caught.value) == (
        "reads: sqlite offers no overwrite, so it cannot take the full refresh 1; "
        "load it from a profile with a staging folder of its own, or leave it out with --destinations"
    )


def test_a_set_that_changed_under_its_number_is_refused(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, load: Any, tmp_path: Path
) -> None:
    stage(area, reads(), rows(1))
    load(reads())
    other = StagingArea(str(tmp_path / "other"), registry)
    stage(other, reads(), rows(2))
    with pytest.raises(StagedSetChanged, match="reads: sqlite holds reads/00000001 with another digest"):
        load_table(sqlite, reads(), other, registry)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ({}, {"extra": "int32?"}, None),
        ({"extra": "int32?"}, {}, None),
        ({"extra": "int32"}, {}, 7),
        ({"extra": "int32"}, {"extra": "int32?"}, 7),
        ({"extra": "enum(a, b)?"}, {"extra": "enum(b, a, c)?"}, "a"),
        ({"extra": "enum(a, b)?"}, {"extra": "text?"}, "b"),
        ({"extra": "int16"}, {"extra": "int64?"}, -(2**15)),
        ({"extra": "int32?"}, {"extra": "int64?"}, 2**31 - 1),
        ({"extra": "int32?"}, {"extra": "float64?"}, 2**31 - 1),
        ({"extra": "int64?"}, {"extra": "decimal(21,2)?"}, -(2**63)),
        ({"extra": "float32?"}, {"extra": "float64?"}, -0.5),
        ({"extra": "decimal(4,2)?"}, {"extra": "decimal(10,4)?"}, Decimal("-99.99")),
        ({"extra": "array<int16>?"}, {"extra": "array<int64>?"}, [1, None, -3]),
    ],
)
def test_a_set_of_an_older_contract_that_still_fits_is_loaded(
    area: StagingArea, sqlite: SqliteDestination, load: Any, old: dict[str, str], new: dict[str, str], value: Any
) -> None:
    stage_rows(area, reads(columns={**COLUMNS, **old}), [{**row(1), "extra": value}])
    contract = reads(columns={**COLUMNS, **new})
    load(contract)
    (landed,) = sqlite.landed("reads")
    assert list(landed) == list(contract.column_names)
    found = landed.get("extra")
    assert (Decimal(found) if "decimal" in new.get("extra", "") else found) == (value if new else None)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ({}, {"extra": "int32"}, "lacks the required column 'extra'"),
        ({"extra": "int32?"}, {"extra": "int32"}, "holds 'extra' as int32?, the contract says int32"),
        ({"extra": "int64?"}, {"extra": "int32?"}, "holds 'extra' as int64?, the contract says int32?"),
        ({"extra": "int64?"}, {"extra": "float64?"}, "holds 'extra' as int64?, the contract says float64?"),
        ({"extra": "int32?"}, {"extra": "decimal(9,0)?"}, "holds 'extra' as int32?, the contract says decimal(9,0)?"),
        ({"extra": "text?"}, {"extra": "enum(a)?"}, "holds 'extra' as text?, the contract says enum(a)?"),
        ({"extra": "enum(a, b)?"}, {"extra": "enum(a)?"}, "holds 'extra' as enum(a, b)?, the contract says enum(a)?"),
        ({"extra": "decimal(10,2)?"}, {"extra": "decimal(11,4)?"}, "holds 'extra' as decimal(10,2)?"),
        ({"extra": "array<int64>"}, {"extra": "array<int16>"}, "holds 'extra' as array<int64>"),
        ({"extra": "timestamp?"}, {"extra": "timestamptz?"}, "holds 'extra' as timestamp?"),
    ],
)
def test_a_set_of_an_older_contract_that_no_longer_fits_is_refused(
    area: StagingArea,
    registry: Registry,
    sqlite: SqliteDestination,
    old: dict[str, str],
    new: dict[str, str],
    reason: str,
) -> None:
    stage_rows(area, reads(columns={**COLUMNS, **old}), rows(1) if not old or "?" in old["extra"] else FULL)
    with pytest.raises(Rejected) as caught:
        pending(sqlite, reads(columns={**COLUMNS, **new}), area, registry)
    assert str(caught.value).startswith(f"reads: staged set 1 {reason}")
    assert str(caught.value).endswith("; stage the table anew with --full-refresh --tables reads")


FULL = [{**row(1), "extra": [1]}]


def test_all_columns_that_no_longer_fit_are_named(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, load: Any
) -> None:
    old = reads(columns={**COLUMNS, "a": "text?", "b": "int64?"})
    stage_rows(area, old, rows(1))
    stage_rows(area, old, rows(2))
    changed = reads(columns={**COLUMNS, "a": "int32?", "b": "int32?", "c": "text"})
    with pytest.raises(Rejected) as caught:
        load(changed)
    assert str(caught.value) == (
        "reads: staged set 1, 2 holds 'a' as text?, the contract says int32?; holds 'b' as int64?, the contract says "
        "int32?; lacks the required column 'c'; stage the table anew with --full-refresh --tables reads"
    )
    assert sqlite.landed("reads") == []
    stage_rows(area, changed, [{**row(1), "c": "x"}], REFRESH)
    assert load(changed).loads == ("reads/00000003",)


def test_a_set_without_rows_fits_any_contract(area: StagingArea, sqlite: SqliteDestination, load: Any) -> None:
    stage_rows(area, reads(columns={**COLUMNS, "extra": "text?"}), [])
    assert load(reads(columns={**COLUMNS, "extra": "int32"})).status is Status.LOADED


def test_a_set_of_keys_is_read_under_a_wider_key_and_not_under_another_one(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination, load: Any
) -> None:
    narrow = reads("entity", deletes="follow", columns={**COLUMNS, "read_id": "int32"})
    stage_rows(area, narrow, rows(1, 2))
    load(narrow)
    request = StageRequest(Extraction.WHOLE, Window(None, START), keys_only=True)
    stage_rows(area, keys_of(narrow), rows(1), request)
    other = reads("entity", deletes="follow", key=["other"], columns={**COLUMNS, "other": "int64"})
    with pytest.raises(Rejected, match="lacks the required column 'other'"):
        load(other)
    assert load(reads("entity", deletes="follow")).deleted == 1
    assert [value["read_id"] for value in sqlite.landed("reads")] == [1]


@pytest.mark.parametrize(("staged", "fits"), [("int16", True), ("text", False)])
def test_a_full_refresh_under_an_older_contract_is_read_like_any_set(
    area: StagingArea, sqlite: SqliteDestination, load: Any, staged: str, fits: bool
) -> None:
    stage_rows(area, reads(columns={**COLUMNS, "extra": "json?"}), rows(9))  # which no longer matters
    value = 7 if fits else "7"
    stage_rows(area, reads(columns={**COLUMNS, "extra": staged}), [{**row(1), "extra": value}], REFRESH)
    contract = reads(columns={**COLUMNS, "extra": "int32"})
    if not fits:
        with pytest.raises(Rejected, match="staged set 2 holds 'extra' as text, the contract says int32"):
            load(contract)
        stage_rows(area, contract, [{**row(1), "extra": 7}], REFRESH)
    load(contract)
    assert [(value["read_id"], value["extra"]) for value in sqlite.landed("reads")] == [(1, 7)]


def test_sets_that_were_applied_before_the_contract_changed_do_not_matter(
    area: StagingArea, sqlite: SqliteDestination, load: Any
) -> None:
    stage(area, reads(), rows(1))
    load(reads())
    changed = reads(columns={**COLUMNS, "extra": "int32"})
    assert load(changed).status is Status.NOTHING_NEW


def test_a_full_refresh_heals_what_no_longer_fits(
    area: StagingArea, registry: Registry, sqlite: SqliteDestination
) -> None:
    stage(area, reads(), rows(1))
    changed = reads(columns={**COLUMNS, "extra": "int32"})
    with pytest.raises(Rejected):
        pending(sqlite, changed, area, registry)
    stage_rows(area, changed, [{**row(1), "extra": 1}], REFRESH)
    assert sequences(sqlite, changed, area, registry) == [2]


def test_plans_travel_to_workers_by_pickle(area: StagingArea, registry: Registry, sqlite: SqliteDestination) -> None:
    stage(area, reads(), [*rows(1, 2), row(None)])
    (plan,) = pending(sqlite, reads(), area, registry).plans
    copy = pickle.loads(pickle.dumps(plan))
    assert (copy.load_id, copy.digest, copy.rows, copy.rejected) == ("reads/00000001", plan.digest, 2, 1)
    assert copy.reader().read_all().num_rows == 2
    assert copy.reader(["title"]).schema.names == ["title"]
