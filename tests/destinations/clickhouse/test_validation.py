"""What Great Expectations is shown: the contract's columns of the touched days, newest versions only."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from pydantic import SecretStr

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.powers import SqlValidationTarget, SupportsCheck, SupportsSqlValidation
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, STRATEGIES, Loads, day_rows, narrow

STORES = EVERYWHERE


def _ask(target: SqlValidationTarget, select: str) -> list[tuple[Any, ...]]:
    engine = sqlalchemy.create_engine(target.url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        query = f"SELECT {select} FROM `{target.schema}`.`{target.relation}`"
        return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]


def _shown(loads: Loads, plan: LoadPlan, select: str) -> list[tuple[Any, ...]]:
    target = loads.destination.validation_target(plan)
    try:
        return _ask(target, select)
    finally:
        loads.destination.release_validation_target(target)


def test_only_the_touched_days_are_shown(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, day_rows(10, day=1))
    plan = loads.plan(contract, [*day_rows(3, day=2, first=20), *day_rows(3, day=3, first=30)], sequence=2)
    loads.again(plan)
    assert _shown(loads, plan, "count(), min(id), max(id)") == [(6, 20, 32)]
    assert loads.internal_tables() == []


def test_the_touched_days_of_a_timestamp_are_days_in_utc(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND, partition_by="created_at")
    loads.load(contract, day_rows(10, day=1))
    plan = loads.plan(contract, day_rows(3, day=2, first=20), sequence=2)
    loads.again(plan)
    assert _shown(loads, plan, "count()") == [(3,)]


def test_only_the_newest_version_of_a_row_is_shown(loads: Loads) -> None:
    contract = narrow(Strategy.UPSERT)
    loads.load(contract, sample_rows(10))
    plan = loads.plan(contract, sample_rows(10, version=1), sequence=2)
    loads.again(plan)
    assert _shown(loads, plan, "count(), uniqExact(id)") == [(10, 10)]


def test_the_columns_are_those_of_the_contract(loads: Loads) -> None:
    for strategy in STRATEGIES:
        contract = narrow(strategy, table=f"samples_{strategy.value}")
        plan = loads.plan(contract, sample_rows(3))
        loads.again(plan)
        target = loads.destination.validation_target(plan)
        columns = loads.sql(
            "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String} ORDER BY position",
            d=loads.config.database,
            t=target.relation,
        )
        loads.destination.release_validation_target(target)
        assert [name for (name,) in columns] == list(contract.column_names)


def test_an_empty_load_shows_the_whole_table(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    loads.load(contract, sample_rows(4))
    plan = loads.plan(contract, [], sequence=2)
    loads.again(plan)
    assert _shown(loads, plan, "count()") == [(4,)]


def test_a_view_in_use_is_not_cleared_and_one_of_a_dead_process_is(loads: Loads) -> None:
    contract = narrow(Strategy.APPEND)
    plan = loads.plan(contract, sample_rows(4))
    loads.again(plan)
    target = loads.destination.validation_target(plan)
    loads.again(plan)
    assert loads.internal_tables() == [target.relation]
    loads.destination.release_validation_target(target)
    dead = target.relation.replace(target.relation.split("_")[5], "0123456789abcdef")
    loads.run(f"CREATE VIEW {loads.store.name(dead)} AS SELECT 1")
    assert loads.internal_tables() == [dead]
    loads.again(plan)
    assert loads.internal_tables() == []


def test_the_address_of_a_server_carries_a_password_only_inside() -> None:
    config = ClickHouseConfig(host="h", user="u", password=SecretStr("s@/:'"), secure=True)
    url = ClickHouseDestination(config)._url()
    assert str(url) == "clickhousedb://u:***@h:8443/ownlens?secure=true&verify=true"
    assert url.password == "s@/:'"


def test_the_powers_of_the_class(loads: Loads) -> None:
    assert isinstance(loads.destination, SupportsCheck)
    assert isinstance(loads.destination, SupportsSqlValidation)
