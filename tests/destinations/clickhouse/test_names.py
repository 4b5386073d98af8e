"""Odd names of tables and columns mean what they say."""

from __future__ import annotations

from typing import Any

import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, STRATEGIES, Loads, contract_for

ODD = [
    "quote'd",
    'double"quoted',
    "back`tick",
    "`quoted`",
    "back\\slash",
    "trailing\\",
    "semi; DROP DATABASE x",
    "dotted.name",
    "a b  c",
    "-- comment",
    "/* open",
    "{name:String}",
    "%s %(x)s %",
    "$$heredoc$$",
    "select",
    "FORMAT Null",
    "index",
    "v",
    "x",
    "s",
    "t",
    "count()",
    "*",
    "1st",
    "é中文😀",
    "x" * 63,
    "é" * 31,
    "😀" * 15,
    "../../etc/passwd",
    "CON",
    "null",
]


def _with(names: list[str], strategy: Strategy) -> TableContract:
    columns = {**NARROW, **dict.fromkeys(names, "text"), **{f"{name[:50]}[]"[:62]: "array<int32>?" for name in ODD[:3]}}
    return contract_for(strategy, columns=columns)


def _rows(contract: TableContract, count: int, version: int = 0) -> list[dict[str, Any]]:
    rows = sample_rows(count, version=version)
    return [
        {
            name: None
            if name.endswith("[]") and row["id"] % 2
            else [row["id"]]
            if name.endswith("[]")
            else row.get(name, name)
            for name in contract.column_names
        }
        for row in rows
    ]


# What an address, a form or a quoted statement could change on its way; the suite has hundreds in the embedded engine.
TRAVELLING = [
    "quote'd",
    "`quoted`",
    "back\\slash",
    "semi; DROP DATABASE x",
    "a b  c",
    "{name:String}",
    "%s %(x)s %",
    "FORMAT Null",
    "é中文😀",
    "../../etc/passwd",
]


@pytest.mark.parametrize("interface", ["http"], indirect=True)
@pytest.mark.parametrize("table", TRAVELLING, ids=lambda name: ascii(name)[:20])
def test_tables(loads: Loads, table: str) -> None:
    contract = contract_for(Strategy.APPEND, table=table, columns=NARROW)
    rows = [{name: row[name] for name in NARROW} for row in sample_rows(3)]

    loads.load(contract, rows)
    loads.load(contract, rows, sequence=2)

    assert loads.landed(contract) == loads.staged(contract, rows, rows)
    assert [entry[0] for entry in loads.ledger()] == [table, table]
    target = loads.destination.validation_target(loads.plan(contract, rows, sequence=2))
    assert loads.sql(f"SELECT count() FROM {loads.store.name(target.relation)}") == [(6,)]
    loads.destination.release_validation_target(target)
    assert loads.internal_tables() == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_columns(loads: Loads, strategy: Strategy) -> None:
    contract = _with(ODD, strategy)

    loads.load(contract, _rows(contract, 4))
    assert loads.landed(contract) == loads.staged(contract, _rows(contract, 4))

    loads.load(contract, _rows(contract, 4, version=1), sequence=2)
    expected = [_rows(contract, 4, version=1)]
    if strategy is Strategy.APPEND:
        expected.append(_rows(contract, 4))
    assert loads.landed(contract) == loads.staged(contract, *expected)


@pytest.mark.parametrize("name", ODD, ids=lambda name: ascii(name)[:20])
def test_columns_that_matter(loads: Loads, name: str) -> None:
    """As key, and as the columns that slice and order the table."""
    day, version = f"{name[:30]}/d"[:60], f"{name[:30]}/v"[:60]
    contract = contract_for(
        Strategy.UPSERT,
        columns={name: "int64", day: "date", version: "timestamptz", "n": "int32?"},
        key=[name],
        partition_by=day,
        version_by=version,
        cursor=version,
    )
    rows = [{name: row["id"], day: row["day"], version: row["updated_at"], "n": 1} for row in sample_rows(5)]

    loads.load(contract, rows)
    assert loads.load(contract, [{**row, "n": 2} for row in rows], sequence=2).updated == 5

    assert loads.landed(contract) == loads.staged(contract, [{**row, "n": 2} for row in rows])


def test_names_that_differ_in_case_only(loads: Loads) -> None:
    contract = contract_for(Strategy.APPEND, columns={**NARROW, "Name": "text", "name": "text", "NAME": "int32"})
    rows = [{**row, "Name": "a", "name": "b", "NAME": 1} for row in sample_rows(3)]
    rows = [{name: row[name] for name in contract.column_names} for row in rows]
    loads.load(contract, rows)
    assert loads.landed(contract) == loads.staged(contract, rows)


@pytest.mark.parametrize("database", ["odd `db' \\ é", "select", "a.b"])
def test_databases(make_loads: Any, database: str) -> None:
    loads = make_loads(database=database)
    contract = contract_for(Strategy.OVERWRITE)
    loads.load(contract, sample_rows(3))
    assert loads.landed(contract) == loads.staged(contract, sample_rows(3))
