"""Tables that somebody adds to: indexes, projections, constraints, views, settings, TTL. Loads keep them, and fit."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ownlens_clickhouse import applying
from ownlens_plugins import faults
from ownlens_plugins.api import Covers, LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, NARROW, STRATEGIES, Loads, day_rows, narrow

STORES = EVERYWHERE
# What an owner says about the table, by what ATTACH and REPLACE compare.
ADDITIONS = {
    "index": "ADD INDEX by_title title TYPE bloom_filter GRANULARITY 2",
    "text index": "ADD INDEX words lower(ifNull(title, '')) TYPE tokenbf_v1(512, 3, 0)",
    "projection": "ADD PROJECTION by_day (SELECT day, count() GROUP BY day)",
    "constraint": "ADD CONSTRAINT positive CHECK id >= 0",
    "computed": "ADD COLUMN twice Int64 MATERIALIZED id * 2",
    "alias": "ADD COLUMN size UInt64 ALIAS length(title)",
    "default": "ADD COLUMN origin String DEFAULT 'nowhere, (yet)'",
    "default of a contract's column": "MODIFY COLUMN title DEFAULT 'none'",
    "codec": "MODIFY COLUMN title CODEC(ZSTD(7))",
    "comment of a column": "COMMENT COLUMN title 'the owner''s, `own` (words'",
    "comment": "MODIFY COMMENT 'the owner''s table'",
    "no load index": "DROP INDEX _ownlens_load_index",
    "setting": "MODIFY SETTING min_bytes_for_wide_part = 0, merge_with_ttl_timeout = 77",
    "a longer order": "ADD COLUMN `more of it` UInt8, MODIFY ORDER BY (id, `more of it`)",
}
_SEEN = {
    "comment": "the owner",
    "comment of a column": "COMMENT 'the owner\\'s, `own` (words'",
    "default": "`origin` String DEFAULT 'nowhere, (yet)'",
    "default of a contract's column": "DEFAULT 'none'",
    "codec": "ZSTD(7)",
    "setting": "merge_with_ttl_timeout = 77",
    "constraint": "CONSTRAINT positive CHECK id >= 0",
    "projection": "PROJECTION by_day",
    "index": "INDEX by_title title TYPE bloom_filter GRANULARITY 2",
}
FITS_NO_CONTRACT = "a longer order"


def _alter(loads: Loads, what: str) -> None:
    loads.run(f"ALTER TABLE {loads.store.name('samples')} {what}")


def _add(loads: Loads, name: str) -> None:
    if name == "projection" and "Replacing" in loads.ddl("samples"):
        _alter(loads, "MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild'")
    loads.run(f"ALTER TABLE {loads.store.name('samples')} {ADDITIONS[name]}")


def _ddl(loads: Loads) -> str:
    ddl = re.sub(r"(?<=`_ownlens_load` UInt64 MATERIALIZED )\d+", "0", loads.ddl("samples"))
    return re.sub(r"(?: COMMENT '|\\n)ownlens load .*", "", ddl)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", [name for name in ADDITIONS if name != FITS_NO_CONTRACT])
def test_what_an_owner_added_stays_and_loads_go_on(loads: Loads, interface: str, strategy: Strategy, name: str) -> None:
    if interface == "http" and strategy is not Strategy.UPSERT:
        pytest.skip("the same statements")
    contract = narrow(strategy)
    loads.load(contract, day_rows(4, day=1))
    _add(loads, name)
    before = _ddl(loads)
    loads.load(contract, day_rows(4, day=2, first=10), sequence=2)
    if name != "no load index":  # a table that is made anew has it
        assert _ddl(loads).rstrip("'") == before.rstrip("'")
    old = [] if strategy is Strategy.OVERWRITE else day_rows(4, day=1)
    assert loads.landed(contract) == loads.staged(contract, old, day_rows(4, day=2, first=10))
    rows = day_rows(4, day=3)
    loads.again(_refresh(loads, contract, rows, 3))
    assert _SEEN.get(name, "") in loads.ddl("samples")
    assert loads.landed(contract) == loads.staged(contract, rows)
    loads.load(contract, day_rows(2, day=4, first=20), sequence=4)
    assert loads.internal_tables() == []


def _refresh(loads: Loads, contract: TableContract, rows: list[dict[str, Any]], sequence: int) -> LoadPlan:
    return replace(loads.plan(contract, rows, sequence=sequence, strategy=Strategy.OVERWRITE), full_refresh=True)


def test_an_owners_default_never_takes_the_place_of_a_null(loads: Loads) -> None:
    """Also of one that is not in the staged set, which is older than the column."""
    contract = narrow(Strategy.APPEND)
    older = narrow(Strategy.APPEND, columns={name: kind for name, kind in NARROW.items() if name != "title"})
    loads.load(contract, [])
    _add(loads, "default of a contract's column")
    loads.load(contract, [{**row, "title": None} for row in sample_rows(1)], sequence=2)
    plan = loads.plan(older, sample_rows(1), sequence=3)
    loads.again(replace(plan, contract=contract))
    assert loads.sql(f"SELECT countIf(title IS NULL), count() FROM {loads.store.name('samples')}") == [(2, 2)]


def test_an_index_and_a_projection_are_there_for_attached_rows(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, [])
    _add(loads, "index")
    _add(loads, "projection")
    loads.load(contract, day_rows(40, day=2), sequence=2)
    query = "SELECT sum(rows) FROM system.projection_parts WHERE database = {d:String} AND active"
    assert loads.sql(query, d=loads.config.database)[0][0] > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_that_break_a_constraint_are_refused_before_any_is_visible(loads: Loads, strategy: Strategy) -> None:
    contract = narrow(strategy)
    loads.load(contract, day_rows(3, day=1))
    _alter(loads, "ADD CONSTRAINT `no canary` CHECK position(ifNull(title, ''), 'canary') = 0")
    bad = [{**row, "title": "canary 42"} for row in day_rows(2, day=2, first=10)]
    fix = r"break the table's constraint `no canary`; correct the rows at the source, or run (ALTER TABLE .*)$"
    with pytest.raises(Rejected, match=f"^samples: clickhouse: rows {fix}") as caught:
        loads.load(contract, bad, sequence=2)
    assert "42" not in str(caught.value)
    assert loads.landed(contract) == loads.staged(contract, day_rows(3, day=1))
    loads.run(str(caught.value).rpartition("or run ")[2])
    loads.load(contract, bad, sequence=2)
    assert loads.internal_tables() == []


def test_rows_that_are_older_than_a_constraint_stay_when_their_partition_is_staged_anew(loads: Loads) -> None:
    contract = narrow(Strategy.UPSERT)
    loads.load(contract, day_rows(5, day=1))
    _alter(loads, "ADD CONSTRAINT late CHECK id >= 3")
    keys = loads.plan(contract, day_rows(2, day=1), sequence=2, covers=Covers(keys_only=True))
    assert loads.again(keys).deleted == 3
    assert loads.landed(contract) == loads.staged(contract, day_rows(2, day=1))


def test_views_that_see_no_loads_are_told_once(loads: Loads, caplog: pytest.LogCaptureFixture) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, day_rows(2, day=1))
    view = loads.store.name("counted")
    loads.run(f"CREATE MATERIALIZED VIEW {view} ENGINE = MergeTree ORDER BY id AS SELECT id FROM {_table(loads)}")
    loads.forget()
    with caplog.at_level(logging.WARNING):
        loads.load(contract, day_rows(2, day=1), sequence=2)
        loads.load(contract, day_rows(2, day=1), sequence=3)
    told = [record.getMessage() for record in caplog.records if "counted" in record.getMessage()]
    assert len(told) == 1
    assert "materialized views see inserts, and partitions are attached" in told[0]


def _table(loads: Loads) -> str:
    return loads.store.name("samples")


def _aged(count: int, days: int, *, first: int = 0) -> list[dict[str, Any]]:
    moment = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days)
    rows = day_rows(count, day=1, first=first)
    return [{**row, "day": moment.date(), "created_at": moment} for row in rows]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("owner", [False, True])
def test_rows_go_by_themselves_when_their_time_is_over(loads: Loads, strategy: Strategy, owner: bool) -> None:
    """Merges with a TTL never look at parts that were written without one."""
    options = dict(narrow(strategy).options_for("clickhouse"))
    contract = narrow(strategy, partition_by="day", options={**options, **({} if owner else {"ttl_days": 30})})
    loads.load(contract, [])
    _alter(loads, "MODIFY SETTING merge_with_ttl_timeout = 0")
    if owner:
        _alter(loads, "MODIFY TTL day + INTERVAL 30 DAY, day + INTERVAL 90 DAY DELETE WHERE title != '(, '")
    rows = [*_aged(2, 0), *_aged(2, 31, first=10), *_aged(3, 50, first=20)]
    assert loads.load(contract, rows, sequence=2).rows == 7
    deadline = time.monotonic() + 60
    while len(loads.landed(contract)) > 2 and time.monotonic() < deadline:
        time.sleep(0.3)
    assert loads.landed(contract) == loads.staged(contract, _aged(2, 0))
    more = [*_aged(2, 0, first=30), *_aged(2, 40, first=40)]
    assert loads.load(contract, more, sequence=3).rows == 4


# What somebody does to the table between the redo record and the rows.
CHANGES_IN_BETWEEN = {name: [what] for name, what in ADDITIONS.items() if name not in {"comment", FITS_NO_CONTRACT}}
CHANGES_IN_BETWEEN["dropped"] = ["DROP COLUMN title"]
CHANGES_IN_BETWEEN["narrower"] = ["MODIFY COLUMN title Nullable(UInt8)"]
LOSING = {"dropped", "narrower"}


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each is not Strategy.OVERWRITE])
@pytest.mark.parametrize("name", CHANGES_IN_BETWEEN)
def test_a_table_that_changes_after_the_redo_record(
    loads: Loads, interface: str, monkeypatch: pytest.MonkeyPatch, strategy: Strategy, name: str
) -> None:
    if interface == "http" and name not in {"index", "dropped"}:
        pytest.skip("the same statements")
    contract = narrow(strategy)
    loads.load(contract, [])
    if name == "projection":
        _alter(loads, "MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild'")
    rows = [*day_rows(3, day=1), *day_rows(3, day=28, first=10)]
    _once_applied(monkeypatch, lambda: [_alter(loads, what) for what in CHANGES_IN_BETWEEN[name]])
    plan = loads.plan(contract, rows, sequence=2)
    if name not in LOSING:
        result = loads.again(plan)
        assert (result.rows, result.inserted) == (6, 6)
        assert loads.landed(contract) == loads.staged(contract, rows)
        assert loads.internal_tables() == []
        return
    with pytest.raises(Retryable):
        loads.again(plan)
    for _ in range(2):
        with pytest.raises(Rejected, match=r"changed while load samples/00000002 was .*'title' .*--full-refresh"):
            loads.again(plan)
    loads.again(_refresh(loads, contract, rows, 3))
    assert loads.landed(contract) == loads.staged(contract, rows)
    assert loads.again(plan).rows == 0
    assert loads.internal_tables() == []


def _once_applied(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    apply, done = applying.apply, []

    def applied(*arguments: Any) -> Any:
        if not done:
            done.append(action())
        return apply(*arguments)

    monkeypatch.setattr(applying, "apply", applied)


def test_a_wedged_load_whose_full_refresh_dies_is_still_replaced(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, day_rows(2, day=1))
    with monkeypatch.context() as patch:
        _once_applied(patch, lambda: _alter(loads, "DROP COLUMN title"))
        with pytest.raises(Retryable):
            loads.load(contract, day_rows(3, day=2, first=10), sequence=2)
    refresh = _refresh(loads, contract, day_rows(4, day=3), 3)
    for point in ("part_written", "before_commit", "commit_sent", "before_ledger"):
        with monkeypatch.context() as patch:
            patch.setattr(faults, "reach", _dying(point))
            with pytest.raises((CommitUnknown, OwnLensError, RuntimeError)):
                loads.again(refresh)
    loads.again(refresh)
    assert loads.landed(contract) == loads.staged(contract, day_rows(4, day=3))
    assert loads.internal_tables() == []


def _dying(point: str) -> Any:
    def reach(here: str) -> None:
        if here == point:
            raise RuntimeError(point)

    return reach


def test_a_longer_order_needs_a_full_refresh(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, sample_rows(3))
    _add(loads, FITS_NO_CONTRACT)
    with pytest.raises(Rejected, match=r"is ordered by id, `more of it`, not `?id`?; load it with --full-refresh"):
        loads.load(contract, sample_rows(3), sequence=2)
    loads.again(_refresh(loads, contract, sample_rows(3), 3))


# Extras that do not fit the contract's new columns: the full refresh gets through without them, and says so.
@pytest.mark.parametrize("name", ["index", "text index", "projection of it", "constraint of it", "ttl of it"])
def test_a_full_refresh_gets_through_without_what_does_not_fit(
    loads: Loads, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = narrow(Strategy.APPEND)
    loads.load(before, sample_rows(3))
    others = {
        "projection of it": "ADD PROJECTION of_it (SELECT title, id ORDER BY title)",
        "constraint of it": "ADD CONSTRAINT of_it CHECK length(title) < 1000",
        "ttl of it": "MODIFY TTL day + toIntervalDay(40000) DELETE WHERE startsWith(title, 'x')",
    }
    _alter(loads, {**ADDITIONS, **others}[name])
    after = narrow(Strategy.APPEND, columns={**NARROW, "title": "array<int32>"})
    rows = [{**row, "title": [1]} for row in sample_rows(2)]
    with caplog.at_level(logging.WARNING):
        loads.again(_refresh(loads, after, rows, 2))
    assert loads.landed(after) == loads.staged(after, rows)
    loads.load(after, rows, sequence=3)
    ddl = loads.ddl("samples")
    stays = any(sign in ddl for sign in ("by_title", "words", "of_it", "startsWith"))
    assert ("goes without" in caplog.text) == (not stays)
