"""Every type and value comes back exactly, whatever the strategy."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, STRATEGIES, Loads, comparable, contract_for, table_of

_UUID = uuid.UUID("12345678-9abc-def0-0fed-cba987654321").bytes
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)
VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int16": [-(2**15), 2**15 - 1, 0],
    "int32": [-(2**31), 2**31 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "float32": [float("nan"), float("inf"), float("-inf"), -0.0, 1e-45],
    "float64": [float("nan"), float("inf"), -0.0, 5e-324, 1.7976931348623157e308],
    "decimal(5,2)": [Decimal("-999.99"), Decimal("999.99"), Decimal("0.00")],
    "decimal(18,4)": [Decimal("-99999999999999.9999"), Decimal("0.0001")],
    "decimal(38,10)": [Decimal("-9999999999999999999999999999.9999999999"), Decimal("1E-10")],
    "text": ["", "NULL", "\\N", "a\tb\nc\0d", "'\"`\\", "é😀"],
    "uuid": [_UUID, bytes(16), b"\xff" * 16],
    "json": ['{"a": null, "b": 1.10, "n": 12345678901234567890123}', "null", '""', '{"a": 1, "a": 2}', "[]"],
    "bytes": [b"", b"\x00\xff\xfe", b"a\nb"],
    "date": [date(1, 1, 1), date(1582, 10, 10), date(1969, 12, 31), date(2150, 1, 1), date(9999, 12, 31)],
    "time": [time(0), time(23, 59, 59, 999_999), time(1, 2, 3, 4)],
    "timestamp": [_FIRST, datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2200, 1, 1), _LAST],
    "timestamptz": [_FIRST.replace(tzinfo=UTC), datetime(1960, 5, 5, tzinfo=UTC), _LAST.replace(tzinfo=UTC)],
    "enum(draft, live, it's)": ["draft", "it's"],
}


def _contract(strategy: Strategy, kind: str, **options: Any) -> TableContract:
    columns = {**NARROW, "must": kind, "may": f"{kind}?"}
    if kind.split("(")[0] not in {"json", "bytes", "enum"}:
        columns |= {"many": f"array<{kind}>", "maybe_many": f"array<{kind}>?"}
    return contract_for(strategy, columns=columns, **options)


def _rows(contract: TableContract, values: list[Any]) -> list[dict[str, Any]]:
    some = values[: len(values) // 2] or values
    lists: list[Any] = [[], [None], values, [*values, None], None, some]
    nullable: list[Any] = [None, *values]
    rows = []
    for index in range(max(len(lists), len(nullable))):
        full = sample_rows(1, first=index)[0]
        row = {name: full[name] for name in NARROW}
        lists_value = lists[index % len(lists)]
        row |= {"must": values[index % len(values)], "may": nullable[index % len(nullable)]}
        row |= {"many": lists_value or [], "maybe_many": lists_value}
        rows.append({name: row[name] for name in contract.column_names})
    return rows


@pytest.mark.parametrize(("kind", "uuid_as"), [*((kind, "uuid") for kind in VALUES), ("uuid", "string")])
def test_each_type_comes_back_exactly(loads: Loads, kind: str, uuid_as: str) -> None:
    contract = _contract(Strategy.APPEND, kind, options={"uuid_as": uuid_as})
    rows = _rows(contract, VALUES[kind])

    loads.load(contract, rows)

    assert loads.table(contract).schema == contract.arrow_schema
    assert loads.landed(contract) == loads.staged(contract, rows)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("parts", [1, 3])
def test_each_strategy_lands_what_was_staged(loads: Loads, strategy: Strategy, parts: int) -> None:
    contract, rows = contract_for(strategy), sample_rows(500, days=70)

    result = loads.load(contract, rows, parts=parts)

    assert (result.rows, result.inserted, result.replayed) == (500, 500, False)
    assert loads.landed(contract) == loads.staged(contract, rows)
    assert loads.ledger() == [("samples", 1, 500, 0)]
    assert loads.internal_tables() == []


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_the_time_zone_of_the_process_changes_nothing(
    make_loads: Callable[..., Loads], monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    loads = make_loads()
    contract = _contract(Strategy.UPSERT, "timestamptz", partition_by="created_at")
    rows = _rows(contract, VALUES["timestamptz"])

    loads.load(contract, rows)

    assert loads.landed(contract) == loads.staged(contract, rows)


def test_many_days_fit_into_one_load(loads: Loads) -> None:
    """An interactive insert may touch 100 partitions; a load may touch more."""
    contract = contract_for(Strategy.REPLACE_PARTITION)
    rows = sample_rows(110, days=110)

    loads.load(contract, rows)

    assert loads.landed(contract) == loads.staged(contract, rows)


def test_days_far_away_keep_partitions_of_their_own(loads: Loads) -> None:
    """ClickHouse's Date has 16 bits: year 9999 would share a partition with a day of 1975 and be replaced with it."""
    contract = _contract(Strategy.REPLACE_PARTITION, "date")
    days = [date(1, 1, 1), date(1969, 12, 31), date(2150, 1, 1), date(9999, 12, 31)]
    rows = [{**row, "day": day} for row, day in zip(_rows(contract, days), days, strict=False)]
    loads.load(contract, rows)

    loads.load(contract, [{**rows[1], "may": None}], sequence=2)

    assert loads.landed(contract) == loads.staged(contract, [rows[0], {**rows[1], "may": None}, *rows[2:]])


def test_days_of_timestamps_far_away_keep_partitions_of_their_own(loads: Loads) -> None:
    """toDate has 16 bits: the last day of 1969 would share a partition with 2149-06-06, and be replaced with it."""
    options = {"strategy": "replace_partition", "partition": "day"}
    contract = contract_for(
        Strategy.REPLACE_PARTITION, columns=NARROW, partition_by="created_at", extraction="whole", options=options
    )
    base = {name: value for name, value in sample_rows(1)[0].items() if name in NARROW}
    moments = [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
    moments += [datetime(2149, 6, 6, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    rows = [{**base, "id": index, "created_at": moment} for index, moment in enumerate(moments)]
    loads.load(contract, rows)

    loads.load(contract, [{**rows[0], "title": "new"}], sequence=2)

    assert loads.landed(contract) == loads.staged(contract, [{**rows[0], "title": "new"}, *rows[1:]])


def test_hidden_columns_do_not_show(loads: Loads) -> None:
    for strategy in (Strategy.APPEND, Strategy.OVERWRITE):
        contract = contract_for(strategy, table=f"samples_{strategy.value}")
        loads.load(contract, sample_rows(10))
        shown = loads.store.arrow(f"SELECT * FROM {loads.config.database}.{contract.table}")
        assert set(next(iter(shown)).schema.names) == set(contract.column_names)


def test_a_part_that_does_not_fit_the_contract_is_refused(loads: Loads) -> None:
    """ClickHouse would convert 2^40 to 0 and 1.7 to 1, or fill in a default for a missing column."""
    contract = contract_for(Strategy.APPEND, columns={**NARROW, "n": "int32", "m": "int64?"})
    rows = [{**{name: row[name] for name in NARROW}, "n": 1, "m": 2} for row in sample_rows(5)]
    good = loads.plan(contract, rows).reader().read_all()
    at = good.schema.get_field_index("n")

    for bad in (good.set_column(at, "n", pa.array([2**40] * 5)), good.drop_columns(["n"])):
        with pytest.raises(Rejected, match=r"^samples: a staged part .*'n'.*--full-refresh"):
            loads.load(contract, bad)
    assert loads.landed(contract) == []

    loads.load(contract, good.drop_columns(["m"]))
    assert loads.table(contract)["m"].null_count == 5


def test_reading_a_table_that_is_not_there_shows_no_rows(loads: Loads) -> None:
    contract = contract_for(Strategy.APPEND)
    assert comparable(loads.table(contract)) == []


def test_reading_streams(loads: Loads, tmp_path: Path) -> None:
    contract = contract_for(Strategy.APPEND, columns=NARROW)
    some = table_of(contract, [{name: row[name] for name in NARROW} for row in sample_rows(2_000)])
    loads.load(contract, pa.concat_tables([some] * 100))
    sizes = [batch.num_rows for batch in loads.destination.read(loads.plan(contract, [], sequence=2))]
    assert sum(sizes) == 200_000
    assert len(sizes) > 1
