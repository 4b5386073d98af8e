"""What a refusal of ClickHouse says to do is done here, as it is written, and the load gets through."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ownlens_clickhouse.config import ClickHouseConfig, ClickHouseOptions
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected

from .loads import NARROW, STRATEGIES, Loads, contract_for, day_rows, narrow


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refresh(plan: LoadPlan) -> LoadPlan:
    """Return the plan that `--full-refresh` makes."""
    return replace(plan, strategy=Strategy.OVERWRITE, full_refresh=True)


def require_loads(loads: Loads, contract: TableContract, sequence: int = 1) -> None:
    """Check that a load under a contract gets through, value by value."""
    filled = [{name: value for name, value in row.items() if value is not None} for row in day_rows(4, day=2)]
    rows = [{name: row.get(name, "x") for name in contract.column_names} for row in filled]
    loads.load(contract, rows, sequence=sequence, tag=f"-{sequence}")
    assert loads.landed(contract) == loads.staged(contract, rows)


@pytest.mark.parametrize("way", ["--full-refresh", "drop it"])
@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each is not Strategy.OVERWRITE])
def test_another_table_in_the_place_of_the_loaded_one(loads: Loads, strategy: Strategy, way: str) -> None:
    contract, name = narrow(strategy), loads.store.name("samples")
    plans = [loads.plan(contract, day_rows(5, day=n, first=n * 10), sequence=n, tag=f"-{n}") for n in (1, 2, 3)]
    for plan in plans[:2]:
        loads.again(plan)
    statement = loads.ddl("samples")
    loads.run(f"DROP TABLE {name} SYNC")
    loads.run(statement)
    loads.run(f"INSERT INTO {name} (id, day) VALUES (1, '2026-01-01')")
    loads.forget()
    message = refused(lambda: loads.again(plans[2]))
    assert way in message
    if way == "drop it":
        loads.run(f"DROP TABLE {name} SYNC")
        for plan in plans:
            assert not loads.again(plan).replayed
        assert loads.landed(contract) == loads.staged(contract, *(day_rows(5, day=n, first=n * 10) for n in (1, 2, 3)))
    else:
        rows = day_rows(7, day=4)
        loads.again(refresh(loads.plan(contract, rows, sequence=4, tag="-r")))
        assert loads.landed(contract) == loads.staged(contract, rows)


@pytest.mark.parametrize(
    ("strategy", "kind"), [(Strategy.UPSERT, "MergeTree"), (Strategy.APPEND, "ReplacingMergeTree")]
)
def test_an_engine_that_the_strategy_cannot_run_on(loads: Loads, strategy: Strategy, kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ClickHouseOptions(strategy=strategy, engine=kind)
    found = re.search(r"set (engine: \w+)", str(caught.value))
    assert found is not None
    require_loads(loads, narrow(strategy, options={"strategy": strategy.value, **yaml.safe_load(found[1])}))


def test_a_cluster_without_replicas() -> None:
    with pytest.raises(ValidationError) as caught:
        ClickHouseOptions(strategy=Strategy.APPEND, cluster="news")
    found = re.search(r"set (replicated: true)", str(caught.value))
    assert found is not None
    assert ClickHouseOptions(strategy=Strategy.APPEND, cluster="news", **yaml.safe_load(found[1])).replicated


@pytest.mark.parametrize("given", [{"verify": False}, {"ca_cert": "ca.pem"}])
def test_tls_settings_without_tls(given: dict[str, Any]) -> None:
    """The setting is one of the profile, which is TOML."""
    with pytest.raises(ValidationError) as caught:
        ClickHouseConfig(**given)
    found = re.search(r"set (secure.*?true)", str(caught.value))
    assert found is not None
    assert ClickHouseConfig(**given, **tomllib.loads(found[1])).port_number == 8443


PLAIN = {"strategy": "append", "partition": "none"}
OPTIONS: list[tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]] = [
    ({}, {"partition": "day"}, "set partition: none", {"options": {"partition": "none"}}),
    ({}, {"partition": "day"}, "name a date or timestamp column", {"partition_by": "day"}),
    ({}, {"ttl_days": 50_000}, "leave it out", {"options": {}}),
    ({}, {"ttl_days": 50_000}, "name a date or timestamp column", {"partition_by": "day"}),
    ({}, {"order_by": ["title"]}, "leave it out", {"options": {}}),
    ({}, {"order_by": ["title"]}, "make it not null", {"columns": {**NARROW, "title": "text"}}),
    ({"columns": {**NARROW, "_row_exists": "text"}}, {}, "rename it", {"columns": {**NARROW, "row_exists": "text"}}),
]


@pytest.mark.parametrize(("given", "options", "advice", "mended"), OPTIONS, ids=[each[2] for each in OPTIONS])
def test_options_that_contradict_the_contract(
    loads: Loads, given: dict[str, Any], options: dict[str, Any], advice: str, mended: dict[str, Any]
) -> None:
    base = {"columns": NARROW, "partition_by": None, "options": {**PLAIN, **options}, **given}
    contract = contract_for(Strategy.APPEND, **base)
    assert advice in refused(lambda: require_loads(loads, contract))
    changed = {**base, **mended}
    changed["options"] = {**PLAIN, **changed["options"]}
    require_loads(loads, contract_for(Strategy.APPEND, **changed))


def test_a_required_column_that_the_contract_does_not_make_is_made_nullable(loads: Loads) -> None:
    old = narrow(Strategy.APPEND)
    loads.load(old, [])
    new = narrow(Strategy.APPEND, columns={**NARROW, "more": "text"})
    message = refused(lambda: require_loads(loads, new, 2))
    found = re.search(r"make ('more') nullable in the contract, or load it with --full-refresh", message)
    assert found is not None, message
    require_loads(loads, narrow(Strategy.APPEND, columns={**NARROW, "more": "text?"}), 2)


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_staged_part_that_is_lost(loads: Loads, harm: str) -> None:
    contract, rows = narrow(Strategy.APPEND), day_rows(4, day=1)
    plan = loads.plan(contract, rows)
    part = Path(plan.parts[0].uri)
    part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:50])
    assert refused(lambda: loads.again(plan)).endswith("missing or damaged; load it with --full-refresh")
    loads.again(refresh(loads.plan(contract, rows, sequence=2, tag="-r")))
    assert loads.landed(contract) == loads.staged(contract, rows)


def test_a_database_that_cannot_exchange_tables(make_loads: Callable[..., Loads]) -> None:
    loads = make_loads()
    loads.run(f"CREATE DATABASE {loads.config.database} ENGINE = Memory")
    message = refused(lambda: require_loads(loads, narrow(Strategy.UPSERT)))
    found = re.search(r"name a database with (engine) (\w+)$", message)
    assert found is not None
    other = make_loads()
    other.run(f"CREATE DATABASE {other.config.database} ENGINE = {found[2]}")
    require_loads(other, narrow(Strategy.UPSERT))
