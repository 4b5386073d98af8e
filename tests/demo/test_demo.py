"""The demo: 79 tables into three stores, twice, value by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.contracts import read_contracts
from ownlens_plugins.registry import Registry

from .conftest import Ran, compare_all, ownlens
from .landed import newest_versions

CONTRACTS = read_contracts(Path(__file__).parents[2] / "table_configs")
DESTINATIONS = ("clickhouse", "postgresql", "s3")
Compared = dict[str, dict[str, tuple[list[Any], list[Any]]]]


def test_first_run_loads_every_table_into_every_destination(first_run: Ran) -> None:
    assert first_run.code == 0, first_run.err
    loads = first_run.document["loads"]
    assert len(loads) == 79 * 3
    assert {load["status"] for load in loads} == {"loaded"}
    assert {load["validation"] for load in loads} == {"passed"}
    assert first_run.document["errors"] == []


def test_json_is_the_only_thing_on_stdout(first_run: Ran) -> None:
    assert {
        "table",
        "destination",
        "rows",
        "inserted",
        "updated",
        "unchanged",
        "rejected",
        "seconds",
        "validation",
    } <= set(first_run.document["loads"][0])
    assert "Traceback" not in first_run.err


def test_first_run_stays_within_its_memory(first_run: Ran) -> None:
    assert first_run.document["peak_memory_mb"] < 1536


def test_counts_of_the_first_run_are_the_same_in_every_store(first_run: Ran) -> None:
    """That they are the source's is seen after the second run, row by row."""
    rows: dict[str, set[int]] = {}
    for load in first_run.document["loads"]:
        assert (load["inserted"], load["rejected"]) == (load["rows"], 0), load
        rows.setdefault(load["table"], set()).add(load["rows"])
    assert all(len(counts) == 1 and counts != {0} for counts in rows.values()), rows


def test_second_run_brings_only_what_is_new(first_run: Ran, second_run: Ran) -> None:
    assert second_run.code == 0, second_run.err
    first, second = first_run.document, second_run.document
    assert len(second["loads"]) == 79 * 3
    assert {load["status"] for load in second["loads"]} <= {"loaded", "nothing new"}
    assert {load["validation"] for load in second["loads"]} == {"not run"}
    windows = [load for load in second["loads"] if CONTRACTS[load["table"]].extraction.value == "window"]
    assert 0 < sum(load["rows"] for load in windows) < sum(load["rows"] for load in first["loads"]) / 10
    assert any(load["updated"] for load in second["loads"] if load["destination"] == "postgresql")


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("table", CONTRACTS)
def test_a_day_of_changes_arrives_everywhere(landed_second: Compared, destination: str, table: str) -> None:
    source, landed = landed_second[destination][table]
    assert source, "a table without rows proves nothing"
    if keeps_history(destination, table):
        landed = newest_versions(CONTRACTS[table], landed)
    assert landed == source


def keeps_history(destination: str, table: str) -> bool:
    options = Registry().options(destination, CONTRACTS[table])
    return options.strategy.value == "append" and CONTRACTS[table].version_by is not None


def test_a_full_refresh_leaves_the_source_rows_and_no_others(
    landed_second: Compared, folder: Path, load_options: list[str], prefect_home: str
) -> None:
    parents = "companies,brands,users,countries,cities,categories,device_types,operating_systems,browsers"
    refreshed = ownlens(
        "load", *load_options, "--full-refresh", "--domains", "compliance", "--tables", parents, "--json",
        PREFECT_HOME=prefect_home,
    )  # fmt: skip
    assert refreshed.code == 0, refreshed.err
    assert {load["validation"] for load in refreshed.document["loads"]} == {"passed"}
    tables = {load["table"] for load in refreshed.document["loads"]}
    assert "compliance_user_consent" in tables, "a history that an append keeps is replaced as well"
    for destination, compared in compare_all(folder, tables).items():
        assert compared.keys() == tables
        for table, (source, landed) in compared.items():
            assert landed == source, (destination, table)


@pytest.mark.parametrize("destination", ["ch", "minio"])
def test_show_prints_landed_rows(landed_second: Compared, load_options: list[str], destination: str) -> None:
    shown = ownlens("show", "countries", "--destination", destination, "--limit", "3", *load_options)
    assert shown.code == 0, shown.err
    assert "3 rows shown" in shown.out
