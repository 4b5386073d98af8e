"""What lies in a source's folder: read, passed over because every reader does, or refused by name. Never half."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import contract_of
from .files_reading import read, source

CSV = "id,a\n{},x\n"


def put(folder: Path, *names: str) -> None:
    """Write CSV files of one row each, numbered in this order from 1."""
    for number, name in enumerate(names, start=1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CSV.format(number))


def ids(folder: Path, **columns: str) -> list[int]:
    kept, refused = read(folder, contract_of(a="text", **columns))
    assert refused == []
    return [value["id"] for value in kept]


def refusal(folder: Path) -> str:
    with pytest.raises(SourceInvalid) as caught:
        ids(folder)
    text = str(caught.value)
    assert text.startswith("things: ")
    assert "\n" not in text
    assert "; " in text  # a fix follows
    return text


def test_subfolders_are_read_in_the_order_of_their_names(folder: Path) -> None:
    put(folder, "things/2025/a.csv", "things/2026/01/a.csv", "things/2026/02/deep/er/b.CSV", "things/z.csv")
    assert ids(folder) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "name",
    ["_SUCCESS", "_temporary/0/x.csv", ".a.csv.swp", ".hidden/x.csv", "_draft.csv", "a.csv.crc", "_committed_12"],
)
def test_names_that_every_reader_passes_over(folder: Path, name: str) -> None:
    put(folder, "things/a.csv", f"things/{name}", "things.csv.crc", "other.csv", "things2.csv", ".things.csv")
    assert ids(folder) == [1]


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt", "b.csv.tmp", "b.csv.zip", "b.csv.xz", "b.parquet.gz", "b.xlsx", "b", "b.csv.gz.gz", "sub/b.orc",
        "b.csv~", "b.csv.md5", "b.avro",
    ],
)  # fmt: skip
def test_files_that_would_not_be_read_are_refused_by_name(folder: Path, name: str) -> None:
    put(folder, "things/a.csv", f"things/{name}")
    assert f"things/{name} lies among the table's files and would not be read; " in refusal(folder)
    (folder / "things" / name).unlink()
    assert ids(folder) == [1]


@pytest.mark.parametrize("name", ["things.csv.zip", "things.txt", "things.2026-01-01.csv", "things.csv.sha256"])
@pytest.mark.parametrize("beside", [True, False])
def test_so_are_those_beside_the_tables_file(folder: Path, name: str, beside: bool) -> None:
    put(folder, *(["things.csv"] if beside else []), name)
    assert f"{name} lies among the table's files and would not be read; " in refusal(folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("things.csv", "things.CSV"),
        ("things.csv", "things.csv.gz"),
        ("things.csv", "things.parquet"),
        ("things.json", "things.jsonl"),
        ("things.csv", "things/a.csv"),
        ("things.csv", "Things.csv"),
        ("things/a.csv", "THINGS/a.csv"),
        ("things.csv", "things/_SUCCESS"),
    ],
)
def test_two_places_of_one_table_are_refused(folder: Path, first: str, second: str) -> None:
    put(folder, first, second)
    names = sorted(name.split("/")[0] for name in (first, second))
    assert f"{names[0]} and {names[1]} both lie in " in refusal(folder)
    (folder / second).unlink()
    if "/" in second:
        (folder / second).parent.rmdir()
    if first.endswith(".csv"):
        assert ids(folder) == [1]


def test_a_name_is_told_apart_by_case_and_the_message_says_so(folder: Path) -> None:
    put(folder, "Things.csv")
    assert "; Things.csv is spelled otherwise; put one there" in refusal(folder)


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        ("a.csv", "b.parquet", "are of two formats"),
        ("a.csv", "sub/b.tsv", "are of two formats"),
        ("a.csv", "b.jsonl.gz", "are of two formats"),
        ("a.csv", "A.csv", "differ only by case or by suffix"),
        ("a.csv", "a.CSV", "differ only by case or by suffix"),
        ("a.csv", "a.csv.gz", "differ only by case or by suffix"),
        ("a.json", "a.ndjson", "differ only by case or by suffix"),
        ("sub/a.csv", "Sub/a.csv", "differ only by case or by suffix"),
    ],
)
def test_files_that_may_hold_the_same_rows_are_refused(folder: Path, first: str, second: str, cause: str) -> None:
    put(folder, f"things/{first}", f"things/{second}")
    text = refusal(folder)
    assert all(f"things/{name}" in text for name in (first, second))
    assert cause in text


def test_json_may_have_any_of_its_suffixes(folder: Path) -> None:
    (folder / "things").mkdir()
    for number, name in enumerate(["a.json", "b.jsonl", "c.ndjson", "d.NDJSON"]):
        (folder / "things" / name).write_text(f'{{"id": {number}, "a": "x"}}')
    assert ids(folder) == [0, 1, 2, 3]


@pytest.mark.parametrize("link", ["symlink", "hardlink", "folder"])
def test_one_file_by_two_names_is_refused(folder: Path, link: str) -> None:
    put(folder, "things/sub/a.csv")
    if link == "folder":
        (folder / "things/again").symlink_to("sub")
    elif link == "symlink":
        (folder / "things/b.csv").symlink_to("sub/a.csv")
    else:
        os.link(folder / "things/sub/a.csv", folder / "things/b.csv")
    assert "are one file by two names, so its rows would come twice; remove the link" in refusal(folder)


def test_links_to_elsewhere_are_followed(folder: Path) -> None:
    put(folder.parent, "elsewhere/a.csv", "elsewhere/b.csv")
    (folder / "things").symlink_to("../elsewhere")
    assert ids(folder) == [1, 2]
    (folder / "things").unlink()
    (folder / "things.csv").symlink_to("../elsewhere/b.csv")
    assert ids(folder) == [2]


def above(things: Path) -> None:
    (things / "up").symlink_to("..")


def itself(things: Path) -> None:
    (things / "a").symlink_to("a")


def two_links(things: Path) -> None:
    (things / "a").symlink_to("b")
    (things / "b").symlink_to("a")


def nowhere(things: Path) -> None:
    (things / "a.csv").symlink_to("gone.csv")


def pipe(things: Path) -> None:
    os.mkfifo(things / "a.csv")


def plug(things: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(things, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{directory}/a.csv")  # the path itself is too long for a socket
        os.close(directory)


def named_as_file(things: Path) -> None:
    (things / "x.csv").mkdir()


def empty(things: Path) -> None:
    (things / "x.jsonl").touch()


def delta(things: Path) -> None:
    (things / "_delta_log").mkdir()


def hudi(things: Path) -> None:
    (things / ".hoodie").mkdir()


def not_text(things: Path) -> None:
    Path(os.fsdecode(os.fsencode(things) + b"/\xff.csv")).write_text(CSV)


def not_text_inside(things: Path) -> None:
    (things / "day=%FF").mkdir()


@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (above, "things/up/things is a link that leads back to a folder above it; remove the link"),
        (itself, "things/a is a link that leads back to itself; remove the link"),
        (two_links, "things/a is a link that leads back to itself; remove the link"),
        (nowhere, "things/a.csv is a link that leads nowhere; remove or mend the link"),
        (pipe, "things/a.csv is no regular file; copy what it gives into a file"),
        (plug, "things/a.csv is no regular file; copy what it gives into a file"),
        (named_as_file, "things/x.csv is a folder with the name of a file; rename it"),
        (empty, "things/x.jsonl is empty (0 bytes), as files are that are half written; write it again, or remove it"),
        (delta, "things is a Delta table, whose folder also keeps files with rows that are gone; export its rows"),
        (hudi, "things is a Hudi table, whose folder also keeps files with rows that are gone; export its rows"),
        (not_text, "things/\\udcff.csv has a name that is not UTF-8 text; rename it"),
        (not_text_inside, "things/day=%FF has a value that is not UTF-8 text; rename it"),
    ],
)
def test_odd_entries_are_refused_and_nothing_hangs(folder: Path, prepare: Callable[[Path], None], cause: str) -> None:
    put(folder, "things/0.csv")
    prepare(folder / "things")
    assert cause in refusal(folder).replace(f" in {folder}", "")


def test_a_folder_with_the_name_of_the_tables_file(folder: Path) -> None:
    put(folder, "things.csv/part-0.csv")
    assert f"things.csv in {folder} is a folder with the name of a file; rename it, to things if" in refusal(folder)


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["other.csv"], "no file things.parquet|.csv|.tsv|.json|.jsonl|.ndjson and no folder things/ in "),
        (["things/_SUCCESS"], "/things/; put one there (.parquet .csv "),
        (["things"], "things lies among the table's files and would not be read"),
    ],
)
def test_a_table_without_files_is_refused(folder: Path, names: list[str], cause: str) -> None:
    put(folder, *names)
    assert cause in refusal(folder)


def test_a_folder_that_does_not_exist(folder: Path) -> None:
    folder.rmdir()
    assert f"the folder {folder} does not exist; make it, or check the profile's folder" in refusal(folder)
    folder.write_text("")
    assert f"cannot list {folder}: Not a directory; " in refusal(folder)


def test_an_object_store_is_no_folder() -> None:
    with pytest.raises(SourceInvalid, match="s3://bucket/in is no local folder"), source("s3://bucket/in").snapshot():
        pass


@pytest.mark.parametrize("what", ["things", "things/a.csv"])
def test_what_may_not_be_read_is_refused_by_name(what: str) -> None:
    top = Path("/tmp") / f"ownlens-rights-{os.getpid()}"
    put(top, "things/a.csv")
    (top / what).chmod(0)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        text = refusal(top)
    finally:
        os.seteuid(before)
        for path in (top / "things", top / "things/a.csv"):
            path.chmod(0o700)
        (top / "things/a.csv").unlink()
        (top / "things").rmdir()
        top.rmdir()
    assert what in text
    assert "Permission denied" in text or "its rights do not allow it" in text


def test_values_of_folders_are_columns_that_the_contract_names_and_the_files_lack(folder: Path) -> None:
    names = ["day=2026-01-01/kind=a%2Fb/1.csv", "day=2026-01-02/kind=__HIVE_DEFAULT_PARTITION__/1.csv"]
    put(folder, *(f"things/{name}" for name in names))
    kept, refused = read(folder, contract_of(a="text", day="date", kind="text?"))
    assert refused == []
    assert [(value["id"], value["day"].day, value["kind"]) for value in kept] == [(1, 1, "a/b"), (2, 2, None)]
    assert ids(folder) == [1, 2]


def test_a_column_of_the_file_wins_over_its_folder(folder: Path) -> None:
    put(folder, "things/a=y/id=7/1.csv")
    assert read(folder, contract_of(a="text"))[0] == [{"id": 1, "a": "x"}]


def test_values_of_folders_beside_parquet_and_json(folder: Path) -> None:
    (folder / "things/day=2026-01-01").mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2]}), folder / "things/day=2026-01-01/1.parquet")
    assert [value["day"].day for value in read(folder, contract_of(day="date"))[0]] == [1, 1]
    (folder / "things/day=2026-01-01/1.parquet").unlink()
    lines = '{"id": 1}\n{"id": 2, "day": "2026-01-02"}\n{"id": 3, "day": null}\n'
    (folder / "things/day=2026-01-01/1.jsonl").write_text(lines)
    kept, _ = read(folder, contract_of(day="date?"))
    assert [value["day"] and value["day"].day for value in kept] == [1, 2, None]


def test_a_partitions_column_may_begin_with_an_underscore(folder: Path) -> None:
    put(folder, "things/_day=2026-01-01/1.csv")
    assert [value["_day"].day for value in read(folder, contract_of(_day="date"))[0]] == [1]


def test_partitions_differ_by_case(folder: Path) -> None:
    put(folder, "things/kind=A/1.csv", "things/kind=a/1.csv")
    assert [value["kind"] for value in read(folder, contract_of(kind="text"))[0]] == ["A", "a"]


def test_a_file_outside_of_the_partitions_lacks_their_column(folder: Path) -> None:
    put(folder, "things/day=2026-01-01/1.csv", "things/2.csv")
    with pytest.raises(SourceInvalid, match=r"things/2.csv in .* lacks column 'day'"):
        read(folder, contract_of(day="date"))


def test_names_of_any_script_are_found(folder: Path) -> None:
    (folder / "Cafe\u0301 日本.csv").write_text(CSV.format(1))  # as macOS writes é
    assert len(read(folder, replace(contract_of(a="text"), table="Caf\u00e9 日本"))[0]) == 1
