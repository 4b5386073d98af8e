"""Numbers and booleans: kept exactly from every type that can hold them, else refused."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import conform_column

D = Decimal
BIG = 2**53


@pytest.mark.parametrize(
    ("wanted", "given_type", "kept", "refused"),
    [
        ("bool?", pa.bool_(), [True, False, None], []),
        ("int16?", pa.int64(), [-(2**15), 2**15 - 1, None], [2**15, -(2**15) - 1, 2**40]),
        ("int32?", pa.int64(), [-(2**31), 2**31 - 1], [2**31, 2**40]),
        ("int64?", pa.uint64(), [0, 2**63 - 1], [2**63, 2**64 - 1]),
        ("int32", pa.uint32(), [0, 2**31 - 1], [2**31, 2**32 - 1]),
        ("int64", pa.int8(), [-128, 127], []),
        ("int32", pa.float64(), [0.0, -7.0, 2.0**31 - 1], [1.5, math.nan, math.inf, 2.0**31]),
        ("int64", pa.float64(), [-(2.0**63)], [2.0**63, 1e300]),
        ("int16", pa.decimal128(10, 2), [D("12.00")], [D("12.01"), D("40000.00")]),
        ("float64", pa.float32(), [0.1, math.inf, -0.0], []),
        ("float64", pa.float16(), [1.5], []),
        ("float64", pa.int64(), [BIG, -BIG], [BIG + 1, 2**63 - 1]),
        ("float32", pa.int32(), [2**24], [2**24 + 1]),
        ("float32", pa.float64(), [0.5, math.inf, 2.0**100], [0.1, 1e300, 5e-324]),
        ("decimal(10,2)", pa.decimal128(12, 4), [D("1.2300")], [D("1.2301"), D("1.2390")]),
        ("decimal(10,2)", pa.decimal128(38, 0), [D(12345678)], [D(123456789)]),
        ("decimal(10,2)", pa.decimal256(76, 10), [D("1.1000000000")], [D("1.0010000000"), D(10) ** 60]),
        ("decimal(38,10)", pa.decimal128(10, 2), [D("99999999.99")], []),
        ("decimal(5,0)", pa.int64(), [99999, -99999], [100000, 2**62]),
        ("decimal(38,2)", pa.uint64(), [2**64 - 1], []),
        ("decimal(10,2)", pa.float64(), [12.34, 1e7, -0.0], [0.001, math.nan, math.inf, 1e20]),
        ("decimal(38,0)", pa.float64(), [1e22], [0.5]),
        ("decimal(10,2)", pa.float32(), [12.34], [12.345]),
        ("decimal(10,2)", pa.float16(), [1.5], [0.333]),
    ],
)
def test_typed_numbers(wanted: str, given_type: pa.DataType, kept: list[Any], refused: list[Any]) -> None:
    values, reasons = conform_column(wanted, pa.array([*kept, *refused], given_type))
    assert values == _expected(wanted, kept, given_type)
    bare = wanted.rstrip("?")
    assert {*reasons} <= {f"value: does not fit {bare} exactly", "value: cannot be a float32 without rounding"}
    assert len(reasons) == len(refused)


def _expected(wanted: str, kept: list[Any], given_type: pa.DataType) -> list[Any]:
    if wanted.startswith("decimal"):
        return [D(str(value)) for value in kept]
    return pa.array(kept, given_type).to_pylist()  # a float of fewer bits is a neighbour of the literal


@pytest.mark.parametrize(
    ("wanted", "kept", "refused"),
    [
        (
            "bool",
            {"true": True, "FALSE": False, "t": True, "f": False, "1": True, "0": False},
            ["yes", "", "2", " true"],
        ),
        ("int16", {"-32768": -32768, "007": 7}, ["32768", "1.0", "1e3", "", " 1", "eins", "NaN"]),
        ("int64", {"9223372036854775807": 2**63 - 1}, ["9223372036854775808", "12345678901234567890"]),
        ("float64", {"1e308": 1e308, "-0.5": -0.5, "Infinity": math.inf, "-inf": -math.inf}, ["1e309", "-1e400", "x"]),
        ("float32", {"0.5": 0.5, "inf": math.inf}, ["1e39"]),
        ("decimal(5,2)", {"1.23": D("1.23"), "-999.99": D("-999.99"), "1e2": D("100.00")}, ["1.239", "1000.00", "NaN"]),
        ("decimal(5,2)", {"0": D("0.00"), "1.2": D("1.20")}, ["Infinity", "", "1,5", "0x10"]),
    ],
)
def test_numbers_as_text(wanted: str, kept: dict[str, Any], refused: list[str]) -> None:
    values, reasons = conform_column(wanted, pa.array([*kept, *refused], pa.string()))
    assert values == list(kept.values())
    assert len(reasons) == len(refused)


def test_nan_of_numeric_is_refused_and_nan_of_float_is_kept() -> None:
    assert conform_column("decimal(10,2)", pa.array(["nan", "NaN", "1.00"])) == (
        [D("1.00")],
        ["value: does not fit decimal(10,2) exactly"] * 2,
    )
    values, reasons = conform_column("float64", pa.array([math.nan, math.inf, -math.inf, 1.0]))
    assert math.isnan(values[0])
    assert (values[1:], reasons) == ([math.inf, -math.inf, 1.0], [])


@pytest.mark.parametrize(
    ("wanted", "given_type"),
    [
        ("bool", pa.int8()),
        ("int32", pa.bool_()),
        ("int32", pa.date32()),
        ("int64", pa.timestamp("us")),
        ("int64", pa.binary()),
        ("float64", pa.decimal128(10, 2)),
        ("float64", pa.bool_()),
        ("decimal(10,2)", pa.bool_()),
        ("decimal(10,2)", pa.binary()),
        ("int64", pa.list_(pa.int64())),
        ("int64", pa.run_end_encoded(pa.int32(), pa.int64())),
    ],
)
def test_types_that_mean_something_else_stop_the_table(wanted: str, given_type: pa.DataType) -> None:
    with pytest.raises(SourceInvalid, match=r"things: column 'value' arrives as .* without changing values;"):
        conform_column(wanted, pa.array([], given_type))


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=40))
def test_every_integer_is_kept_or_refused(values: list[int | None]) -> None:
    kept, reasons = conform_column("int16?", pa.array(values, pa.int64()))
    fitting = [value for value in values if value is None or -(2**15) <= value < 2**15]
    assert kept == fitting
    assert len(reasons) == len(values) - len(fitting)


@given(st.lists(st.decimals(-1000, 1000, places=3, allow_nan=False), max_size=20))
def test_every_decimal_is_kept_or_refused_never_rounded(values: list[Decimal]) -> None:
    kept, reasons = conform_column("decimal(5,2)", pa.array(values, pa.decimal128(10, 3)))
    fitting = [value for value in values if value == value.quantize(D("0.01")) and abs(value) < 1000]
    assert kept == fitting
    assert len(reasons) == len(values) - len(fitting)
