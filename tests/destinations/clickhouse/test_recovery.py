"""A load that is cut short anywhere, and then run again, gives each row once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse import applying, sql
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable, StagedSetChanged
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, STRATEGIES, Loads, day_rows, narrow

POINTS = ["stage_open", "part_written", "before_commit", "commit_sent", "after_commit", "before_ledger", "cleanup"]


def _contract(strategy: Strategy) -> TableContract:
    if strategy is Strategy.APPEND:  # several partitions: being cut short between two of them is the hard case
        return narrow(strategy, options={"strategy": "append", "partition": "day"})
    return narrow(strategy)


def _second(loads: Loads, contract: TableContract, **options: Any) -> LoadPlan:
    return loads.plan(contract, sample_rows(60, first=20, version=1), sequence=2, **options)


def _expected(loads: Loads, contract: TableContract, strategy: Strategy) -> list[str]:
    second = sample_rows(60, first=20, version=1)
    kept = {Strategy.APPEND: sample_rows(40), Strategy.UPSERT: sample_rows(20)}.get(strategy, [])
    return loads.staged(contract, kept, second)


def _check_settled(loads: Loads, contract: TableContract, strategy: Strategy, plan: LoadPlan) -> None:
    expected = _expected(loads, contract, strategy)
    assert loads.landed(contract) == expected
    assert [entry[1] for entry in loads.ledger()] == [1, 2]
    assert loads.internal_tables() == []
    assert loads.again(plan).replayed
    assert loads.landed(contract) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("point", "store"),
    [
        *((point, "alone") for point in POINTS),
        *((point, "shared") for point in POINTS[3:]),
    ],
)
def test_a_failure_at_any_point_is_repaired_by_the_next_run(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, request: Any, strategy: Strategy, point: str, store: str
) -> None:
    if store == "shared":
        request.getfixturevalue("shared")
    contract = _contract(strategy)
    loads.load(contract, sample_rows(40))
    plan = _second(loads, contract)
    before = loads.landed(contract)

    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", f"{point}:raise")
        if point == "cleanup":  # the ledger has it already
            assert loads.again(plan).replayed
        else:
            with pytest.raises((OSError, OwnLensError)):
                loads.again(plan)
    if point in POINTS[:3]:
        assert loads.landed(contract) == before

    result = loads.again(plan)

    assert (result.rows, result.inserted) == (60, 40 if strategy is Strategy.UPSERT else 60)
    _check_settled(loads, contract, strategy, plan)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("point", ["commit_sent", "after_commit", "before_ledger"])
def test_a_newer_load_first_finishes_what_was_begun(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, point: str
) -> None:
    """Half a load must not stay when nobody ever runs it again."""
    contract = _contract(strategy)
    loads.load(contract, sample_rows(40))
    begun = _second(loads, contract)
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", f"{point}:raise")
        with pytest.raises((OSError, OwnLensError)):
            loads.again(begun)

    loads.load(contract, day_rows(5, day=9, first=500), sequence=3)

    kept = [] if strategy is Strategy.OVERWRITE else _expected(loads, contract, strategy)
    assert loads.landed(contract) == sorted([*kept, *loads.staged(contract, day_rows(5, day=9, first=500))])
    assert [entry[1] for entry in loads.ledger()] == [1, 2, 3]
    assert loads.again(begun).rows == 60
    assert loads.internal_tables() == []


@pytest.mark.parametrize("landed", [0.0, 0.5, 1.0])
def test_a_partition_that_landed_in_part_is_repaired(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, landed: float
) -> None:
    """ClickHouse attaches the parts of a partition one by one."""
    contract = narrow(Strategy.APPEND)
    loads.load(contract, sample_rows(40))
    plan = _second(loads, contract)
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", "before_ledger:raise")
        with pytest.raises(Retryable):
            loads.again(plan)
    table = loads.store.name("samples")
    loads.run(f"DELETE FROM {table} WHERE _ownlens_load = 2 AND id >= {20 + 60 * landed}")

    loads.again(plan)

    _check_settled(loads, contract, Strategy.APPEND, plan)


def test_a_begun_load_survives_a_change_of_the_table(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its staged rows lack the column that the table has gained since."""
    old = narrow(Strategy.APPEND)
    plan = loads.plan(old, sample_rows(10, days=1))
    with monkeypatch.context() as patch:
        patch.setattr(applying, "apply", _stop)
        with pytest.raises(Retryable):
            loads.again(plan)
    loads.run(f"ALTER TABLE {loads.store.name('samples')} ADD COLUMN note Nullable(String)")
    new = narrow(Strategy.APPEND, columns={**NARROW, "note": "text?"})

    loads.load(new, [], sequence=2)

    assert loads.landed(new) == loads.staged(new, sample_rows(10, days=1))


def _stop(*_: Any) -> None:
    raise ConnectionError("the answer is lost")


def test_a_begun_load_goes_with_the_table_that_somebody_dropped(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finishing it into the table that is made next would say that the loads before it are in there, too."""
    for strategy in STRATEGIES:
        contract = narrow(strategy, table=f"samples_{strategy.value}")
        first = loads.plan(contract, day_rows(10, day=1))
        loads.again(first)
        second = loads.plan(contract, day_rows(10, day=2, first=50), sequence=2)
        with monkeypatch.context() as patch:
            patch.setattr(applying, "apply", _stop)
            with pytest.raises(Retryable):
                loads.again(second)
        loads.run(f"DROP TABLE {loads.store.name(contract.table)} SYNC")
        assert not loads.again(first).replayed
        assert not loads.again(second).replayed
        kept = [] if strategy is Strategy.OVERWRITE else day_rows(10, day=1)
        assert loads.landed(contract) == loads.staged(contract, kept, day_rows(10, day=2, first=50))
        assert loads.internal_tables() == []


def test_an_exchange_is_never_done_twice(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second EXCHANGE TABLES would bring the old rows back."""
    contract = narrow(Strategy.OVERWRITE)
    loads.load(contract, sample_rows(10))
    plan = loads.plan(contract, sample_rows(5, version=1), sequence=2)
    for point in ("commit_sent", "after_commit", "before_ledger"):
        with monkeypatch.context() as patch:
            patch.setenv("OWNLENS_FAULT", f"{point}:raise")
            with pytest.raises((OSError, OwnLensError)):
                loads.again(plan)
    loads.again(plan)
    assert loads.landed(contract) == loads.staged(contract, sample_rows(5, version=1))


def test_a_begun_load_is_not_replaced_by_other_bytes(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = narrow(Strategy.APPEND)
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", "commit_sent:raise")
        with pytest.raises((OSError, OwnLensError)):
            loads.load(contract, sample_rows(5))
    with pytest.raises(StagedSetChanged):
        loads.load(contract, sample_rows(6), tag="-changed")
    assert loads.landed(contract) == loads.staged(contract, sample_rows(5))


def test_a_failed_write_leaves_nothing(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=2)
    Path(plan.parts[1].uri).write_bytes(b"PAR1 this is not Parquet PAR1")

    with pytest.raises(
        Rejected, match=r"^samples: staged part 00001 is missing or damaged; load it with --full-refresh"
    ):
        loads.again(plan)

    assert loads.landed(contract) == []
    assert loads.internal_tables() == []


def test_lost_staged_rows_are_noticed_before_anything_is_visible(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(10), parts=1)
    with loads.destination.open(plan) as session:
        receipt = session.writer.write(plan.parts[0])
        loads.run(f"DELETE FROM {loads.store.name(str(receipt.payload['table']))} WHERE id = 3")
        with pytest.raises(Retryable, match="has 9 of 10 staged rows"):
            session.commit([receipt])
        session.abort()
    assert loads.landed(contract) == []
    assert loads.internal_tables() == []


def test_rows_that_do_not_arrive_are_noticed(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting after the commit is what stands between a load and a store that acknowledges too early."""
    for strategy in STRATEGIES:
        contract = narrow(strategy, table=f"samples_{strategy.value}")
        plan = loads.plan(contract, sample_rows(10))
        with monkeypatch.context() as patch:
            for name in ("attach", "replace", "exchange"):
                patch.setattr(sql, name, lambda *_: "SELECT 1")
            with pytest.raises(Retryable):
                loads.again(plan)
        assert loads.ledger()[len(loads.ledger()) :] == []
        assert loads.destination.find_commit(plan) is None
        assert loads.again(plan).rows == 10
        assert loads.landed(contract) == loads.staged(contract, sample_rows(10))


def test_one_failed_table_leaves_others_alone(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (narrow(Strategy.APPEND, table=name) for name in ("one", "two"))
    with monkeypatch.context() as patch:
        patch.setenv("OWNLENS_FAULT", "before_ledger:raise")
        with pytest.raises(Retryable):
            loads.load(one, sample_rows(5))
    loads.load(two, sample_rows(5))
    assert [entry[0] for entry in loads.ledger()] == ["two"]
    assert loads.internal_tables() != []
