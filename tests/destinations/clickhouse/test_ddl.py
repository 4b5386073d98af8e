"""The statements that make tables, as text: on one node, and replicated on a cluster, which no test here can run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ownlens_clickhouse import sql
from ownlens_clickhouse.attempts import Internal, table_key
from ownlens_clickhouse.config import ClickHouseConfig, ClickHouseOptions
from ownlens_clickhouse.definition import TableDefinition, define
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_clickhouse.ledger import create_ledger
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import make_plan, sample_rows

from .loads import STRATEGIES, Loads, narrow, table_of

PLACES: dict[str, dict[str, Any]] = {
    "one_node": {},
    "replicated": {"replicated": True},
    "cluster": {"replicated": True, "cluster": "news"},
}
SNAPSHOTS = Path(__file__).with_name("ddl")


def _contract(strategy: Strategy, place: str) -> TableContract:
    options = {**narrow(strategy).options_for("clickhouse"), **PLACES[place]}
    return narrow(strategy, options=options if strategy is Strategy.OVERWRITE else {**options, "ttl_days": 400})


def _definition(strategy: Strategy, place: str, folder: Path) -> TableDefinition:
    contract = _contract(strategy, place)
    destination = ClickHouseDestination(ClickHouseConfig())
    return define(make_plan(destination, contract, table_of(contract, []), folder))


def _statements(strategy: Strategy, table: TableDefinition) -> Iterator[str]:
    """Write what a load of a new table says, in order, apart from the rows."""
    replaced = strategy is Strategy.OVERWRITE
    label = Internal(table_key("samples"), 7, "0" * 8, 1, "a" * 16, "p0")
    target, staged = "`ownlens`.`samples`", f"`ownlens`.`{label.name}`"
    cluster = table.cluster if replaced else None  # other staged tables are on one node only
    yield sql.create_database("ownlens", table.cluster)
    yield create_ledger("`ownlens`.`_ownlens_ledger`", replicated=table.replicated, cluster=table.cluster)
    yield sql.create_target(target, table)
    yield sql.create_stage(staged, table, sequence=7, becomes_target=replaced, label=label.name)
    yield sql.rename(staged, "`ownlens`.`_ownlens_claim`", cluster)
    if replaced:
        yield sql.exchange(target, "`ownlens`.`_ownlens_claim`", table.cluster)
    elif strategy is Strategy.REPLACE_PARTITION:
        yield sql.replace(target, "`ownlens`.`_ownlens_claim`", "20260101")
    else:
        yield sql.attach(target, "`ownlens`.`_ownlens_claim`", "202601")
    yield sql.drop("`ownlens`.`_ownlens_claim`", cluster)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_statements_are_those_of_the_snapshot(strategy: Strategy, place: str, tmp_path: Path) -> None:
    """After a wanted change, run with OWNLENS_WRITE_SNAPSHOTS=1 and read the difference."""
    statements = _statements(strategy, _definition(strategy, place, tmp_path))
    text = "".join(re.sub(r", (?=`\w+` [A-Z]|INDEX)", ",\n    ", statement) + ";\n" for statement in statements)
    file = SNAPSHOTS / f"{strategy.value}_{place}.sql"
    if os.environ.get("OWNLENS_WRITE_SNAPSHOTS"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_no_snapshot_is_left_over() -> None:
    assert {file.stem for file in SNAPSHOTS.iterdir()} == {f"{s.value}_{place}" for s in STRATEGIES for place in PLACES}


@pytest.mark.parametrize("place", PLACES)
def test_clickhouse_can_read_the_statements(loads: Loads, place: str) -> None:
    for file in SNAPSHOTS.glob(f"*_{place}.sql"):
        for statement in file.read_text(encoding="utf-8").split(";\n")[:-1]:
            shown = str(loads.sql("SELECT formatQuerySingleLine({statement:String})", statement=statement)[0][0])
            on_all_nodes = "_ownlens_claim" not in statement or file.name.startswith("overwrite")
            on_all_nodes = on_all_nodes and not statement.startswith("ALTER") and "SETTINGS max_bytes" not in statement
            assert ("ON CLUSTER news" in shown) == (place == "cluster" and on_all_nodes), statement


def test_a_cluster_needs_replicas() -> None:
    with pytest.raises(ValidationError, match="cluster would leave the other nodes without rows; set replicated: true"):
        ClickHouseOptions(strategy=Strategy.APPEND, cluster="news")


def test_a_table_on_one_node_is_not_taken_for_a_replicated_one(loads: Loads) -> None:
    loads.load(_contract(Strategy.APPEND, "one_node"), sample_rows(3))
    with pytest.raises(Rejected, match=r"has engine MergeTree, not ReplicatedMergeTree; load it with --full-refresh"):
        loads.load(_contract(Strategy.APPEND, "replicated"), sample_rows(3), sequence=2)
