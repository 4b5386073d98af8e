"""Tables from CSV, JSON and Parquet files: exact values, windows, whole days, and one-line errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, contract_from
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import contract_of
from .files_reading import WHOLE, read, source
from .staging_rows import SCHEMA, ids, reads, row, rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_csv_tells_empty_text_from_null_and_guesses_no_types(folder: Path) -> None:
    (folder / "things.csv").write_text(
        "unused,id,name,code,amount,tags\n"
        'x,1,"",007,1.10,"[""a"", null]"\n'
        "y,2,,NA,,\n"
        'z,3,"line\nbreak, comma ""quote""",1e3,12345678901234567890.12,[]\n'
    )
    kept, refused = read(folder, contract_of(name="text?", code="text", amount="decimal(38,2)?", tags="array<text>?"))
    assert refused == []
    assert kept == [
        {"id": 1, "name": "", "code": "007", "amount": Decimal("1.10"), "tags": ["a", None]},
        {"id": 2, "name": None, "code": "NA", "amount": None, "tags": None},
        {
            "id": 3,
            "name": 'line\nbreak, comma "quote"',
            "code": "1e3",
            "amount": Decimal("12345678901234567890.12"),
            "tags": [],
        },
    ]


def test_csv_as_postgresql_copies_it_out(folder: Path) -> None:
    (folder / "things.csv").write_text(
        "id,flag,at,day,blob,clock\n1,t,2026-01-01 10:00:00.5+02,2026-01-01,\\x00ff,23:59:59.999999\n2,f,,,,\n"
    )
    contract = contract_of(flag="bool", at="timestamptz?", day="date?", blob="bytes?", clock="time?")
    (first, second), refused = read(folder, contract)
    assert refused == []
    assert (first["flag"], second["flag"], first["blob"]) == (True, False, b"\0\xff")
    assert first["at"] == datetime(2026, 1, 1, 8, 0, 0, 500_000, tzinfo=UTC)
    assert (second["at"], second["blob"]) == (None, None)


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_json_keeps_numbers_and_nested_values_exact(folder: Path, layout: str) -> None:
    lines = [
        '{"id": 9007199254740993, "amount": 12345678901234567890.12, "tags": ["1", null, ""], '
        '"data": {"b": 1.10, "a": [1E+2]}}',
        '{"id": 2, "amount": null, "name": "", "tags": [], "data": "text", "flag": true}',
        '{"id": 3, "amount": "7.5", "name": 7, "tags": null, "data": null}',
    ]
    text = "\n\n".join(lines) if layout == "lines" else f" [{', '.join(lines)}]".lstrip()
    (folder / ("things.jsonl" if layout == "lines" else "things.json")).write_text(text)
    contract = contract_of(amount="decimal(38,2)?", name="text?", tags="array<text>?", data="json?", flag="bool?")
    kept, refused = read(folder, contract)
    assert refused == []
    assert [tuple(value.values()) for value in kept] == [
        (9007199254740993, Decimal("12345678901234567890.12"), None, ["1", None, ""], '{"a": [100], "b": 1.10}', None),
        (2, None, "", [], '"text"', True),
        (3, Decimal("7.50"), "7", None, None, None),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": 1, "tags": "x"}', "tags: is not a JSON array of plain values"),
        ('{"id": 1, "tags": {"a": 1}}', "tags: is not a JSON array of plain values"),
        ('{"id": 1, "tags": [[1]]}', "tags: is not a JSON array of plain values"),
        ('{"id": 1, "tags": [1.5]}', "tags: does not fit array<int32> exactly"),
        ('{"id": 1, "data": {"a": 1, "a": 2}}', "data: repeats a key in an object, which jsonb would drop"),
        ('{"id": 1, "data": [NaN]}', "data: holds NaN, which is not JSON"),
        ('{"id": 1.5}', "id: does not fit int64 exactly"),
        ('{"id": true}', "id: does not fit int64 exactly"),
        ('{"tags": []}', "id: is null, but the contract does not allow it"),
    ],
)
def test_json_values_of_another_shape_are_set_aside_never_dropped(folder: Path, line: str, reason: str) -> None:
    (folder / "things.jsonl").write_text('{"id": 7, "tags": [1], "data": {}}\n' + line + "\n")
    kept, refused = read(folder, contract_of(tags="array<int32>?", data="json?"))
    assert [value["id"] for value in kept] == [7]
    assert refused == [reason]


def test_parquet_and_several_files_of_one_table(folder: Path) -> None:
    (folder / "reads").mkdir()
    pq.write_table(pa.Table.from_pylist(rows(1, 2), SCHEMA), folder / "reads/a.parquet", row_group_size=1)
    pq.write_table(pa.Table.from_pylist(rows(3), SCHEMA), folder / "reads/b.parquet")
    pq.write_table(pa.Table.from_pylist([], SCHEMA), folder / "reads/c.parquet")
    (folder / "reads/_SUCCESS").write_text("")
    assert read(folder, reads()) == (rows(1, 2, 3), [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("things.csv", b"id,a\n"),
        ("things.jsonl", b"\n"),
        ("things.json", b"[]"),
    ],
)
def test_a_file_without_rows_is_an_empty_table(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert read(folder, contract_of(a="text")) == ([], [])


def window(start: int | None, end: int | None, extraction: Extraction = Extraction.WINDOW) -> Selection:
    moments = [None if hour is None else NOON + timedelta(hours=hour) for hour in (start, end)]
    return Selection(extraction, Window(*moments))


def write_csv(folder: Path) -> None:
    lines = [f"{n},t,{(NOON + timedelta(hours=n)).isoformat()},2026-01-01T00:00:00Z" for n in range(5)]
    (folder / "reads.csv").write_text("read_id,title,created_at,updated_at\n" + "\n".join(lines) + "\n")


def write_parquet(folder: Path) -> None:
    values = [{**row(n), "created_at": NOON + timedelta(hours=n)} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(values, SCHEMA), folder / "reads.parquet")


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_windows_have_a_start_and_no_end(folder: Path, write: Callable[[Path], None]) -> None:
    write(folder)
    for (start, end), expected in {(None, 2): [0, 1, 2, 3, 4], (1, 3): [1, 2, 3, 4], (5, None): []}.items():
        kept, _ = read(folder, reads(), window(start, end))
        assert [value["read_id"] for value in kept] == expected


def test_windows_of_one_file_follow_one_another(folder: Path, area: StagingArea) -> None:
    def run(*values: dict[str, Any]) -> list[int] | None:
        pq.write_table(pa.Table.from_pylist([*values], SCHEMA), folder / "reads.parquet")
        with source(folder).snapshot() as snapshot:
            manifest = stage_table(reads(), snapshot, area).manifest
        return None if manifest is None else ids(area, manifest)

    first = row(1)
    assert run(first) == [1]
    assert run(first) is None
    now = {**row(2), "created_at": datetime.now(UTC)}
    later = {**row(3), "created_at": datetime.now(UTC) + timedelta(hours=1)}
    assert run(first, now, later) == [2, 3]
    assert run(first, now, later) is None


def test_a_cursor_that_is_null_or_no_moment_goes_to_quarantine(folder: Path) -> None:
    (folder / "reads.csv").write_text(
        "read_id,title,created_at,updated_at\n"
        "1,t,,2026-01-01T00:00:00Z\n"
        "2,t,infinity,2026-01-01T00:00:00Z\n"
        "3,t,2026-01-01T12:00:00Z,2026-01-01T00:00:00Z\n"
        "4,t,2027-01-01T12:00:00Z,2026-01-01T00:00:00Z\n"
        "5,t,2026-01-01T11:59:59Z,2026-01-01T00:00:00Z\n"
    )
    kept, refused = read(folder, reads(), window(0, 1))
    assert [value["read_id"] for value in kept] == [3, 4]
    assert [reason.split(":")[0] for reason in refused] == ["created_at", "created_at"]


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


def write_days(folder: Path) -> None:
    def day_row(page: int, day: int, hour: int) -> str:
        return f"{page},2026-01-0{day},{(NOON + timedelta(hours=hour)).isoformat()}"

    lines = [day_row(1, 1, 0), day_row(2, 1, 5), day_row(1, 2, 0), day_row(1, 3, 9), day_row(2, 3, 0), f"7,,{NOON}"]
    (folder / "days.csv").write_text("page_id,day,updated_at\n" + "\n".join(lines) + "\n")


def test_days_are_whole(folder: Path) -> None:
    write_days(folder)
    kept, refused = read(folder, DAYS, window(6, None, Extraction.DAYS))
    assert [(value["page_id"], value["day"].day) for value in kept] == [(1, 3), (2, 3)]
    assert refused == ["day: is null, but the contract does not allow it"]
    kept, _ = read(folder, DAYS, replace(window(6, None, Extraction.DAYS), days=frozenset({date(2026, 1, 1)})))
    assert [(value["page_id"], value["day"].day) for value in kept] == [(1, 1), (2, 1), (1, 3), (2, 3)]
    kept, _ = read(folder, DAYS, window(None, None, Extraction.DAYS))
    assert len(kept) == 5


def test_rows_are_counted_by_day(folder: Path) -> None:
    write_days(folder)
    with source(folder).snapshot() as snapshot:
        assert snapshot.day_rows(DAYS) == {date(2026, 1, 1): 2, date(2026, 1, 2): 1, date(2026, 1, 3): 2}
        assert snapshot.seen(DAYS) is None
        assert snapshot.identity(DAYS) == {"folder": str(folder), "table": "days"}


def test_keys_are_those_of_all_rows(folder: Path) -> None:
    write_days(folder)
    wanted = replace(window(9, None, Extraction.DAYS), keys_only=True)
    with source(folder).snapshot() as snapshot, snapshot.read(DAYS, wanted) as extracted:
        keys = extracted.reader.read_all()
    assert keys.schema.names == ["page_id", "day"]
    assert keys["page_id"].to_pylist() == ["1", "2", "1", "1", "2", "7"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("things.csv", b"id,aa\n1,x\n", "lacks column 'a' (unknown column 'a'; did you mean 'aa'?)"),
        ("things.csv", b"id,a,a\n1,x,y\n", "has column 'a' twice"),
        ("things.csv", b"id,a\n1,s3cret,x\n", "cannot read things.csv: CSV parse error: "),
        ("things.csv", b"id,a\n1,\xff\n", "cannot read things.csv: "),
        ("things.csv", b"\n", "cannot read things.csv: it has no line with the names of the columns"),
        ("things.csv", b"id;a\n1;x\n", "(its fields are separated by ';'; write commas, or tabs in a file .tsv)"),
        ("things.csv", b'id,a\n1,"s3cret\n2,x\n', "cannot read things.csv: a quoted field does not end; repair"),
        ("things.csv", b'id,a\n1,"s3cret', "cannot read things.csv: a quoted field does not end; repair"),
        ("things.csv", b"id,a\n1,x\n2", "cannot read things.csv: CSV parse error: Expected 2 columns, got 1; repair"),
        ("things.parquet", b"PAR1s3cret", "cannot read things.parquet: "),
        ("things.jsonl", b'{"id": 1}\n{"id": s3cret}\n', "cannot read things.jsonl: line 2 is not JSON; repair"),
        ("things.jsonl", b'{"id": 1, "a": "x"}\n[1]\n', "record 2 is not a JSON object with distinct members"),
        ("things.jsonl", b'{"id": 1, "a": "x", "id": 2}\n', "record 1 is not a JSON object with distinct members"),
        ("things.jsonl", b'{"id": 1}\n', "lacks column 'a'"),
        ("things.jsonl", b"\xff\n", "cannot read things.jsonl: "),
        ("things.json", b"[{]", "cannot read things.json: the file is not JSON; repair or remove the file"),
        ("things.json", b"[" * 9999, "cannot read things.json: the file is not JSON; repair or remove the file"),
        ("things.jsonl", b'{"id": 1, "a": "\\ud800"}\n', "a text holds half of a surrogate pair, which is no"),
    ],
)
def test_files_that_cannot_be_read_are_one_line_without_their_rows(
    folder: Path, name: str, content: bytes, message: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SourceInvalid) as caught:
        read(folder, contract_of(a="text"))
    assert str(caught.value).startswith("things: ")
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_one_table_must_agree(folder: Path) -> None:
    (folder / "things").mkdir()
    (folder / "things/1.csv").write_text("id,a\n1,x\n")
    (folder / "things/2.csv").write_text("id,b\n1,x\n")
    with pytest.raises(SourceInvalid, match=r"things/2.csv in .* lacks column 'a'"):
        read(folder, contract_of(a="text"))


US, UTC_US = pa.timestamp("us"), pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("type_text", "first", "second"),
    [
        ("float64", pa.array([0.5], pa.float32()), pa.array([0.1], pa.float64())),
        ("int64", pa.array([1], pa.int32()), pa.array([2**40], pa.int64())),
        ("decimal(12,4)", pa.array([Decimal("1.5")], pa.decimal128(4, 1)), pa.array([Decimal("1.2345")])),
        ("timestamptz", pa.array([NOON], pa.timestamp("s", "Europe/Berlin")), pa.array([NOON], UTC_US)),
        ("text", pa.array(["x"]).dictionary_encode(), pa.array(["y"], pa.large_string())),
        ("text?", pa.nulls(1), pa.array(["y"])),
    ],
)
def test_parquet_files_may_differ_in_width_and_no_value_changes(
    folder: Path, type_text: str, first: pa.Array, second: pa.Array
) -> None:
    for one, other in [(first, second), (second, first)]:
        write_two(folder, one, other)
        kept, refused = read(folder, contract_of(value=type_text))
        assert refused == []
        assert [value["value"] for value in kept] == [one[0].as_py(), other[0].as_py()]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1]), pa.array([[1]])),
        (pa.array([NOON.replace(tzinfo=None)], US), pa.array([NOON], UTC_US)),
        (pa.array([Decimal("1.5")]), pa.array([0.1])),
        (pa.array(["x"]), pa.array([b"x"])),
        (pa.array([{"x": 1}]), pa.array([{"y": 1}])),
        (pa.array([2**53 + 1]), pa.array([0.5])),
    ],
)
def test_parquet_files_of_other_types_are_refused(folder: Path, first: pa.Array, second: pa.Array) -> None:
    for one, other in [(first, second), (second, first)]:
        write_two(folder, one, other)
        with pytest.raises(SourceInvalid, match=r"things: the files in .* hold column 'value' in types that differ"):
            read(folder, contract_of(value="float64"))


def write_two(folder: Path, first: pa.Array, second: pa.Array) -> None:
    (folder / "things").mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": [1], "value": first}), folder / "things/1.parquet")
    pq.write_table(pa.table({"value": second, "id": [2]}), folder / "things/2.parquet")


@pytest.mark.parametrize("table", ["../things", "a/b", "..", "/etc/passwd"])
def test_a_table_name_never_leaves_the_folder(folder: Path, table: str) -> None:
    (folder.parent / "things.csv").write_text("read_id,title,created_at,updated_at\n")
    (folder / "a").mkdir()
    (folder / "a/b.csv").write_text("read_id,title,created_at,updated_at\n")
    with pytest.raises(SourceInvalid, match="no file"):
        read(folder, reads(table=table))


def test_large_json_files_come_in_batches(folder: Path) -> None:
    lines = (json.dumps({"id": n, "a": str(n) if n > 30_000 else None}) for n in range(45_000))
    (folder / "things.jsonl").write_text("\n".join(lines))
    with source(folder).snapshot() as snapshot, snapshot.read(contract_of(a="text?"), WHOLE) as extracted:
        sizes = [batch.num_rows for batch in extracted.reader]
    assert (len(sizes), sum(sizes)) == (3, 45_000)
