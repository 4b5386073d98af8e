"""A contract whose columns must hold more: the table that is there is widened, and its rows stay what they were."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import QueryBuilder, write_deltalake

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing.samples import EVERY_TYPE, canonical_rows
from ownlens_s3 import altering
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of, left_over
from tests.destinations.s3.worker import exit_code, start

STRATEGIES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]
# Column, its type of before and after, and a value that only the new one holds.
WIDER: list[tuple[str, str, str, Any]] = [
    ("small", "int16?", "int32?", 2**31 - 1),
    ("small", "int16?", "int64?", -(2**63)),
    ("medium", "int32?", "int64?", 2**40),
    ("ratio32", "float32?", "float64?", 0.1),
    ("amount", "decimal(18,4)?", "decimal(38,10)?", Decimal("1234567890123456789012345678.0123456789")),
    ("amount", "decimal(18,4)?", "decimal(20,4)?", Decimal("9999999999999999.9999")),
    ("status", "enum(draft, live, gone)?", "enum(draft, live, gone, hidden)?", "hidden"),
    ("status", "enum(draft, live, gone)?", "text?", "anything at all"),
    ("day", "date", "date?", None),
    ("id", "int32", "int64", 2**62),
    ("medium", "int32", "int64?", None),
]
LAYOUTS = ["none", "day", "month"]


def contract(columns: Mapping[str, str], strategy: str, form: str = "delta", **overrides: Any) -> TableContract:
    return contract_of(strategy, form, columns={**EVERY_TYPE, **columns}, **overrides)


def with_value(table: pa.Table, name: str, value: Any) -> pa.Table:
    """Put a value into the first row of a column."""
    place, field = table.schema.get_field_index(name), table.schema.field(name)
    return table.set_column(place, field, pa.array([value, *table[name].to_pylist()[1:]], field.type))


def without_nulls(table: pa.Table, name: str) -> pa.Table:
    place, field = table.schema.get_field_index(name), table.schema.field(name)
    values = [7 if value is None else value for value in table[name].to_pylist()]
    return table.set_column(place, field, pa.array(values, field.type))


def widened(table: pa.Table, contract: TableContract) -> pa.Table:
    return table.cast(contract.arrow_schema)


@pytest.mark.parametrize(("name", "old_type", "new_type", "value"), WIDER)
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_column_that_must_hold_more_is_widened(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, name: str, old_type: str, new_type: str, value: Any
) -> None:
    old = Loader(local, contract({name: old_type}, strategy, form), tmp_path)
    first = without_nulls(old.rows(10), name) if not old_type.endswith("?") else old.rows(10)
    old.load(1, first)
    new = Loader(local, contract({name: new_type}, strategy, form), tmp_path)
    second, third = new.rows(10, first=100), new.rows(10, first=200)
    second = with_value(second, name, value)
    kept = [] if strategy == "overwrite" else [widened(first, new.contract)]
    assert new.load(2, second).inserted == 10
    new.require(second, *kept)
    assert load(local, new.plans[2]).replayed
    new.load(3, third)
    new.require(third, *([*kept, second] if kept else []))
    assert left_over(local, new.plans[3]) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_all_at_once_on_each_store(destination: S3Destination, tmp_path: Path, strategy: str, layout: str) -> None:
    """With a new column beside them; identity, marks, counts and partitions of the table stay."""
    before = {"status": "enum(draft, live, gone)?", "day": "date"}
    after = {
        "small": "int64?",
        "medium": "int64?",
        "ratio32": "float64?",
        "amount": "decimal(30,8)?",
        "status": "text?",
        "day": "date?",
        "note": "text?",
    }
    old = Loader(destination, contract(before, strategy, partition=layout), tmp_path)
    first = old.rows(40)
    old.load(1, first)
    new = Loader(destination, contract(after, strategy, partition=layout), tmp_path)
    plan = old.plans[1]
    lake = destination.delta(old.contract, plan.options)  # type: ignore[arg-type]
    table = lake.open()
    assert table is not None
    identity, partitions = table.metadata().id, table.metadata().partition_columns
    update = new.rows(20, first=30 if strategy == "upsert" else 40, version=1)
    result = new.load(2, update)
    assert (result.inserted, result.updated) == ((10, 10) if strategy == "upsert" else (20, 0))
    kept = first.slice(0, 30) if strategy == "upsert" else first
    kept = kept.append_column(pa.field("note", pa.string()), pa.nulls(kept.num_rows, pa.string()))
    new.require(widened(kept.select(new.contract.column_names), new.contract), update)
    table = lake.open()
    assert table is not None
    assert (table.metadata().id, table.metadata().partition_columns) == (identity, partitions)
    assert new.load(3, update).rows == 20
    assert left_over(destination, new.plans[3]) == []


@pytest.mark.parametrize(("name", "old_type", "new_type", "value"), [case for case in WIDER if case[0] != "status"])
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_freeze_refuses(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, name: str, old_type: str, new_type: str, value: Any
) -> None:
    old = Loader(local, contract({name: old_type}, strategy, form), tmp_path)
    first = without_nulls(old.rows(10), name) if not old_type.endswith("?") else old.rows(10)
    old.load(1, first)
    new = Loader(local, contract({name: new_type}, strategy, form, schema_policy="freeze"), tmp_path)
    with pytest.raises(
        Rejected, match="; schema_policy is freeze: change the contract back, set schema_policy: evolve"
    ):
        new.load(2, new.rows(10))
    old.require(first)


WIDE = {"medium": "int64?", "status": "text?"}


def big(loader: Loader, count: int, first: int) -> pa.Table:
    return with_value(loader.rows(count, first=first), "medium", 2**40 + first)


@pytest.mark.parametrize("fault", ["before_commit", "stage_open", "part_written", "commit_sent", "cleanup"])
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_a_kill_in_between_is_repaired(local: S3Destination, tmp_path: Path, strategy: str, fault: str) -> None:
    """The first `before_commit` is the widening's own: its files are there and nothing refers to them."""
    old = Loader(local, contract({}, strategy), tmp_path)
    old.load(1, old.rows(30))
    new = Loader(local, contract(WIDE, strategy), tmp_path)
    rows = big(new, 30, 100)
    plan = new.plan(2, rows)
    assert exit_code(start(local.config, plan, fault=f"{fault}:kill")) == -signal.SIGKILL
    if fault == "before_commit":
        assert any("-widened-" in name for name in left_over(local, plan))
    load(local, plan)
    new.require(widened(old.rows(30), new.contract), rows)
    assert left_over(local, plan) == []


def test_an_error_in_the_midst_of_the_rewriting(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Loader(local, contract({}, "append"), tmp_path)
    old.load(1, old.rows(30))
    new = Loader(local, contract(WIDE, "append"), tmp_path)
    rows = big(new, 30, 100)
    monkeypatch.setenv("OWNLENS_FAULT", "before_commit:raise")
    for _ in range(2):
        with pytest.raises(Retryable):
            new.load(2, rows)
        old.require(old.rows(30))
    monkeypatch.delenv("OWNLENS_FAULT")
    new.load(2, rows)
    new.require(widened(old.rows(30), new.contract), rows)
    assert left_over(local, new.plans[2]) == []


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_loads_at_once(local: S3Destination, tmp_path: Path, strategy: str) -> None:
    """All of them find the old table; one widens it, and all land."""
    old = Loader(local, contract({}, strategy), tmp_path)
    old.load(1, old.rows(30))
    new = Loader(local, contract(WIDE, strategy), tmp_path)
    tables = {sequence: big(new, 10, 100 * sequence) for sequence in range(2, 6)}
    plans = [new.plan(sequence, table) for sequence, table in tables.items()]
    barrier = threading.Barrier(4)

    def run(plan: Any) -> None:
        barrier.wait()
        while True:
            try:
                return void(load(local, plan))
            except Retryable:
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, plans))
    new.require(widened(old.rows(30), new.contract), *tables.values())
    for plan in plans:
        assert load(local, plan).replayed
    assert left_over(local, plans[-1]) == []


def void(_: object) -> None:
    return None


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_a_load_of_the_old_contract_that_is_on_its_way(local: S3Destination, tmp_path: Path, strategy: str) -> None:
    """Its files hold the old type, so it must not commit to the new table; nor may it be lost."""
    old = Loader(local, contract({}, strategy), tmp_path)
    old.load(1, old.rows(30))
    late = old.plan(2, old.rows(10, first=50))
    session = local.open(late)
    receipts = [session.writer.write(part) for part in late.parts]
    new = Loader(local, contract(WIDE, strategy), tmp_path)
    rows = big(new, 30, 100)
    new.load(3, rows)
    with pytest.raises(Retryable, match="samples: columns in s3 were changed during the load; run it again"):
        session.commit(receipts)
    session.abort()
    with pytest.raises(Rejected, match="holds 'medium' as int64 and the contract says int32; holds 'status'"):
        local.open(late)
    again = Loader(local, new.contract, tmp_path)
    more = again.rows(10, first=50)
    load(local, again.plan(2, more, tag="again"))
    new.require(widened(old.rows(30), new.contract), rows, more)


def test_a_load_that_lands_during_the_rewriting_is_not_lost(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Loader(local, contract({}, "append"), tmp_path)
    old.load(1, old.rows(30))
    rival = old.plan(2, old.rows(10, first=50))
    write, rounds = altering.rewritten, []

    def and_a_rival_commits(*arguments: Any) -> Any:
        files = write(*arguments)
        rounds.append(len(files))
        if len(rounds) == 1:
            load(local, rival)
        return files

    monkeypatch.setattr(altering, "rewritten", and_a_rival_commits)
    new = Loader(local, contract(WIDE, "append"), tmp_path)
    rows = big(new, 30, 100)
    new.load(3, rows)
    assert len(rounds) == 2
    new.require(widened(old.rows(30), new.contract), widened(old.rows(10, first=50), new.contract), rows)
    assert left_over(local, new.plans[3]) == []


def test_an_empty_table(local: S3Destination, tmp_path: Path) -> None:
    old = Loader(local, contract({}, "append"), tmp_path)
    old.load(1, old.rows(0))
    new = Loader(local, contract({**WIDE, "day": "date?"}, "append"), tmp_path)
    rows = big(new, 10, 0)
    new.load(2, rows)
    new.require(rows)


def test_a_column_that_had_nulls_keeps_them(local: S3Destination, tmp_path: Path) -> None:
    """The contract no longer lets `title` be null; the rows of before, which are written anew, are."""
    old = Loader(local, contract({}, "append"), tmp_path)
    first = with_value(with_value(old.rows(10), "title", None), "medium", None)
    old.load(1, first)
    new = Loader(local, contract({"medium": "int64", "title": "text"}, "append"), tmp_path)
    plan = new.plan(2, new.rows(0))
    load(local, plan)
    lake = local.delta(new.contract, plan.options)  # type: ignore[arg-type]
    table = lake.open()
    assert table is not None
    shown = pa.table(QueryBuilder().register("lake", table).execute("SELECT id, title, medium FROM lake").read_all())
    assert sorted(shown.to_pylist(), key=repr) == sorted(first.select(["id", "title", "medium"]).to_pylist(), key=repr)


def test_another_programs_columns_are_not_widened(local: S3Destination, tmp_path: Path) -> None:
    columns = {"id": "int64", "created_at": "timestamptz", "count": "int64?"}
    loader = Loader(local, contract_of("append", partition="none", columns=columns), tmp_path)
    moment = pa.array([0], pa.timestamp("us", "UTC"))
    theirs = pa.table({"id": [1], "created_at": moment, "count": pa.array([1], pa.int32())})
    write_deltalake(local.folder(loader.contract).uri, theirs)
    rows = pa.Table.from_pylist([{"id": 2, "created_at": 0, "count": 2}], schema=loader.contract.arrow_schema)
    with pytest.raises(Rejected, match="holds 'count' as int32 and the contract says int64: change the contract back"):
        loader.load(1, rows)


def test_the_next_overwrite_by_another_program_is_still_noticed(local: S3Destination, tmp_path: Path) -> None:
    old = Loader(local, contract({}, "append"), tmp_path)
    old.load(1, old.rows(10))
    new = Loader(local, contract(WIDE, "append"), tmp_path)
    local.open(new.plan(2, big(new, 10, 100))).abort()  # widened, and not loaded
    lake = local.delta(new.contract, new.plans[2].options)  # type: ignore[arg-type]
    table = lake.open()
    assert table is not None
    old.plans.clear()
    assert local.find_commit(Loader(local, new.contract, tmp_path).plan(1, old.rows(10))) is not None
    table.restore(0)
    with pytest.raises(Rejected, match="took the table in s3 back behind its loads"):
        load(local, new.plans[2])


def test_sweeps_and_whole_sets_find_the_old_rows(local: S3Destination, tmp_path: Path) -> None:
    old = Loader(local, contract({"id": "int32"}, "upsert"), tmp_path)
    old.load(1, old.rows(20))
    new = Loader(local, contract({"id": "int64", **WIDE}, "upsert"), tmp_path)
    result = new.load(2, new.rows(20))
    assert (result.inserted, result.unchanged) == (0, 20)
    assert canonical_rows(new.landed()) == canonical_rows(new.rows(20))
