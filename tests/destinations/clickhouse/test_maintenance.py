"""Maintenance: old rows leave for good, parts are merged, the ledger keeps a floor; loads and kills come between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseOptions
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.powers import SupportsMaintenance, Upkeep

from .loads import STRATEGIES, Loads, narrow

TODAY = datetime.now(UTC).date()


def contract(strategy: Strategy = Strategy.APPEND, days: int | None = 10, **options: Any) -> TableContract:
    given = {**narrow(strategy).options_for("clickhouse"), **options}
    return narrow(strategy, options=given, partition_by="day", retention_days=days)


def row(id_: int, age: int, version: int = 0) -> dict[str, Any]:
    """Return a row that is so many days old; 9 is the last age that ten days keep."""
    stamp = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=version)
    return {"id": id_, "day": TODAY - timedelta(days=age), "title": "x", "created_at": stamp, "updated_at": stamp}


def maintain(
    loads: Loads, mine: TableContract, *, settled: int = 0, today: date = TODAY, dry_run: bool = False
) -> dict[str, int]:
    """Maintain a table, and return what was done by chore: files of a compaction and of leftovers, else rows."""
    options = ClickHouseOptions.model_validate(mine.options_for("clickhouse"))
    done = loads.destination.maintain(Upkeep(mine, options, settled, today, dry_run))
    return {each.name: each.files if each.name in {"compaction", "leftovers"} else each.rows for each in done}


def ids(loads: Loads, mine: TableContract) -> list[int]:
    return sorted(loads.table(mine)["id"].to_pylist())


def parts(loads: Loads, what: str) -> int:
    """Ask about the table's active parts."""
    query = f"SELECT {what} FROM system.parts WHERE active AND table = 'samples' AND database = {{database:String}}"
    return int(loads.sql(query, database=loads.config.database)[0][0])


def without_merges(loads: Loads, mine: TableContract) -> None:
    """Leave parts as they come, and rows until maintenance: the engine's own merges would come at any moment."""
    loads.load(mine, [])
    loads.run(f"SYSTEM STOP MERGES {loads.store.name(mine.table)}")


@pytest.mark.parametrize("partition", ["none", "day", "month"])
@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE])
def test_old_rows_leave_for_good(loads: Loads, strategy: Strategy, partition: str) -> None:
    mine = contract(strategy, partition=partition)
    # A clock that is ahead: what this day's retention removes, the TTL would not for another month.
    later = TODAY + timedelta(days=30)
    loads.load(mine, [row(1, -20), row(2, -21), row(3, 9), row(4, -30), row(5, 0)])
    assert isinstance(loads.destination, SupportsMaintenance)
    assert maintain(loads, mine, today=later, dry_run=True) == {"retention": 3}
    assert ids(loads, mine) == [1, 2, 3, 4, 5]
    assert maintain(loads, mine, today=later)["retention"] == 3
    assert ids(loads, mine) == [2, 4]
    assert parts(loads, "sum(rows)") == 2
    assert maintain(loads, mine, today=later) == {}


def test_the_oldest_day_that_stays(loads: Loads) -> None:
    mine = contract()
    without_merges(loads, mine)
    loads.load(mine, [row(1, 10), row(2, 9), row(3, 0), row(4, 800)], sequence=2)
    loads.run(f"SYSTEM START MERGES {loads.store.name('samples')}")
    maintain(loads, mine)
    assert ids(loads, mine) == [2, 3]


def test_a_late_row_is_loaded_and_goes_with_the_next_maintenance(loads: Loads) -> None:
    mine = contract()
    loads.load(mine, [row(1, 1)])
    assert loads.load(mine, [row(2, 40)], sequence=2).inserted == 1
    maintain(loads, mine)
    assert ids(loads, mine) == [1]


def test_a_table_from_before_the_retention_is_emptied_and_is_not_taken_for_a_lost_one(loads: Loads) -> None:
    before = contract(days=None)
    plan = loads.plan(before, [row(1, 40), row(2, 50)])
    loads.again(plan)
    mine = contract()
    assert maintain(loads, mine) == {"retention": 2}
    loads.forget()
    assert loads.again(plan).replayed
    assert ids(loads, mine) == []


def test_a_row_that_a_newer_version_made_old_does_not_come_back_as_it_was(loads: Loads) -> None:
    mine = contract(Strategy.UPSERT)
    loads.load(mine, [row(1, 1), row(2, 1)])
    loads.load(mine, [row(1, 40, version=1)], sequence=2)
    maintain(loads, mine)
    assert ids(loads, mine) == [2]


@pytest.mark.parametrize(
    ("block", "general", "kept"), [(5, None, 5), (None, 7, 7), (5, 7, 5)], ids=["ttl_days", "retention_days", "both"]
)
def test_the_older_word_means_the_same_and_the_block_counts_more(
    loads: Loads, block: int | None, general: int | None, kept: int
) -> None:
    mine = contract(days=general, **({"ttl_days": block} if block else {}))
    loads.load(mine, [row(1, 0)])
    assert f"toIntervalDay({kept})" in loads.ddl("samples")
    assert loads.destination.kept_since(loads.plan(mine, [])) == TODAY - timedelta(days=kept - 1)


def test_a_ttl_of_the_owner_is_not_replaced(loads: Loads) -> None:
    loads.load(contract(days=None), [row(1, 40)])
    loads.run(f"ALTER TABLE {loads.store.name('samples')} MODIFY TTL day + toIntervalDay(90) DELETE WHERE id = 7")
    with pytest.raises(Rejected, match="REMOVE TTL") as caught:
        maintain(loads, contract())
    assert ids(loads, contract()) == [1]
    loads.run(str(caught.value).rpartition(", or run ")[2])
    assert maintain(loads, contract()) == {"retention": 1}


def test_a_table_that_no_load_filled_is_left_alone(loads: Loads) -> None:
    mine = contract()
    assert maintain(loads, mine) == {}
    loads.load(narrow(Strategy.APPEND, table="other"), [])
    loads.run(f"CREATE TABLE {loads.store.name('samples')} (id Int64, day Date) ORDER BY id")
    loads.run(f"INSERT INTO {loads.store.name('samples')} VALUES (1, '1999-01-01')")
    assert maintain(loads, mine) == {}
    assert loads.sql(f"SELECT id FROM {loads.store.name('samples')}") == [(1,)]


def test_another_table_in_its_place_is_not_touched(loads: Loads) -> None:
    mine = contract(days=None)
    loads.load(mine, [row(1, 1), row(2, 1)])
    name = loads.store.name("samples")
    loads.run(f"DROP TABLE {name} SYNC")
    loads.run(f"CREATE TABLE {name} (id Int64, day Date) ORDER BY id")
    loads.run(f"INSERT INTO {name} VALUES (1, '1999-01-01')")
    with pytest.raises(Rejected, match="is not the one that was loaded"):
        maintain(loads, contract())
    assert loads.sql(f"SELECT id FROM {name}") == [(1,)]


# --- the ledger


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_ledger_forgets_what_is_settled_and_answers_for_it(loads: Loads, strategy: Strategy) -> None:
    mine = narrow(strategy)
    plans = [loads.plan(mine, [row(n, 1, version=n)], sequence=n, tag=str(n)) for n in range(1, 7)]
    for plan in plans:
        loads.again(plan)
    rows = loads.landed(mine)
    assert maintain(loads, mine, settled=4, dry_run=True)["ledger"] == 4
    assert maintain(loads, mine, settled=4)["ledger"] == 4
    assert [entry[1] for entry in loads.ledger()] == [4, 5, 6]
    assert "ledger" not in maintain(loads, mine, settled=4)
    loads.forget()
    for plan in plans:
        found = loads.destination.find_commit(plan)
        assert found is not None
        assert loads.again(plan).replayed
    assert maintain(loads, mine, settled=99)["ledger"] == 1
    assert [entry[1] for entry in loads.ledger()] == [5, 6]
    assert loads.destination.position(mine) == 6
    assert loads.landed(mine) == rows
    assert not loads.again(loads.plan(mine, [row(7, 1)], sequence=7, tag="7")).replayed


def test_a_pruned_ledger_still_counts_rows_and_knows_a_restored_table(loads: Loads) -> None:
    mine = narrow(Strategy.APPEND)
    for number in range(1, 7):
        loads.load(mine, [row(number, 1), row(-number, 1)], sequence=number, tag=str(number))
    for settled in (2, 4):
        maintain(loads, mine, settled=settled)
    name = loads.store.name("samples")
    loads.run(f"CREATE TABLE {name[:-1]}_copy` AS {name}")
    loads.run(f"INSERT INTO {name[:-1]}_copy` SELECT * FROM {name}")
    loads.run(f"EXCHANGE TABLES {name} AND {name[:-1]}_copy`")
    loads.forget()
    assert loads.load(mine, [row(7, 1)], sequence=7, tag="7").inserted == 1
    assert len(ids(loads, mine)) == 13


def test_a_dropped_table_begins_a_new_life_after_pruning(loads: Loads) -> None:
    mine = narrow(Strategy.APPEND)
    plans = [loads.plan(mine, [row(n, 1)], sequence=n, tag=str(n)) for n in range(1, 6)]
    for plan in plans:
        loads.again(plan)
    maintain(loads, mine, settled=3)
    loads.run(f"DROP TABLE {loads.store.name('samples')} SYNC")
    assert [loads.again(plan).inserted for plan in plans] == [1] * 5
    assert ids(loads, mine) == [1, 2, 3, 4, 5]
    assert maintain(loads, mine, settled=4)["ledger"] > 0
    assert loads.destination.position(mine) == 5


@pytest.mark.parametrize("point", ["before_ledger", "after_commit"])
def test_maintenance_that_dies_goes_on_where_it_stopped(
    loads: Loads, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = contract(partition="day")
    later = TODAY + timedelta(days=30)
    for number in range(1, 6):
        loads.load(mine, [row(number, 1), row(-number, -25)], sequence=number, tag=str(number))
    monkeypatch.setenv("OWNLENS_FAULT", f"{point}:raise")
    with pytest.raises(OSError, match=point):
        maintain(loads, mine, settled=3, today=later)
    monkeypatch.delenv("OWNLENS_FAULT")
    loads.forget()
    assert loads.load(mine, [row(6, -25)], sequence=6, tag="6").inserted == 1
    maintain(loads, mine, settled=3, today=later)
    assert ids(loads, mine) == [-5, -4, -3, -2, -1, 6]
    assert [entry[1] for entry in loads.ledger()] == [3, 4, 5, 6]
    for number in (1, 3):
        assert loads.load(mine, [row(number, 1)], sequence=number, tag=f"again{number}").replayed


# --- parts


def test_partitions_of_many_parts_are_merged(loads: Loads) -> None:
    mine = contract(days=None, partition="month")
    without_merges(loads, mine)
    for number in range(2, 12):
        loads.load(mine, [row(number, 0)], sequence=number, tag=str(number))
    loads.run(f"SYSTEM START MERGES {loads.store.name('samples')}")
    done = maintain(loads, mine)
    assert parts(loads, "count()") <= 5
    assert done.get("compaction", 0) in {0, *range(6, 12)}
    assert ids(loads, mine) == list(range(2, 12))
    assert maintain(loads, mine) == {}


# --- at the same time


@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT])
def test_loads_and_maintenance_at_the_same_time(loads: Loads, strategy: Strategy) -> None:
    mine = contract(strategy, partition="day")
    later = TODAY + timedelta(days=30)
    loads.load(mine, [row(0, -25)])
    stop, failed = threading.Event(), []

    def keep_maintaining() -> None:
        try:
            while not stop.is_set():
                maintain(loads, mine, settled=3, today=later)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_maintaining) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 16):
        rows = [row(number, -25), *(row(number * 100 + n, 2 + n) for n in range(3))]
        assert loads.load(mine, rows, sequence=number + 1, tag=str(number)).rows == 4
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed, failed
    maintain(loads, mine, today=later)
    assert ids(loads, mine) == list(range(16))


# --- nothing grows


def test_a_load_costs_the_same_after_many_others(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements of a load, parts and rows of the ledger at 10 and at 200 loads, with maintenance every 24."""
    statements: list[str] = []

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, text, /, **values: (statements.append(text), method(self, text, **values))[1]

    monkeypatch.setattr(Store, "run", counted(Store.run))
    monkeypatch.setattr(Store, "rows", counted(Store.rows))
    mine = narrow(Strategy.APPEND)
    figures: dict[int, Sequence[int]] = {}
    for number in range(1, 201):
        plan = loads.plan(mine, [row(number, 1)], sequence=number, tag=str(number), parts=1)
        statements.clear()
        loads.again(plan)
        figures[number] = len(statements), _ledger_rows(loads)
        if number % 24 == 0:
            maintain(loads, mine, settled=number - 1)
    assert figures[200][0] == figures[10][0]
    assert figures[200][1] <= 24 + 2
    assert parts(loads, "count()") < 20


def _ledger_rows(loads: Loads) -> int:
    return int(loads.sql(f"SELECT count() FROM {loads.store.name('_ownlens_ledger')}")[0][0])


def test_the_destination_can_be_asked_without_any_database(make_loads: Callable[..., Loads]) -> None:
    loads = make_loads()
    assert maintain(loads, contract()) == {}
    assert isinstance(loads.destination, ClickHouseDestination)
