"""Every logical type comes back exactly, by every strategy and on every path into the table."""

from __future__ import annotations

import math
import struct
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.testing import EVERY_TYPE, sample_contract, sample_rows

from .conftest import Store

PATHS = [
    (Strategy.APPEND, "error"),  # COPY straight into the table
    (Strategy.APPEND, "skip"),
    (Strategy.APPEND, "update"),
    (Strategy.UPSERT, "update"),
    (Strategy.UPSERT, "skip"),
    (Strategy.UPSERT, "error"),
    (Strategy.OVERWRITE, "update"),
]


def contract_for(strategy: Strategy, on_conflict: str, columns: dict[str, str]) -> TableContract:
    block = {"strategy": strategy.value, "on_conflict": on_conflict}
    return sample_contract(columns=columns, extraction="whole", destinations={"postgresql": block})


@pytest.mark.parametrize(("strategy", "on_conflict"), PATHS)
def test_every_type(store: Store, strategy: Strategy, on_conflict: str) -> None:
    contract = contract_for(strategy, on_conflict, dict(EVERY_TYPE))
    rows = sample_rows(500)
    result = store.load(rows, contract=contract)
    assert (result.rows, result.inserted, result.updated, result.unchanged, result.rejected) == (500, 500, 0, 0, 0)
    assert store.landed(contract) == store.staged(rows, contract)


NAN_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0001))[0]
EXTREMES: dict[str, tuple[str, list[Any]]] = {
    "flag": ("bool", [True, False]),
    "small": ("int16", [-(2**15), 2**15 - 1]),
    "medium": ("int32", [-(2**31), 2**31 - 1]),
    "large": ("int64", [-(2**63), 2**63 - 1]),
    "ratio32": ("float32", [math.nan, math.inf, -math.inf, -0.0, 1.401298464324817e-45, 3.4028234663852886e38]),
    "ratio": ("float64", [math.nan, NAN_PAYLOAD, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1]),
    "tiny": ("decimal(38,38)", [Decimal("0." + "9" * 38), Decimal("-1E-38"), Decimal(0)]),
    "huge": ("decimal(38,0)", [Decimal("9" * 38), Decimal("-" + "9" * 38)]),
    "amount": ("decimal(18,4)", [Decimal("0.0001"), Decimal("-99999999999999.9999"), Decimal("1.1000")]),
    "title": ("text", ["", " ", "NULL", "\\N", "\\", "a\tb\r\n", "'\"", "ﷺ🙂\u200d", "\x01\x7f", "x" * 100_000]),
    "token": ("uuid", [bytes(16), b"\xff" * 16, uuid.UUID(int=1).bytes]),
    "payload": (
        "json",
        ["null", "1.10", '"x"', "[]", "{}", '{"a": null}', "123456789012345678901234567890", '"\\\\N\\u0001"'],
    ),
    "blob": ("bytes", [b"", b"\x00", b"\\x00", bytes(range(256))]),
    "on": ("date", [date(1, 1, 1), date(1582, 10, 10), date(1969, 12, 31), date(9999, 12, 31)]),
    "clock": ("time", [time(0), time(23, 59, 59, 999_999), time(0, 0, 0, 1)]),
    "local_at": ("timestamp", [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)]),
    "seen_at": (
        "timestamptz",
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ],
    ),
    "status": ("enum(it's, NULL, déjà vu, a\\b)", ["it's", "NULL", "déjà vu", "a\\b"]),
    "texts": ("array<text>", [[], [""], [None], ["NULL", "{}", 'a"b', "\\", ",", "ünï"], [None, "", None]]),
    "flags": ("array<bool>", [[], [True, None, False]]),
    "smalls": ("array<int16>", [[], [-(2**15), None]]),
    "larges": ("array<int64>", [[], [2**63 - 1, None]]),
    "ratios32": ("array<float32>", [[], [math.nan, -0.0, 0.5]]),
    "ratios": ("array<float64>", [[], [math.nan, math.inf, -0.0, 0.1]]),
    "amounts": ("array<decimal(38,10)>", [[], [Decimal("9" * 28 + "." + "9" * 10), None, Decimal("-0.0000000001")]]),
    "days": ("array<date>", [[], [date(1, 1, 1), None]]),
    "clocks": ("array<time>", [[], [time(23, 59, 59, 999_999), None]]),
    "moments": ("array<timestamp>", [[], [datetime(9999, 12, 31, 23, 59, 59, 999_999), None]]),
    "instants": ("array<timestamptz>", [[], [datetime(1, 1, 1, tzinfo=UTC), None]]),
}


def extreme_contract(strategy: Strategy, on_conflict: str, **references: Any) -> TableContract:
    columns = {"id": "int64", **{name: f"{kind}?" for name, (kind, _) in EXTREMES.items()}}
    columns |= {"day": "date", "updated_at": "timestamptz"}
    contract = contract_for(strategy, on_conflict, columns)
    return contract


def extreme_rows() -> list[dict[str, Any]]:
    """Every extreme value once, beside nulls in all other columns, and a last row of nulls only."""
    values = [{name: value} for name, (_, values) in EXTREMES.items() for value in values]
    fixed = {"day": date(2026, 1, 1), "updated_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return [{"id": number, **row, **fixed} for number, row in enumerate([*values, {}])]


@pytest.mark.parametrize(("strategy", "on_conflict"), [PATHS[0], PATHS[3], PATHS[6]])
def test_extremes(store: Store, strategy: Strategy, on_conflict: str) -> None:
    contract = extreme_contract(strategy, on_conflict)
    store.load(extreme_rows(), contract=contract)
    assert store.landed(contract) == store.staged(extreme_rows(), contract)


def test_extremes_are_unchanged_by_a_second_upsert(store: Store) -> None:
    contract = extreme_contract(Strategy.UPSERT, "update")
    store.load(extreme_rows(), contract=contract)
    again = store.load(extreme_rows(), contract=contract, sequence=2)
    # The table keeps one NaN; the other bit pattern of it is written again, which changes nothing that can be seen.
    assert again.inserted == 0
    assert again.updated <= 1
    assert store.landed(contract) == store.staged(extreme_rows(), contract)


@pytest.mark.parametrize(("column", "old", "new"), [("ratio", 0.0, -0.0), ("payload", "1.10", "1.1")])
def test_equal_but_different_values_are_updated(store: Store, column: str, old: Any, new: Any) -> None:
    contract = extreme_contract(Strategy.UPSERT, "update")
    row = extreme_rows()[-1]
    store.load([{**row, column: old}], contract=contract)
    result = store.load([{**row, column: new}], contract=contract, sequence=2)
    assert (result.inserted, result.updated, result.unchanged) == (0, 1, 0)
    assert store.landed(contract) == store.staged([{**row, column: new}], contract)


def test_read_has_the_schema_of_the_contract_and_its_column_order(store: Store) -> None:
    store.load(sample_rows(3))
    store.sql("ALTER TABLE samples RENAME COLUMN day TO old_day")
    store.sql("ALTER TABLE samples ADD COLUMN day date DEFAULT '2026-01-01', ADD COLUMN extra text")
    table = store.table()
    assert table.schema.equals(store.contract.arrow_schema)
    assert isinstance(table.schema.field("token").type, pa.UuidType)


IDS = sample_contract(preset="reference", columns={"id": "int64", "updated_at": "timestamptz"})


@pytest.fixture
def many(store: Store) -> Store:
    """A table of more rows than the driver fetches at once."""
    store.load([], contract=IDS)
    store.sql("INSERT INTO samples SELECT id, now() FROM generate_series(1, 2000000) AS id")
    return store


def test_an_unfinished_reader_gives_its_connection_back(many: Store) -> None:
    reader = many.destination.read(many.plan([], contract=IDS, sequence=9))
    reader.read_next_batch()
    assert many.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ownlens'") == [(1,)]
    reader.close()
    del reader
    many.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")


def test_a_stream_of_many_batches_is_complete(many: Store) -> None:
    with many.destination.read(many.plan([], contract=IDS, sequence=9)) as reader:
        sums = [pc.sum(batch["id"]).as_py() for batch in reader]
    assert len(sums) > 1
    assert sum(sums) == 2_000_000 * 2_000_001 // 2


def test_a_set_of_many_parts_and_batches_lands_whole(store: Store) -> None:
    rows = sample_rows(70_001)
    assert store.load(rows, parts=3).inserted == 70_001
    assert store.sql("SELECT count(DISTINCT id), min(id), max(id) FROM samples") == [(70_001, 0, 70_000)]
