"""Long values, long records and wide tables: they arrive, or the message says where and what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources import file_formats, json_lines
from ownlens_plugins.engine.sources.source import Extracted, Selection
from ownlens_plugins.errors import SourceInvalid

from ..conftest import Database
from .conforming_rows import contract_of
from .files_reading import WHOLE, read, source

MIB = 1 << 20
TEXTS = contract_of(value="text?")


def csv(before: int, length: int, quote: str = "") -> str:
    rows = [f"{number},x" for number in range(before)]
    return "\n".join(["id,value", *rows, f"{before},{quote}{'y' * length}{quote}", f"{before + 1},z", ""])


@pytest.mark.parametrize(
    ("length", "before", "quote"), [(3 * MIB, 0, ""), (3 * MIB, 10, '"'), (3 * MIB, 300_000, ""), (40 * MIB, 10, '"')]
)
def test_long_fields_of_csv_arrive_with_the_rows_around_them(
    tmp_path: Path, length: int, before: int, quote: str
) -> None:
    (tmp_path / "things.csv").write_text(csv(before, length, quote))
    rows, reasons = read(tmp_path, TEXTS)
    assert (len(rows), reasons) == (before + 2, [])
    assert [(row["id"], len(row["value"])) for row in rows[before:]] == [(before, length), (before + 1, 1)]


def test_long_fields_of_packed_csv_arrive(tmp_path: Path) -> None:
    (tmp_path / "things.csv.gz").write_bytes(gzip.compress(csv(10, 20 * MIB).encode(), 1))
    rows, _ = read(tmp_path, TEXTS)
    assert len(rows[10]["value"]) == 20 * MIB


@pytest.mark.parametrize("before", [0, 5_000])
def test_a_row_that_is_longer_than_all_blocks_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(file_formats, "_BLOCKS", (1 << 12, 1 << 13))
    (tmp_path / "things.csv").write_text(csv(before, 1 << 15))
    with pytest.raises(SourceInvalid) as caught:
        read(tmp_path, TEXTS)
    place, _, rest = str(caught.value).partition("a row is longer than 1,024 MiB; ")
    assert rest == "shorten it, or write Parquet"
    assert place.startswith("things: cannot read things.csv: ")
    if before:
        number = int(place.rsplit("behind row ")[1].split(":")[0].replace(",", ""))
        assert before - 2_000 < number <= before
    (tmp_path / "things.csv").write_text(csv(before, 1 << 10))
    assert len(read(tmp_path, TEXTS)[0]) == before + 2


def test_files_of_very_many_columns_arrive(tmp_path: Path) -> None:
    names = [f"a_column_with_a_long_name_{number}" for number in range(60_000)]
    header = ",".join(["id", *names, "value"])
    assert len(header) > MIB
    (tmp_path / "things.csv").write_text(f"{header}\n1,{',' * (len(names) - 1)},x\n")
    assert read(tmp_path, TEXTS) == ([{"id": 1, "value": "x"}], [])


@pytest.mark.parametrize("form", ["lines", "array"])
def test_long_records_make_short_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(json_lines, "CHARACTERS_PER_BATCH", 10_000)
    records = [f'{{"id": {number}, "value": "{"y" * 999}"}}' for number in range(100)]
    text = "\n".join(records) if form == "lines" else f"[{','.join(records)}]"
    (tmp_path / "things.json").write_text(text)
    with source(tmp_path).snapshot() as snapshot, snapshot.read(TEXTS, WHOLE) as extracted:
        sizes = [batch.num_rows for batch in extracted.reader]
    assert sum(sizes) == 100
    assert max(sizes) <= 10


def test_a_long_line_of_json_arrives(tmp_path: Path) -> None:
    (tmp_path / "things.jsonl").write_text(f'{{"id": 1, "value": "{"y" * 50 * MIB}"}}\n{{"id": 2, "value": "z"}}')
    rows, _ = read(tmp_path, TEXTS)
    assert [len(row["value"]) for row in rows] == [50 * MIB, 1]


def test_batches_that_one_array_could_not_hold_are_cast_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ownlens_plugins.engine.conforming._MOST_BYTES", 10_000)
    ids = pa.array(range(1_000), pa.int64())
    plain = pa.array([f"{number:0100}" for number in range(1_000)])
    for values, pieces in ((plain, 16), (plain.dictionary_encode(), 2), (plain.cast(pa.large_string()), 16)):
        table = pa.table({"id": ids, "value": values})
        batches = [*Conformed(TEXTS, Extracted(table.to_reader())).batches()]
        assert pa.Table.from_batches(batches).column("value").to_pylist() == plain.to_pylist()
        assert len(batches) == pieces


def test_the_widest_table_of_postgresql_arrives(database: Database) -> None:
    names = [f"c{number}" for number in range(1_599)]
    database.execute(f"CREATE TABLE things (id bigint, {', '.join(f'{name} int' for name in names)})")
    database.execute("INSERT INTO things (id, c0, c1598) VALUES (1, 2, 3)")
    contract = contract_of(**dict.fromkeys(names, "int32?"))
    selection = Selection(Extraction.WHOLE, WHOLE.window)
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        (row,) = (row for batch in Conformed(contract, extracted).batches() for row in batch.to_pylist())
    assert (row["id"], row["c0"], row["c7"], row["c1598"]) == (1, 2, None, 3)


def test_long_texts_bytes_and_arrays_of_postgresql_arrive(database: Database) -> None:
    database.execute("CREATE TABLE things (id bigint, t text, b bytea, a int[], j jsonb)")
    database.execute("""INSERT INTO things SELECT g, repeat('é', 50000000), repeat('x', 20000000)::bytea,
        (SELECT array_agg(i) FROM generate_series(1, 1000000) i), to_jsonb(repeat('y', 20000000))
        FROM generate_series(1, 2) g""")
    contract = contract_of(t="text", b="bytes", a="array<int32>", j="json")
    selection = Selection(Extraction.WHOLE, WHOLE.window)
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        for batch in Conformed(contract, extracted).batches():
            for row in range(batch.num_rows):
                assert len(batch.column("t")[row].as_py()) == 50_000_000
                assert len(batch.column("b")[row].as_py()) == 20_000_000
                assert len(batch.column("a")[row]) == 1_000_000
                assert len(batch.column("j")[row].as_py()) == 20_000_002
