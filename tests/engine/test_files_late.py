"""Windows over files: cursors of several columns, zones, files that come late, files that change meanwhile."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.engine.sources.files import FileSnapshot
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Retryable, SourceInvalid

from .files_reading import WHOLE, read, source
from .staging_rows import staged_rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def contract_of(cursor: str | list[str], **columns: str) -> TableContract:
    zone = columns.pop("zone", None)
    document: dict[str, Any] = {
        "table": "things",
        "domain": "tests",
        "preset": "events",
        "key": ["id"],
        "path": "tests/things",
        "cursor": cursor,
        "columns": {"id": "int64", **columns},
    }
    return contract_from(document | ({"cursor_zone": zone} if zone else {}))


def since(start: datetime, **changes: Any) -> Selection:
    return replace(Selection(Extraction.WINDOW, Window(start, None)), **changes)


def ids(folder: Path, contract: TableContract, selection: Selection) -> list[int]:
    return [value["id"] for value in read(folder, contract, selection)[0]]


def write(file: Path, *rows: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n")


TWO = contract_of(["updated_at", "created_at"], updated_at="timestamptz?", created_at="timestamptz")


def test_the_first_cursor_that_is_not_null_counts(folder: Path) -> None:
    old, new = "2026-01-01T11:59:59Z", "2026-01-01T12:00:00Z"
    cursors = [(old, new), (new, old), ("", new), ("", old), (new, ""), (old, ""), ("", ""), ("soon", old)]
    write(folder / "things.csv", "id,updated_at,created_at", *(f"{n},{u},{c}" for n, (u, c) in enumerate(cursors)))
    kept, refused = read(folder, TWO, since(NOON))
    assert [value["id"] for value in kept] == [1, 2]
    assert [reason.split(":")[0] for reason in refused] == ["created_at", "created_at", "updated_at"]


def test_a_list_may_mix_kinds_and_the_day_of_the_start_counts(folder: Path) -> None:
    contract = contract_of(["day", "at"], day="date?", at="timestamptz")
    times = ["2025-12-31,{}", "2026-01-01,{}", ",2026-01-01T12:00:00Z", ",2026-01-01T11:00:00Z"]
    rows = [f"{n},{text.format('2020-01-01T00:00:00Z')}" for n, text in enumerate(times)]
    write(folder / "things.csv", "id,day,at", *rows)
    assert ids(folder, contract, since(NOON)) == [1, 2]


@pytest.mark.parametrize(
    ("zone", "start", "taken"),
    [
        (None, NOON, ["12:00:00", "13:00:00"]),
        ("America/New_York", NOON, ["07:00:00", "12:00:00", "13:00:00"]),
        ("Asia/Kolkata", NOON - timedelta(hours=5), ["13:00:00"]),
    ],
)
def test_cursors_without_a_zone_are_of_the_contracts_zone(
    folder: Path, zone: str | None, start: datetime, taken: list[str]
) -> None:
    contract = contract_of("at", at="timestamp", **({"zone": zone} if zone else {}))
    times = ["06:59:59", "07:00:00", "12:00:00", "13:00:00"]
    write(folder / "things.csv", "id,at", *(f"{n},2026-01-01 {time}" for n, time in enumerate(times)))
    assert ids(folder, contract, since(start)) == [times.index(time) for time in taken]
    stamps = pa.array([datetime.fromisoformat(f"2026-01-01 {time}") for time in times], pa.timestamp("us"))
    (folder / "things.csv").unlink()
    pq.write_table(pa.table({"id": range(4), "at": stamps}), folder / "things.parquet")
    assert ids(folder, contract, since(start)) == [times.index(time) for time in taken]


def test_the_day_is_the_zones_day(folder: Path) -> None:
    write(folder / "things.csv", "id,day", "1,2025-12-31", "2,2026-01-01", "3,2026-01-02")
    auckland = contract_of("day", day="date", zone="Pacific/Auckland")
    assert ids(folder, auckland, since(NOON)) == [3]
    los_angeles = contract_of("day", day="date", zone="America/Los_Angeles")
    assert ids(folder, los_angeles, since(NOON - timedelta(hours=5))) == [1, 2, 3]


@pytest.mark.parametrize("minutes", range(0, 180, 10))
def test_no_row_is_lost_when_clocks_are_set_back(folder: Path, minutes: int) -> None:
    # In New York 01:00 to 02:00 came twice on 1 November 2026: from 05:00 and from 06:00 UTC.
    begin = datetime(2026, 11, 1, 4, tzinfo=UTC)
    moments = [begin + timedelta(minutes=10 * step) for step in range(30)]
    contract = contract_of("at", at="timestamp", zone="America/New_York")
    offsets = [timedelta(hours=-4 if moment < begin + timedelta(hours=2) else -5) for moment in moments]
    local = [(moment + offset).replace(tzinfo=None) for moment, offset in zip(moments, offsets, strict=True)]
    write(folder / "things.csv", "id,at", *(f"{n},{time}" for n, time in enumerate(local)))
    start = begin + timedelta(minutes=minutes)
    wanted = {n for n, moment in enumerate(moments) if moment >= start}
    assert wanted <= set(ids(folder, contract, since(start)))


def test_the_fingerprint_of_a_file_changes_with_it(folder: Path) -> None:
    write(folder / "things/a.csv", "id,updated_at,created_at")
    write(folder / "things/sub/b.csv", "id,updated_at,created_at")
    before = files(folder)
    assert sorted(before) == ["things/a.csv", "things/sub/b.csv"]
    assert files(folder) == before
    write(folder / "things/a.csv", "id,updated_at,created_at", "1,,")
    after = files(folder)
    assert before["things/a.csv"] != after["things/a.csv"]
    assert before["things/sub/b.csv"] == after["things/sub/b.csv"]
    os.utime(folder / "things/sub/b.csv", ns=(0, 12345))
    assert files(folder)["things/sub/b.csv"].endswith("-12345")


def files(folder: Path) -> dict[str, str]:
    with source(folder).snapshot() as snapshot:
        return dict(snapshot.files(TWO))


def test_all_rows_of_a_new_file_belong_to_the_window(folder: Path) -> None:
    write(folder / "things/1.csv", "id,updated_at,created_at", "1,,2020-01-01T00:00:00Z", "2,,2026-01-01T13:00:00Z")
    write(folder / "things/2.csv", "id,updated_at,created_at", "3,,2020-01-01T00:00:00Z", "4,,2026-01-01T13:00:00Z")
    assert ids(folder, TWO, since(NOON)) == [2, 4]
    assert ids(folder, TWO, since(NOON, new_files=frozenset({"things/2.csv"}))) == [2, 3, 4]
    assert ids(folder, TWO, since(NOON, new_files=frozenset({"things/1.csv", "things/gone.csv"}))) == [1, 2, 4]


DAYS = contract_from(
    {
        "table": "days",
        "domain": "news",
        "preset": "daily",
        "key": ["page_id", "day"],
        "partition_by": "day",
        "path": "news/days",
        "columns": {"page_id": "int32", "day": "date", "updated_at": "timestamptz"},
    }
)


def test_a_new_file_touches_its_days(folder: Path) -> None:
    head, old = "page_id,day,updated_at", "2020-01-01T00:00:00Z"
    write(folder / "days/1.csv", head, f"1,2026-01-01,{old}", f"1,2026-01-02,{old}")
    write(folder / "days/2.csv", head, f"2,2026-01-02,{old}")
    window = Selection(Extraction.DAYS, Window(NOON, None))
    assert read(folder, DAYS, window) == ([], [])
    kept, _ = read(folder, DAYS, replace(window, new_files=frozenset({"days/2.csv"})))
    assert [(value["page_id"], value["day"]) for value in kept] == [(1, date(2026, 1, 2)), (2, date(2026, 1, 2))]


def test_days_may_be_spelled_in_several_ways(folder: Path) -> None:
    (folder / "days").mkdir()
    moments = pa.array([datetime(2020, 1, 1), NOON.replace(tzinfo=None)], pa.timestamp("us"))
    days = pa.array([datetime(2026, 1, 1), datetime(2026, 1, 1)], pa.timestamp("ms"))
    table = pa.table({"page_id": [1, 2], "day": days, "updated_at": moments.cast(pa.timestamp("us", "UTC"))})
    pq.write_table(table, folder / "days/1.parquet")
    assert len(read(folder, DAYS, Selection(Extraction.DAYS, Window(NOON, None)))[0]) == 2
    with source(folder).snapshot() as snapshot:
        assert snapshot.day_rows(DAYS) == {date(2026, 1, 1): 2}


ROWS = ["id,updated_at,created_at", *(f"{n},,2026-01-01T12:00:00Z" for n in range(200_000))]


def append(file: Path) -> None:
    with file.open("a") as content:
        content.write("9,,2026-01-01T12:00:00Z\n")


def overwrite(file: Path) -> None:
    with file.open("r+") as content:
        content.write("id")


def cut(file: Path) -> None:
    os.truncate(file, 5000)


def exchange(file: Path) -> None:
    before = file.stat()
    other = file.with_name(".other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [append, overwrite, cut, exchange, remove])
@pytest.mark.parametrize("moment", ["listed", "reading"])
def test_a_file_that_changes_is_no_half_of_two_versions(
    folder: Path, change: Callable[[Path], None], moment: str
) -> None:
    write(folder / "things/1.csv", *ROWS)
    write(folder / "things/2.csv", *ROWS)
    with source(folder).snapshot() as snapshot:
        if moment == "listed":
            snapshot.files(TWO)
            change(folder / "things/2.csv")
            expected_rows(snapshot, None)
        else:
            expected_rows(snapshot, lambda: change(folder / "things/2.csv"))


def expected_rows(snapshot: FileSnapshot, after_first: Callable[[], None] | None) -> None:
    with pytest.raises(Retryable, match=r"^things: things/2\.csv changed while the run read the table; run it again, "):
        consume(snapshot, after_first)


def consume(snapshot: FileSnapshot, after_first: Callable[[], None] | None) -> int:
    with snapshot.read(TWO, WHOLE) as extracted:
        rows = 0
        for batch in Conformed(TWO, extracted).batches():
            if not rows and after_first:
                after_first()
            rows += batch.num_rows
    return rows


def test_a_run_tries_again_with_the_file_as_it_is_now(folder: Path, area: StagingArea) -> None:
    write(folder / "things/1.csv", *ROWS[:3])
    with source(folder).snapshot() as snapshot:
        snapshot.files(TWO)
        write(folder / "things/1.csv", *ROWS[:6])
        with pytest.raises(Retryable):
            stage_table(TWO, snapshot, area)
        manifest = stage_table(TWO, snapshot, area).manifest
    assert manifest is not None
    assert manifest.rows == 5


def test_a_file_that_comes_during_the_run_is_the_next_runs(folder: Path) -> None:
    write(folder / "things/1.csv", *ROWS[:3])
    with source(folder).snapshot() as snapshot:
        assert list(snapshot.files(TWO)) == ["things/1.csv"]
        write(folder / "things/2.csv", *ROWS[:3])
        assert consume(snapshot, None) == 2
        assert list(snapshot.files(TWO)) == ["things/1.csv"]
    assert files(folder).keys() == {"things/1.csv", "things/2.csv"}


def test_a_file_that_is_no_longer_there_when_rows_are_read(folder: Path) -> None:
    write(folder / "things.csv", *ROWS[:3])
    with source(folder).snapshot() as snapshot:
        snapshot.files(TWO)
        (folder / "things.csv").unlink()
        with pytest.raises(Retryable, match=r"things\.csv changed"):
            snapshot.day_rows(replace(TWO, partition_by="created_at"))


def test_a_delivery_behind_a_link_is_one_source(folder: Path) -> None:
    for name in ("one", "two"):
        write(folder / f"{name}/things.csv", *ROWS[:2])
    (folder / "current").symlink_to("one")
    with source(folder / "current").snapshot() as snapshot:
        first = snapshot.identity(TWO)
    (folder / "current").unlink()
    (folder / "current").symlink_to("two")
    with source(folder / "current").snapshot() as snapshot:
        assert snapshot.identity(TWO) == first == {"folder": str(folder / "current"), "table": "things"}


def test_a_cursor_of_another_type_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({"id": [1], "at": [1.5]}), folder / "things.parquet")
    with pytest.raises(SourceInvalid, match="column 'at' arrives as double"):
        read(folder, contract_of("at", at="timestamptz"), since(NOON))


def run(folder: Path, area: StagingArea, contract: TableContract = TWO) -> list[int]:
    """Stage what is new; return the ids of its rows."""
    with source(folder).snapshot() as snapshot:
        manifest = stage_table(contract, snapshot, area).manifest
    return [] if manifest is None else [value["id"] for value in staged_rows(area, manifest)]


HEAD, OLD = "id,updated_at,created_at", "2020-01-01T00:00:00Z"


def test_late_files_come_once_whatever_their_cursors_say(folder: Path, area: StagingArea) -> None:
    write(folder / "things/1.csv", HEAD, f"1,,{OLD}", f"2,,{datetime.now(UTC)}")
    assert run(folder, area) == [1, 2]
    write(folder / "things/late/2.csv", HEAD, f"3,,{OLD}", "4,,1999-01-01T00:00:00Z")
    assert run(folder, area) == [3, 4]
    assert run(folder, area) == []
    write(folder / "things/1.csv", HEAD, f"1,,{OLD}", f"2,,{datetime.now(UTC)}", f"5,,{OLD}")
    assert run(folder, area) == [5]
    os.utime(folder / "things/1.csv")
    assert run(folder, area) == []
    (folder / "things/1.csv").rename(folder / "things/archived.csv")
    assert run(folder, area) == []
    (folder / "things/archived.csv").unlink()
    assert run(folder, area) == []
    write(folder / "things/6.csv", HEAD, f"6,,{OLD}", f"1,,{OLD}")
    assert run(folder, area) == [6]


@pytest.mark.parametrize("suffix", ["csv", "jsonl.gz", "parquet"])
def test_a_late_file_of_every_format(folder: Path, area: StagingArea, suffix: str) -> None:
    for number in (1, 2):
        put(folder / f"things/{number}.{suffix}", number)
        assert run(folder, area) == [number]
        assert run(folder, area) == []


def put(file: Path, number: int) -> None:
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".csv":
        write(file, HEAD, f"{number},,{OLD}")
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress(f'{{"id": {number}, "created_at": "{OLD}"}}'.encode()))
    else:
        moment = pa.array([datetime.fromisoformat(OLD)], pa.timestamp("us", "UTC"))
        pq.write_table(pa.table({"id": [number], "updated_at": pa.nulls(1), "created_at": moment}), file)


def test_a_refused_delivery_is_looked_at_again_when_it_is_mended(folder: Path, area: StagingArea) -> None:
    write(folder / "things/1.csv", HEAD, f"1,,{OLD}")
    assert run(folder, area) == [1]
    write(folder / "things/2.csv", HEAD, f'2,,"{OLD}')
    for _ in range(2):
        with pytest.raises(SourceInvalid, match="a quoted field does not end"):
            run(folder, area)
    write(folder / "things/2.csv", HEAD, f"2,,{OLD}")
    assert run(folder, area) == [2]


def test_a_row_of_the_future_comes_at_once_and_once(folder: Path, area: StagingArea) -> None:
    write(folder / "things.csv", HEAD, f"1,,{OLD}", f"2,,{datetime.now(UTC) + timedelta(days=400)}")
    assert run(folder, area) == [1, 2]
    assert run(folder, area) == []
    write(folder / "things.csv", HEAD, f"1,,{OLD}", f"2,,{datetime.now(UTC) + timedelta(days=400)}", f"3,,{OLD}")
    assert run(folder, area) == [3]
