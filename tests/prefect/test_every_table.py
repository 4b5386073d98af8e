"""All tables into all stores, twice, through the deployment on real servers; then every row is compared."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.registry import Registry
from ownlens_sandbox.server_stack import SCHEMA, ServerStack
from ownlens_sandbox.servers import packaged_contracts
from tests.demo.landed import landed_rows, newest_versions, source_rows

from .stack import CANARY, PASSWORDS, PATIENCE, Stack

CONTRACTS = read_contracts(packaged_contracts())
STORES = ("clickhouse", "postgresql", "s3")
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def runs(stack: Stack) -> list[dict[str, Any]]:
    """The runs of the deployment `nightly`: of everything, and of a day of changes."""
    with stack.paused("hourly-events"):  # a run of its own between these two would take some of the changes
        return [nightly(stack), (change(stack), nightly(stack))[1]]


def nightly(stack: Stack) -> dict[str, Any]:
    done = stack.run("prefect", "deployment", "run", "load-tables/nightly", "--watch", timeout=PATIENCE * 4)
    run = stack.runs_of("nightly")[0]
    assert done.returncode == 0, run["state"]["message"]
    return run


def change(stack: Stack) -> None:
    done = stack.run("ownlens", "sandbox", "change", "--folder", str(stack.folder))
    assert done.returncode == 0, done.stderr


def test_each_run_has_every_load_and_all_checks_pass(stack: Stack, runs: list[dict[str, Any]]) -> None:
    for run in runs:
        rows = stack.summary(run)
        assert sorted((row["table"], row["destination"]) for row in rows) == sorted(
            (table, store) for table in CONTRACTS for store in STORES
        )
        assert {row["status"] for row in rows} <= {"loaded", "nothing new"}
        assert {row["validation"] for row in rows if row["status"] == "loaded"} == {"passed"}
    assert sum(row["rows"] for row in stack.summary(runs[1])) > 0


@pytest.fixture(scope="module")
def source(stack: Stack, runs: list[dict[str, Any]]) -> dict[str, Rows]:
    with psycopg.connect(stack.servers.source) as connection:
        return {table: source_rows(connection, contract) for table, contract in CONTRACTS.items()}


@pytest.mark.parametrize("store", STORES)
def test_every_row_of_the_source_is_there_once(stack: Stack, source: dict[str, Rows], store: str) -> None:
    registry = Registry()
    destination = registry.create(store, connections(stack.servers)[store])
    try:
        for table, contract in CONTRACTS.items():
            landed = landed_rows(destination, contract, registry)
            if keeps_history(registry, store, contract):
                landed = newest_versions(contract, landed)
            assert landed == source[table], f"{table} in {store}"
    finally:
        destination.close()


def keeps_history(registry: Registry, store: str, contract: TableContract) -> bool:
    return registry.options(store, contract).strategy.value == "append" and contract.version_by is not None


def connections(servers: ServerStack) -> dict[str, dict[str, Any]]:
    """Return how to reach each store as its loader: what the blocks hold."""
    ports = servers.ports
    keys = {"access_key_id": "ownlens", "secret_access_key": PASSWORDS["minio"], "allow_http": True}
    return {
        "s3": {"uri": servers.lake, "endpoint_url": f"http://127.0.0.1:{ports['minio']}", **keys},
        "postgresql": {
            "host": "127.0.0.1",
            "port": ports["postgresql"],
            "database": "warehouse",
            "user": "loader",
            "password": PASSWORDS["loader"],
            "schema": SCHEMA,
        },
        "clickhouse": {
            "host": "127.0.0.1",
            "port": ports["clickhouse"],
            "user": "loader",
            "password": PASSWORDS["clickhouse"],
            "database": SCHEMA,
        },
    }


def test_show_reads_through_the_blocks(stack: Stack, runs: list[dict[str, Any]]) -> None:
    shown = stack.run("ownlens", "show", "countries", "--destination", "postgresql", "--limit", "3")
    assert "3 rows shown" in shown.stdout, shown.stderr


def test_no_table_of_the_stores_holds_a_password(stack: Stack, runs: list[dict[str, Any]]) -> None:
    """What a plan or a ledger says is text in the stores."""
    with psycopg.connect(stack.servers.warehouse) as warehouse:
        tables = warehouse.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'ownlens'")
        for (table,) in tables.fetchall():
            held = warehouse.execute(f"SELECT count(*) FROM ownlens.{table} t WHERE t::text LIKE %s".encode(), [
                f"%{CANARY[:6]}%"
            ]).fetchone()  # fmt: skip
            assert held == (0,), table
