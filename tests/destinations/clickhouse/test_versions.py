"""A version that may be null: null is the oldest, and every kind is compared exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_rows

from .loads import EVERYWHERE, NARROW, Loads, narrow

STORES = EVERYWHERE
# Ascending; the first two are the ends of what a type can hold.
ORDERED: dict[str, list[Any]] = {
    "int16": [-(2**15), 2**15 - 1],
    "int32": [-(2**31), -1, 2**31 - 1],
    "int64": [-(2**63), -(2**63) + 1, 0, 2**63 - 2, 2**63 - 1],
    "date": [date(1900, 1, 1), date(1969, 12, 31), date(2299, 12, 31)],
    "timestamp": [
        datetime(1, 1, 1, microsecond=1),
        datetime(1969, 12, 31, 23, 59, 59, 999_999),
        datetime(9999, 12, 31),
    ],
    "timestamptz": [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
        datetime(2026, 1, 1, microsecond=2, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
}


def nullable(kind: str = "timestamptz", **overrides: Any) -> TableContract:
    columns = {**NARROW, "v": f"{kind}?"}
    return narrow(Strategy.UPSERT, columns=columns, version_by="v", cursor="created_at", **overrides)


def row(number: int, version: Any, title: str = "t") -> dict[str, Any]:
    base = {name: value for name, value in sample_rows(1)[0].items() if name in NARROW}
    return {**base, "id": number, "title": title, "v": version}


def counts(loads: Loads, contract: TableContract, rows: list[dict[str, Any]], sequence: int) -> tuple[int, ...]:
    result = loads.load(contract, rows, sequence=sequence)
    return result.inserted, result.updated, result.unchanged, result.deleted


@pytest.mark.parametrize("kind", ORDERED)
def test_the_newest_wins_in_every_order(loads: Loads, kind: str) -> None:
    contract = nullable(kind)
    versions = [None, *ORDERED[kind]]
    up = [row(1, version, title=str(n)) for n, version in enumerate(versions)]
    for sequence, one in enumerate(up, 1):
        assert counts(loads, contract, [one], sequence) == ((1, 0, 0, 0) if sequence == 1 else (0, 1, 0, 0))
        assert loads.landed(contract) == loads.staged(contract, [one])
    for sequence, one in enumerate(reversed(up[:-1]), len(up) + 1):
        assert counts(loads, contract, [one], sequence) == (0, 0, 1, 0)
        assert loads.landed(contract) == loads.staged(contract, [up[-1]])
    loads.run(f"OPTIMIZE TABLE {loads.store.name('samples')} FINAL")
    assert loads.landed(contract) == loads.staged(contract, [up[-1]])


def test_of_two_null_versions_the_newest_load_wins(loads: Loads) -> None:
    contract = nullable()
    assert counts(loads, contract, [row(1, None), row(2, None)], 1) == (2, 0, 0, 0)
    assert counts(loads, contract, [row(1, None, "other"), row(2, None)], 2) == (0, 1, 1, 0)
    assert loads.landed(contract) == loads.staged(contract, [row(1, None, "other"), row(2, None)])


def test_a_row_whose_version_became_null_again_wins_where_the_set_holds_all(loads: Loads) -> None:
    contract = nullable(deletes="follow")
    loads.load(contract, [row(1, ORDERED["timestamptz"][1]), row(2, None)])
    covers = Covers(column="day", days=(row(1, None)["day"],))
    result = loads.load(contract, [row(1, None)], sequence=2, covers=covers)
    assert (result.updated, result.deleted) == (1, 1)
    assert loads.landed(contract) == loads.staged(contract, [row(1, None)])


def test_the_hidden_version_is_only_where_it_must_be(loads: Loads) -> None:
    loads.load(nullable(), [row(1, None)])
    assert "ENGINE = ReplacingMergeTree(_ownlens_version)" in loads.ddl("samples")
    assert [name for (name, *_) in loads.sql(f"DESCRIBE {loads.store.name('samples')}")][-2:] == [
        "_ownlens_version",
        "_ownlens_load",
    ]
    assert len(loads.sql(f"SELECT * FROM {loads.store.name('samples')}")[0]) == len(nullable().columns)
    plain = narrow(Strategy.UPSERT, table="plain")
    loads.load(plain, sample_rows(1))
    assert "ReplacingMergeTree(updated_at)" in loads.ddl("plain")
    assert "_ownlens_version" not in loads.ddl("plain")


@pytest.mark.parametrize("low", [False, True])
def test_a_full_refresh_keeps_the_hidden_version(loads: Loads, low: bool) -> None:
    options = {**nullable().options_for("clickhouse"), "ttl_days": 40_000, "low_cardinality": ["v"] if low else []}
    contract = nullable("int32", options=options)
    loads.load(contract, [row(1, 5)])
    loads.load(contract, [row(1, 3), row(2, None)], sequence=2, strategy=Strategy.OVERWRITE)
    assert counts(loads, contract, [row(1, 2), row(2, -9)], 3) == (0, 1, 1, 0)
    assert loads.landed(contract) == loads.staged(contract, [row(1, 3), row(2, -9)])


def test_a_full_refresh_gives_and_takes_the_hidden_version(loads: Loads) -> None:
    merged, plain = nullable(), nullable(options={"strategy": "append", "engine": "MergeTree"})
    rows = [row(1, None), row(2, ORDERED["timestamptz"][0])]
    for sequence, contract in enumerate((plain, merged, plain), 1):
        loads.load(contract, rows, sequence=sequence, strategy=Strategy.OVERWRITE)
        assert loads.landed(contract) == loads.staged(contract, rows)
        assert ("_ownlens_version" in loads.ddl("samples")) == (contract is merged)


def test_a_version_that_may_become_null_needs_the_table_anew(loads: Loads) -> None:
    columns = {**NARROW, "v": "int32"}
    strict = narrow(Strategy.UPSERT, columns=columns, version_by="v", cursor="created_at")
    loads.load(strict, [row(1, 5)])
    with pytest.raises(Rejected, match=r"keeps the newest row by v, not v, which may be null; load it with --full"):
        loads.load(nullable("int32"), [row(1, None)], sequence=2)


@pytest.mark.parametrize(("held", "asked"), [("x_v", "v"), ("v", "x_v"), ("`a, b`", "b`"), ("a) b", "b"), ("a'b", "b")])
def test_the_version_is_compared_by_its_whole_name(loads: Loads, held: str, asked: str) -> None:
    columns = {**NARROW, held: "int32", asked: "int32"}
    contracts = [
        narrow(Strategy.UPSERT, columns=columns, version_by=name, cursor="created_at") for name in (held, asked)
    ]
    rows = [{**row(1, None), held: 1, asked: 1}]
    loads.load(contracts[0], rows)
    assert loads.load(contracts[0], rows, sequence=2).unchanged == 1
    loads.destination.close()
    with pytest.raises(Rejected, match=r"keeps the newest row by .*; load it with --full-refresh"):
        loads.load(contracts[1], rows, sequence=3)
