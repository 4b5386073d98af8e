"""Every value that goes into the lake comes out as it was, in every format and layout."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import contract_from
from ownlens_plugins.errors import Rejected
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of, counts, ledger_files, left_over

STRATEGIES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]


@pytest.mark.parametrize("source", ["day", "local_at", "created_at"])
@pytest.mark.parametrize("partition", ["none", "day", "month"])
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_two_loads_of_every_type_land_exactly(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, partition: str, source: str
) -> None:
    columns = {**contract_of(strategy).describe()["columns"], "local_at": "timestamp"}
    loader = Loader(local, contract_of(strategy, form, partition, partition_by=source, columns=columns), tmp_path)
    first, second = _filled(loader, loader.rows(100)), _filled(loader, loader.rows(60, first=100))
    assert counts(loader.load(1, first)) == (100, 100, 0, 0)
    loader.require(first)
    assert counts(loader.load(2, second)) == (60, 60, 0, 0)
    loader.require(*([second] if strategy == "overwrite" else [first, second]))
    assert left_over(local, loader.plans[2]) == []


def _filled(loader: Loader, table: pa.Table) -> pa.Table:
    """Return the table without nulls in `local_at`, which is a partition column here."""
    at = table.schema.get_field_index("local_at")
    moments = table["created_at"].cast(pa.timestamp("us"))
    return table.set_column(at, loader.contract.arrow_schema.field("local_at"), moments)


@pytest.mark.minio
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("lake", ["minio"], indirect=True)
def test_a_server_holds_every_type_in_json(destination: S3Destination, tmp_path: Path, compression: str) -> None:
    """The conformance suite does the same for the other formats."""
    contract = contract_of("overwrite", "json", options={"compression": compression})
    loader = Loader(destination, contract, tmp_path)
    loader.load(1, loader.rows(50))
    second = loader.rows(30, first=50)
    loader.load(2, second)
    loader.require(second)
    assert left_over(destination, loader.plans[2]) == []


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
@pytest.mark.parametrize("partition", ["none", "day"])
def test_edges_of_each_type_survive(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, partition: str
) -> None:
    contract = contract_from(
        {
            "table": "edges",
            "domain": "tests",
            "preset": "reference" if strategy == "overwrite" else "entity",
            "extraction": "whole",
            "key": ["id"],
            "partition_by": "at",
            "path": "tests/edges",
            "columns": {
                "id": "int64",
                "at": "timestamptz",
                "updated_at": "timestamptz",
                "big": "decimal(38,10)?",
                "single": "float32?",
                "double": "float64?",
                "words": "text?",
                "raw": "bytes?",
                "clock": "time?",
                "day": "date?",
                "uuids": "array<uuid>?",
                "clocks": "array<time>?",
                "sums": "array<decimal(9,2)>?",
                "moments": "array<timestamptz>?",
                "document": "json?",
            },
            "destinations": {"s3": {"strategy": strategy, "format": form, "partition": partition}},
        }
    )
    loader = Loader(local, contract, tmp_path)
    rows = _edge_rows()
    table = pa.Table.from_arrays(
        [_column(rows, field) for field in contract.arrow_schema], schema=contract.arrow_schema
    )
    for sequence in (1, 2):  # the second upsert goes through the merge
        loader.load(sequence, table)
    landed = loader.landed()
    doubled = 2 if strategy == "append" else 1
    assert landed.num_rows == doubled * len(rows)
    assert sorted(_texts(landed)) == sorted(_texts(table) * doubled)


def _edge_rows() -> list[dict[str, Any]]:
    base = {"at": datetime(2026, 1, 1, tzinfo=UTC), "updated_at": datetime(2026, 1, 1, tzinfo=UTC)}
    edges: list[dict[str, Any]] = [
        {},
        {"at": datetime(1, 1, 1, tzinfo=UTC), "day": date(1, 1, 1), "clock": 0},
        {
            "at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            "day": date(9999, 12, 31),
            "clock": 86_400_000_000,
        },
        {"at": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)},
        {"big": Decimal("9999999999999999999999999999.9999999999"), "single": math.inf, "double": -math.inf},
        {"big": Decimal("-0.0000000001"), "single": math.nan, "double": math.nan},
        {"single": 3.4028234663852886e38, "double": 5e-324},
        {"single": -0.0, "double": -0.0},
        {"double": 0.1 + 0.2, "words": "", "raw": b"", "uuids": [], "clocks": []},
        {"words": "NULL", "raw": bytes(range(256)), "document": '{"a": 1.10, "a": null, "n": 12345678901234567890}'},
        {"words": "\\N\t\r\n\u2028 'q' \"d\" \U0001f5de", "document": "null"},
        {"words": "x" * 70_000, "document": '"' + "é" * 300 + '"'},
        {"uuids": [uuid.UUID(int=2**128 - 1).bytes, None, uuid.UUID(int=0).bytes], "clocks": [1, None]},
        {"sums": [Decimal("-9999999.99"), None], "moments": [datetime(1900, 1, 1, tzinfo=UTC), None]},
    ]
    return [{**base, "id": number, **row} for number, row in enumerate(edges)]


def _column(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if field.name in {"clock", "clocks"}:
        plain = pa.int64() if field.name == "clock" else pa.list_(pa.int64())
        return pa.array(values, plain).cast(field.type)
    if field.name == "uuids":
        return pa.array(values, pa.list_(pa.binary(16))).cast(field.type)
    if isinstance(field.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(field.type, pa.array(values, field.type.storage_type))
    return pa.array(values, field.type)


def _texts(table: pa.Table) -> list[str]:
    """Return one text a row that tells -0.0 from 0.0 and 24:00 from 00:00."""
    arrays = []
    for name in table.schema.names:
        column = table[name].combine_chunks()
        if name == "clock":
            column = column.cast(pa.int64())
        if name == "clocks":
            column = column.cast(pa.list_(pa.int64()))
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        arrays.append(column.to_pylist())
    return [repr(row) for row in zip(*arrays, strict=True)]


ODD_NAMES = [
    "select",
    "two words",
    'quo"te',
    "back`tick",
    "apo'strophe",
    "dot.ted",
    "per%cent",
    "back\\slash",
    "semi;colon,comma",
    "{curly}(round)[square]",
    "a=b",
    "slash/es",
    "ünïcödé",
    "数据",
    "\U0001f600",
    "s",
    "t",
    "x" * 63,
]


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_odd_column_names_are_kept(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    names = [*ODD_NAMES, "My Day", "Up Dated"]
    columns = {
        **dict.fromkeys(ODD_NAMES, "text?"),
        "key \"of' it": "int64",
        "My Day": "date",
        "Up Dated": "timestamptz",
    }
    contract = contract_of(
        strategy, form, columns=columns, key=["key \"of' it"], partition_by="My Day", version_by="Up Dated",
        cursor="Up Dated",
    )  # fmt: skip
    loader = Loader(local, contract, tmp_path)

    def rows(first: int, text: str) -> pa.Table:
        row = {**dict.fromkeys(ODD_NAMES, text), "My Day": date(2026, 5, 1), "Up Dated": datetime(2026, 5, 1)}
        return pa.Table.from_pylist(
            [{**row, "key \"of' it": first + number} for number in range(5)], schema=contract.arrow_schema
        )

    loader.load(1, rows(0, "a"))
    result = loader.load(2, rows(3 if strategy == "upsert" else 5, "b"))
    assert counts(result) == ((5, 3, 2, 0) if strategy == "upsert" else (5, 5, 0, 0))
    landed = loader.landed().sort_by("key \"of' it").to_pylist()
    expected = {"upsert": "aaabbbbb", "append": "aaaaabbbbb", "overwrite": "bbbbb"}[strategy]
    assert ["".join({row[name] for name in ODD_NAMES}) for row in landed] == list(expected)
    assert set(names) < set(landed[0])


def test_names_that_differ_by_case_are_refused_by_delta_and_kept_by_parquet(
    local: S3Destination, tmp_path: Path
) -> None:
    columns = {
        "id": "int64",
        "Name": "text?",
        "name": "text?",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    }
    table = [{"id": 1, "Name": "A", "name": "b", **dict.fromkeys(("created_at", "updated_at"), datetime(2026, 1, 1))}]
    delta = Loader(local, contract_of("append", columns=columns, path="tests/delta"), tmp_path)
    rows = pa.Table.from_pylist(table, schema=delta.contract.arrow_schema)
    with pytest.raises(Rejected, match=r"'Name' and 'name'.*rename one, or use format: parquet"):
        delta.load(1, rows)
    parquet = Loader(local, contract_of("overwrite", "parquet", columns=columns), tmp_path)
    parquet.load(1, rows)
    parquet.require(rows)


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_an_empty_set_makes_the_table_and_its_marker(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    nothing = loader.rows(0)
    assert loader.landed(loader.plan(1, nothing)).num_rows == 0  # before there is a table
    assert counts(loader.load(1, nothing)) == (0, 0, 0, 0)
    assert loader.load(1, nothing).replayed
    loader.require(nothing)
    assert ledger_files(local, loader.contract) == ["00000001.json"]
    loader.load(2, loader.rows(10))
    loader.require(loader.rows(10))


@pytest.mark.parametrize("name", ["id", "created_at", "day"])
def test_a_null_where_none_may_be_is_refused_and_nothing_lands(local: S3Destination, tmp_path: Path, name: str) -> None:
    loader = Loader(local, contract_of("upsert"), tmp_path)
    good = loader.rows(5)
    loader.load(1, good)
    place = good.schema.get_field_index(name)
    bad = good.set_column(place, good.schema.field(name).with_nullable(True), pa.nulls(5, good.schema.field(name).type))
    plan: LoadPlan = loader.plan(2, bad)
    with pytest.raises(Rejected, match=rf"samples: s3 refuses nulls in '{name}'"):
        loader.load(2, bad)
    loader.require(good)
    assert local.find_commit(plan) is None
