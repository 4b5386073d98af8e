"""Dates, times and moments: the years 1 to 9999 in microseconds, and nothing that wraps, clamps or loses a zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import conform_column

OUTSIDE = "value: is infinite or outside the years 1 to 9999"
NO_TIME = "value: is not a time of a day in the form 12:34:56.123456"
NO_FIT = "value: does not fit {} exactly"
# What ADBC makes of PostgreSQL's 'infinity', '-infinity' and the last timestamp that PostgreSQL knows.
WRAPPED_DATES = [-2147472692, -2147472691, 2147483647]
WRAPPED_MOMENTS = [-9222427259654775809, -9223371331200000000, 9223371331200000000]
DAY = 86_400_000_000


def raw(values: list[int], given_type: pa.DataType) -> pa.Array:
    width = {32: pa.int32(), 64: pa.int64()}[given_type.bit_width]
    return pa.array(values, width).cast(given_type)


@pytest.mark.parametrize("wanted", ["date?", "date"])
def test_infinite_dates_and_other_years_are_refused(wanted: str) -> None:
    bounds = raw([-719162, 2932896], pa.date32())
    assert bounds.to_pylist() == [date(1, 1, 1), date(9999, 12, 31)]
    values = pa.concat_arrays([raw(WRAPPED_DATES, pa.date32()), bounds, raw([-719163, 2932897], pa.date32())])
    assert conform_column(wanted, values) == ([date(1, 1, 1), date(9999, 12, 31)], [OUTSIDE] * 5)


@pytest.mark.parametrize(("wanted", "zone"), [("timestamp", None), ("timestamptz", "UTC")])
def test_infinite_moments_and_other_years_are_refused(wanted: str, zone: str | None) -> None:
    tz = None if zone is None else UTC
    first, last = datetime(1, 1, 1, tzinfo=tz), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=tz)
    given_type = pa.timestamp("us", zone)
    good = pa.array([first, last], given_type)
    beside = [good.cast(pa.int64())[0].as_py() - 1, good.cast(pa.int64())[1].as_py() + 1]
    values = pa.concat_arrays([raw([*WRAPPED_MOMENTS, *beside], given_type), good])
    assert conform_column(wanted, values) == ([first, last], [OUTSIDE] * 5)


def test_24_00_is_refused_in_every_unit() -> None:
    reason = "value: is 24:00, which is no time of a day"
    for unit, per_second in {"us": 10**6, "ns": 10**9}.items():
        values = raw([0, 86_399 * per_second, 86_400 * per_second], pa.time64(unit))
        assert conform_column("time", values) == ([time(0), time(23, 59, 59)], [reason])
    assert conform_column("time", raw([86_400], pa.time32("s"))) == ([], [reason])


@pytest.mark.parametrize(
    ("wanted", "given_type", "kept", "lost"),
    [
        ("timestamp", pa.timestamp("ns"), 1_000, 1_001),
        ("timestamptz", pa.timestamp("ns", "UTC"), 1_000, 1_999),
        ("time", pa.time64("ns"), 1_000, 1_001),
    ],
)
def test_nanoseconds_are_kept_or_refused_never_cut(wanted: str, given_type: pa.DataType, kept: int, lost: int) -> None:
    values, reasons = conform_column(wanted, raw([kept, lost], given_type))
    assert [value.microsecond for value in values] == [1]
    assert reasons == [NO_FIT.format(wanted)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "+05:30"])
def test_moments_of_any_zone_keep_their_instant(unit: str, zone: str) -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert conform_column("timestamptz", pa.array([moment, None][:1], pa.timestamp(unit, zone))) == ([moment], [])


def test_seconds_too_far_for_microseconds_are_refused() -> None:
    values = raw([0, 2**62], pa.timestamp("s"))
    assert conform_column("timestamp", values) == ([datetime(1970, 1, 1)], [NO_FIT.format("timestamp")])


@pytest.mark.parametrize(
    ("wanted", "kept", "refused"),
    [
        (
            "date?",
            {"2026-02-28": date(2026, 2, 28), "0001-01-01": date(1, 1, 1), "1582-10-10": date(1582, 10, 10)},
            ["2026-02-29", "10000-01-01", "0000-12-31", "infinity", "01.02.2026", "", "2026-01-01 00:00:00"],
        ),
        (
            "timestamp?",
            {
                "2026-01-01 10:00:00.123456": datetime(2026, 1, 1, 10, 0, 0, 123_456),
                "1900-01-01T00:00:00": datetime(1900, 1, 1),
            },
            ["2026-01-01 10:00:00.1234567", "2026-01-01 10:00:00Z", "2026-01-01 10:00:00+02:00", "infinity", ""],
        ),
        (
            "timestamptz?",
            {
                "2026-01-01 10:00:00+02:00": datetime(2026, 1, 1, 8, tzinfo=UTC),
                "2026-01-01 10:00:00.5+00": datetime(2026, 1, 1, 10, 0, 0, 500_000, tzinfo=UTC),
                "2026-01-01T10:00:00Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
            },
            ["2026-01-01 10:00:00", "2026-01-01", "-infinity", "2026-01-01 10:00:00 Europe/Berlin"],
        ),
    ],
)
def test_dates_and_moments_as_text(wanted: str, kept: dict[str, Any], refused: list[str]) -> None:
    values, reasons = conform_column(wanted, pa.array([*kept, *refused, None]))
    assert values == [*kept.values(), None]
    assert set(reasons) <= {NO_FIT.format(wanted[:-1]), OUTSIDE}
    assert len(reasons) == len(refused)


def test_times_as_text() -> None:
    kept = {"10:00": time(10), "23:59:59.999999": time(23, 59, 59, 999_999), "00:00:00.5": time(0, 0, 0, 500_000)}
    refused = ["24:00", "24:00:00", "10:00:00.1234567", "10:00+01:00", "10:00Z", "10", "T10:00", "25:00", ""]
    values, reasons = conform_column("time?", pa.array([*kept, *refused, None]))
    assert (values, reasons) == ([*kept.values(), None], [NO_TIME] * len(refused))


def test_a_date_takes_midnights_only() -> None:
    reason = "value: has a time of day, which a date cannot hold"
    stamps = pa.array([datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 1), None], pa.timestamp("us"))
    assert conform_column("date?", stamps) == ([date(2026, 1, 1), None], [reason])
    assert conform_column("date?", pa.array([None, None], pa.timestamp("us"))) == ([None, None], [])
    milliseconds = raw([DAY // 1000, DAY // 1000 + 1], pa.date64())
    assert conform_column("date", milliseconds) == ([date(1970, 1, 2)], ["value: is not a whole day"])


@pytest.mark.parametrize(
    ("wanted", "given_type", "fix"),
    [
        ("timestamptz", pa.timestamp("us"), "give it a time zone"),
        ("timestamp", pa.timestamp("us", "UTC"), "convert it to local time without a zone"),
        ("date", pa.timestamp("us", "UTC"), "say in which zone the day is meant"),
        ("timestamp", pa.date32(), "convert it to timestamp before"),
        ("timestamptz", pa.int64(), "convert it to timestamptz before"),
        ("date", pa.int32(), "convert it to date before"),
        ("time", pa.timestamp("us"), "convert it to time before"),
        ("time", pa.duration("us"), "convert it to time before"),
        ("timestamp", pa.month_day_nano_interval(), "convert it to timestamp before"),
    ],
)
def test_types_whose_meaning_is_open_stop_the_table_with_the_fix(
    wanted: str, given_type: pa.DataType, fix: str
) -> None:
    with pytest.raises(SourceInvalid, match=f"things: column 'value' arrives as .*; {fix}"):
        conform_column(wanted, pa.array([], given_type))
