"""One file of a source: compression, encodings, long rows, half-written and damaged content."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.errors import SourceInvalid

from .conforming_rows import contract_of
from .files_reading import WHOLE, read, source


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd}
FORMATS = {
    "csv": b"id,a\n1,x\n2,\xc3\xa9\n",
    "tsv": b'id\ta\n1\tx\n2\t"\xc3\xa9"\n',
    "json": b'[{"id": 1, "a": "x"}, {"id": 2, "a": "\xc3\xa9"}]',
    "jsonl": b'{"id": 1, "a": "x"}\n{"id": 2, "a": "\xc3\xa9"}\n',
    "ndjson": b'\n{"id": 1, "a": "x"}\r\n\r\n{"id": 2, "a": "\xc3\xa9"}',
}
EXPECTED = [{"id": 1, "a": "x"}, {"id": 2, "a": "é"}]


def refusal(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    with pytest.raises(SourceInvalid) as caught:
        read(folder, contract_of(a="text"))
    text = str(caught.value)
    assert text.startswith(f"things: cannot read {name}: ")
    assert "\n" not in text
    assert "; " in text
    return text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("codec", ["", *COMPRESS])
@pytest.mark.parametrize("upper", [False, True])
def test_every_format_in_every_compression(folder: Path, form: str, codec: str, upper: bool) -> None:
    suffix = f".{form}.{codec}" if codec else f".{form}"
    content = COMPRESS[codec](FORMATS[form]) if codec else FORMATS[form]
    (folder / f"things{suffix.upper() if upper else suffix}").write_bytes(content)
    assert read(folder, contract_of(a="text")) == (EXPECTED, [])


@pytest.mark.parametrize("codec", COMPRESS)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_compressed_files_of_several_members(folder: Path, form: str, codec: str) -> None:
    whole, compress = FORMATS[form], COMPRESS[codec]
    (folder / f"things.{form}.{codec}").write_bytes(b"".join(compress(piece) for piece in (whole[:7], whole[7:])))
    assert read(folder, contract_of(a="text")) == (EXPECTED, [])


@pytest.mark.parametrize("codec", COMPRESS)
@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_compressed_files_that_end_too_early_or_go_on_are_refused(folder: Path, form: str, codec: str) -> None:
    whole = COMPRESS[codec](FORMATS[form])
    for size in range(1, len(whole)):
        text = refusal(folder, f"things.{form}.{codec}", whole[:size])
        assert "its compressed content ends too early; write it again" in text
    refusal(folder, f"things.{form}.{codec}", whole + b"rest")
    refusal(folder, f"things.{form}.{codec}", FORMATS[form])


@pytest.mark.parametrize("place", [12, -6, -2])
def test_a_damaged_gzip_is_refused(folder: Path, place: int) -> None:
    content = bytearray(gzip.compress(FORMATS["csv"]))
    content[place] ^= 0x10
    refusal(folder, "things.csv.gz", bytes(content))


def test_a_parquet_file_is_refused_at_every_length(folder: Path) -> None:
    pq.write_table(pa.Table.from_pylist(EXPECTED), folder / "things.parquet")
    whole = (folder / "things.parquet").read_bytes()
    for size in range(1, len(whole)):
        refusal(folder, "things.parquet", whole[:size])


def test_a_half_written_file_among_good_ones_is_found_before_the_first_row(folder: Path) -> None:
    (folder / "things").mkdir()
    for name in "abc":
        pq.write_table(pa.Table.from_pylist(EXPECTED), folder / f"things/{name}.parquet")
    (folder / "things/c.parquet").write_bytes((folder / "things/c.parquet").read_bytes()[:-9])
    with source(folder).snapshot() as snapshot, pytest.raises(SourceInvalid, match=r"cannot read things/c\.parquet"):
        snapshot.read(contract_of(a="text"), WHOLE).__enter__()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("codec", ["", "gz"])
def test_a_byte_order_mark_belongs_to_no_name(folder: Path, form: str, codec: str) -> None:
    content = b"\xef\xbb\xbf" + FORMATS[form]
    name = f"things.{form}.gz" if codec else f"things.{form}"
    (folder / name).write_bytes(gzip.compress(content) if codec else content)
    assert read(folder, contract_of(a="text")) == (EXPECTED, [])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_other_encodings_are_refused_with_the_reason(folder: Path, form: str, encoding: str) -> None:
    text = refusal(folder, f"things.{form}", FORMATS[form].decode().encode(encoding))
    assert text.endswith(": it is not UTF-8 text; write it in UTF-8, or remove it")


def test_a_header_in_another_encoding_is_refused_alike(folder: Path) -> None:
    text = refusal(folder, "things.csv", "id,a,é\n1,x,y\n".encode("latin-1"))
    assert text.endswith(": it is not UTF-8 text; write it in UTF-8, or remove it")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_endings_and_those_inside_of_values(folder: Path, ending: str, last: bool) -> None:
    lines = ["id,a", '1,"x\r\ny\nz"', '2,"1"""', '3,"""', '4,"""']
    text = ending.join(lines[:3]) + (ending if last else "")
    (folder / "things.csv").write_bytes(text.encode())
    kept, refused = read(folder, contract_of(a="text"))
    assert (kept, refused) == ([{"id": 1, "a": "x\r\ny\nz"}, {"id": 2, "a": '1"'}], [])


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("field", ['"abc', '"', '"a""', '"a\n2,b', '"a"",b\n3,""', '"a\n""'])
def test_a_quote_that_does_not_end_is_refused_and_swallows_no_row(folder: Path, field: str, ending: str) -> None:
    refusal(folder, "things.csv", f"id,a\n1,{field}{ending}".encode())


@pytest.mark.parametrize("field", ["abc", '"abc"', '""', "", '"a\n"', '5" disk', '"a"""', '"\n"""', '"."', 'x"y'])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_the_last_field_is_read_as_it_is(folder: Path, field: str, ending: str) -> None:
    (folder / "things.csv").write_bytes(f"id,a\n1,x\n2,{field}{ending}".encode())
    kept, refused = read(folder, contract_of(a="text?"))
    assert refused == []
    meant = None if field == "" else field[1:-1].replace('""', '"') if field[0] == '"' else field
    assert [value["a"] for value in kept] == ["x", meant]


def test_columns_stand_in_any_order_and_others_are_left_out(folder: Path) -> None:
    (folder / "things").mkdir()
    (folder / "things/1.csv").write_text("a,b,id,b\nx,,1,\n")
    (folder / "things/2.csv").write_text("ID,id,a\n9,2,é\n")
    assert read(folder, contract_of(a="text")) == (EXPECTED, [])


@pytest.mark.parametrize("codec", ["", "gz"])
@pytest.mark.parametrize("before", [0, 200_000])
def test_a_csv_field_of_many_megabytes(folder: Path, before: int, codec: str) -> None:
    rows = [f"{n},x" for n in range(before)] + [f'{before},"{"y" * 3_000_000}"', f'{before + 1},"{"z" * 12_000_000}"']
    content = "\n".join(["id,a", *rows, f"{before + 2},last"]).encode()
    (folder / ("things.csv.gz" if codec else "things.csv")).write_bytes(gzip.compress(content, 1) if codec else content)
    kept, refused = read(folder, contract_of(a="text"))
    assert refused == []
    assert [value["id"] for value in kept] == list(range(before + 3))
    assert [len(value["a"]) for value in kept[before:]] == [3_000_000, 12_000_000, 4]


@pytest.mark.parametrize("codec", ["", *COMPRESS])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_files_are_read_as_their_rows_are_taken(
    folder: Path, form: str, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ownlens_plugins.engine.sources.file_formats._BLOCKS", (1 << 16, 1 << 18, 1 << 20))
    line = "{0},{1}\n" if form == "csv" else '{{"id": {0}, "a": "{1}"}}\n'
    lines = (line.format(n, random.randbytes(60).hex()) for n in range(60_000))
    content = (("id,a\n" if form == "csv" else "") + "".join(lines)).encode()
    file = folder / (f"things.{form}.{codec}" if codec else f"things.{form}")
    file.write_bytes(COMPRESS[codec](content) if codec else content)
    with source(folder).snapshot() as snapshot, snapshot.read(contract_of(a="text"), WHOLE) as extracted:
        assert extracted.reader.read_next_batch().num_rows > 0
        assert extracted.reader.read_next_batch().num_rows > 0
        time.sleep(0.1)  # for what reads ahead
        assert position(file) < 0.8 * file.stat().st_size
        assert sum(batch.num_rows for batch in extracted.reader) > 0


def position(file: Path) -> int:
    """Return how far this process has read a file that it holds open."""
    opened = [link.name for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(file)]
    lines = [line.split() for name in opened for line in Path(f"/proc/self/fdinfo/{name}").read_text().splitlines()]
    return max(int(number) for word, number in (line[:2] for line in lines) if word == "pos:")


def test_json_of_many_lines_is_counted_from_the_first(folder: Path) -> None:
    lines = [json.dumps({"id": n, "a": "x"}) for n in range(3)]
    text = refusal(folder, "things.jsonl", "\n".join(["", "", *lines, "{"]).encode())
    assert ": line 6 is not JSON; " in text
