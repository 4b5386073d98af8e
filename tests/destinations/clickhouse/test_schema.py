"""The tables that contracts become, how they grow, and the differences that are refused before data moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ownlens_clickhouse.config import ClickHouseOptions
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy, TableContract, read_contracts
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, STRATEGIES, Loads, contract_for

TABLES = Path(__file__).parents[3] / "table_configs"


def _narrow(**options: Any) -> TableContract:
    strategy = options.pop("strategy", Strategy.APPEND)
    return contract_for(strategy, columns={**NARROW, **options.pop("more", {})}, **options)


def _rows(contract: TableContract, count: int = 5, **values: Any) -> list[dict[str, Any]]:
    return [{name: {**row, **values}.get(name) for name in contract.column_names} for row in sample_rows(count)]


def test_storage_options_are_in_the_ddl(loads: Loads) -> None:
    contract = _narrow(
        more={"country": "int32", "kind": "enum(a, b)?"},
        options={
            "partition": "month",
            "order_by": ["day", "id"],
            "codec": {"title": "ZSTD(3)", "created_at": "Delta, ZSTD"},
            "ttl_days": 90,
            "low_cardinality": ["title", "country"],
        },
    )
    loads.load(contract, _rows(contract, country=1, kind="a"))

    ddl = loads.ddl("samples")
    assert "ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (day, id) TTL day + toIntervalDay(90)" in ddl
    assert "`title` LowCardinality(Nullable(String)) CODEC(ZSTD(3))" in ddl
    assert "`country` LowCardinality(Int32)" in ddl
    assert "`kind` LowCardinality(Nullable(String))" in ddl
    assert "`created_at` DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1))" in ddl


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_presets_make_the_tables_they_promise(loads: Loads, strategy: Strategy) -> None:
    loads.load(contract_for(strategy), sample_rows(3))
    storage = {
        Strategy.APPEND: "ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id",
        Strategy.UPSERT: "ENGINE = ReplacingMergeTree(updated_at) PARTITION BY toYYYYMM(day) ORDER BY id",
        Strategy.OVERWRITE: "ENGINE = MergeTree ORDER BY id",
        Strategy.REPLACE_PARTITION: "ENGINE = MergeTree PARTITION BY day ORDER BY id",
    }
    assert storage[strategy] in loads.ddl("samples")


def test_a_full_refresh_keeps_the_storage_options(loads: Loads) -> None:
    contract = contract_for(
        Strategy.UPSERT, options={**contract_for(Strategy.UPSERT).options_for("clickhouse"), "ttl_days": 40_000}
    )
    loads.load(contract, sample_rows(5))
    before = loads.ddl("samples")
    loads.load(contract, sample_rows(5), sequence=2, strategy=Strategy.OVERWRITE)
    after = loads.ddl("samples")
    assert after.partition(" COMMENT ")[0].replace("MATERIALIZED 2", "MATERIALIZED 0") == before


def test_every_contract_of_the_newsroom_becomes_a_table(loads: Loads) -> None:
    contracts = read_contracts(TABLES).values()
    assert len(contracts) == 79
    for contract in contracts:
        with loads.destination.open(loads.plan(contract, [])) as session:
            session.abort()
    assert len(loads.sql(f"SELECT name FROM system.tables WHERE database = '{loads.config.database}'")) == 80


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_new_nullable_column_is_added(loads: Loads, strategy: Strategy) -> None:
    old = _narrow(strategy=strategy)
    loads.load(old, _rows(old, 3))
    new = _narrow(strategy=strategy, more={"note": "text?", "tags": "array<text>?"})

    added = [{**row, "id": 100 + row["id"], "tags": ["x", None]} for row in _rows(new, 2, note="n")]
    added = [{**row, "day": row["day"].replace(day=20)} for row in added]
    loads.load(new, added, sequence=2)

    kept = [] if strategy is Strategy.OVERWRITE else _rows(new, 3, tags=None)
    assert loads.landed(new) == loads.staged(new, kept, added)


def test_a_table_that_must_not_change_is_frozen(loads: Loads) -> None:
    old = _narrow()
    loads.load(old, _rows(old))
    frozen = _narrow(more={"note": "text?"}, schema_policy="freeze")
    with pytest.raises(Rejected, match=r"^samples: clickhouse table \w+\.samples has no column 'note'; set schema_pol"):
        loads.load(frozen, _rows(frozen), sequence=2)
    assert loads.landed(old) == loads.staged(old, _rows(old))


CHANGES: list[tuple[str, Callable[[], TableContract], str]] = [
    (
        "a column that must have a value",
        lambda: _narrow(more={"n": "int32"}),
        r"has no column 'n', which may not be null; make 'n' nullable in the contract, or load it with --full-refresh",
    ),
    ("another type", lambda: _narrow(more={"title": "int64?"}), r"has column 'title' as Nullable\(String\), not Nulla"),
    (
        "a column that may not be null any more",
        lambda: _narrow(more={"title": "text"}),
        r"has column 'title' as Nullable\(String\)",
    ),
    ("another sorting key", lambda: _narrow(options={"order_by": ["day", "id"]}), r"is ordered by id, not .*refresh"),
    ("another partition", lambda: _narrow(options={"partition": "day"}), r"is partitioned by toYYYYMM\(day\), not"),
    ("another engine", lambda: _narrow(strategy=Strategy.UPSERT), r"has engine MergeTree, not ReplacingMergeTree;"),
]


@pytest.mark.parametrize(("change", "message"), [change[1:] for change in CHANGES], ids=[c[0] for c in CHANGES])
def test_other_changes_are_refused_before_data_moves(
    loads: Loads, change: Callable[[], TableContract], message: str
) -> None:
    old = _narrow()
    loads.load(old, _rows(old))
    new = change()

    with pytest.raises(Rejected, match=rf"^samples: clickhouse table \w+\.samples {message}") as caught:
        loads.load(new, _rows(new, n=1, title=5 if "int64" in str(new.column("title")) else "x"), sequence=2)

    assert "\n" not in str(caught.value)
    assert loads.landed(old) == loads.staged(old, _rows(old))
    assert loads.internal_tables() == []


def test_a_column_that_the_contract_lost_is_refused_where_the_table_is_frozen(loads: Loads) -> None:
    wide = _narrow(more={"note": "text?"})
    loads.load(wide, _rows(wide))
    narrow = _narrow(schema_policy="freeze")
    with pytest.raises(Rejected, match=r"has a column 'note' that the contract lacks; set schema_policy: evolve, or"):
        loads.load(narrow, _rows(narrow), sequence=2)


def test_another_version_column_is_refused(loads: Loads) -> None:
    old = contract_for(Strategy.UPSERT, columns=NARROW)
    loads.load(old, _rows(old))
    new = contract_for(Strategy.UPSERT, columns=NARROW, version_by="created_at")
    with pytest.raises(
        Rejected, match=r"keeps the newest row by updated_at, not created_at; load it with --full-refresh"
    ):
        loads.load(new, _rows(new), sequence=2)


def test_a_full_refresh_gives_a_table_its_new_storage(loads: Loads) -> None:
    old = _narrow()
    loads.load(old, _rows(old))
    new = _narrow(options={"partition": "day", "order_by": ["day", "id"]})
    loads.load(new, _rows(new), sequence=2, strategy=Strategy.OVERWRITE)
    assert "PARTITION BY day ORDER BY (day, id)" in loads.ddl("samples")
    loads.load(new, _rows(new), sequence=3)
    assert len(loads.landed(new)) == 10


@pytest.mark.parametrize(("days", "kept"), [(50_000, 50_000), (None, 40_000)])
def test_a_changed_ttl_is_applied_and_one_that_no_contract_names_stays(
    loads: Loads, days: int | None, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What ttl_days wrote once cannot be told from what the table's owner wrote."""
    old = _narrow(options={"ttl_days": 40_000})
    loads.load(old, _rows(old))
    new = _narrow(options={"ttl_days": days})
    loads.forget()
    loads.load(new, _rows(new), sequence=2)
    assert re.findall(r"TTL day \+ toIntervalDay\((\d+)\)", loads.ddl("samples")) == [str(kept)]
    told = [record.getMessage() for record in caplog.records if "TTL" in record.getMessage()]
    assert len(told) == (days is None)
    if told:
        loads.run(told[0].rpartition("run ")[2])
        loads.load(new, _rows(new), sequence=3)
        assert "TTL" not in loads.ddl("samples")


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"order_by": ["id", "dai"]}, r"order_by: unknown column 'dai'; did you mean 'day'\?"),
    ({"codec": {"titel": "ZSTD"}}, r"codec: unknown column 'titel'; did you mean 'title'\?"),
    ({"low_cardinality": ["nope"]}, r"low_cardinality: unknown column 'nope'; known: "),
    ({"low_cardinality": ["day"]}, r"low_cardinality column 'day' cannot be of type date"),
    ({"order_by": ["title"]}, r"order_by column 'title' must not be nullable"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options_that_contradict_the_contract_are_refused(loads: Loads, options: Any, message: str) -> None:
    contract = _narrow(options=options)
    with pytest.raises(Rejected, match=rf"^samples: clickhouse: {message}"):
        loads.load(contract, _rows(contract))


def test_a_partition_needs_a_column(loads: Loads) -> None:
    contract = contract_for(Strategy.OVERWRITE, columns=NARROW, options={"partition": "day"})
    with pytest.raises(Rejected, match="partition: day needs partition_by in the contract"):
        loads.load(contract, _rows(contract))


def test_the_order_of_a_replacing_table_is_its_key(loads: Loads) -> None:
    options = {**contract_for(Strategy.UPSERT).options_for("clickhouse"), "order_by": ["day", "id"]}
    contract = contract_for(Strategy.UPSERT, columns=NARROW, options=options)
    with pytest.raises(Rejected, match=r"order_by must hold exactly the key \(id\)"):
        loads.load(contract, _rows(contract))


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "upsert", "engine": "MergeTree"},
        {"strategy": "append", "engine": "ReplacingMergeTree"},
        {"strategy": "append", "codec": {"a": "ZSTD) ENGINE = Log --"}},
        {"strategy": "append", "ttl_days": 0},
        {"strategy": "append", "partitions": "day"},
    ],
)
def test_options_are_checked_when_they_are_read(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClickHouseOptions.model_validate(options)


def test_a_table_that_somebody_dropped_is_made_again(loads: Loads) -> None:
    """The destination remembers which tables are in order; the store may know better."""
    contract = _narrow()
    loads.load(contract, _rows(contract))
    loads.run(f"DROP TABLE {loads.config.database}.samples SYNC")
    plan = loads.plan(contract, _rows(contract), sequence=2)
    assert loads.again(plan).rows == 5
    assert loads.landed(contract) == loads.staged(contract, _rows(contract))


def test_a_second_destination_object_finds_the_table_in_order(loads: Loads) -> None:
    contract = contract_for(Strategy.UPSERT, options=None)
    loads.load(contract, sample_rows(5))
    loads.destination = ClickHouseDestination(loads.config)
    assert loads.load(contract, sample_rows(5, version=1), sequence=2).updated == 5
