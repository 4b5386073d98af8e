"""What the files themselves hold: compression, plain types, statistics, and how many there are."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder

from ownlens_plugins.contracts import contract_from
from ownlens_s3 import datafiles
from ownlens_s3.destination import S3Destination
from ownlens_s3.paths import attempt_of
from tests.destinations.s3.loads import Loader, contract_of


def data_files(loader: Loader) -> list[Path]:
    return sorted(Path(loader.destination.folder(loader.contract).uri).rglob("part-*"))


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("upsert", "delta"), ("overwrite", "parquet")])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "none"])
def test_parquet_files_are_compressed_as_asked(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, compression: str
) -> None:
    loader = Loader(local, contract_of(strategy, form, options={"compression": compression}), tmp_path)
    loader.load(1, loader.rows(50))
    loader.load(2, loader.rows(50, version=1))  # the merge writes files of its own
    expected = {"none": "UNCOMPRESSED"}.get(compression, compression.upper())
    files = data_files(loader)
    assert {_codec(file) for file in files} == {expected}
    assert files
    if compression != "none":
        assert all(f".{compression}." in file.name for file in files if attempt_of(file.name))


def _codec(file: Path) -> str:
    return str(pq.read_metadata(file).row_group(0).column(0).compression)


@pytest.mark.parametrize(
    ("compression", "suffix", "magic"),
    [("zstd", ".json.zst", b"\x28\xb5\x2f\xfd"), ("gzip", ".json.gz", b"\x1f\x8b"), ("none", ".json", b'{"id"')],
)
def test_json_files_are_compressed_as_asked(
    local: S3Destination, tmp_path: Path, compression: str, suffix: str, magic: bytes
) -> None:
    loader = Loader(local, contract_of("overwrite", "json", options={"compression": compression}), tmp_path)
    loader.load(1, loader.rows(50))
    for file in data_files(loader):
        assert file.name.endswith(suffix)
        assert file.read_bytes().startswith(magic)
    loader.require(loader.rows(50))


def test_json_lines_can_be_read_by_people(local: S3Destination, tmp_path: Path) -> None:
    options = {"compression": "none"}
    loader = Loader(local, contract_of("overwrite", "json", "none", options=options), tmp_path)
    loader.load(1, loader.rows(30), parts=1)
    (file,) = data_files(loader)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 30
    row = rows[2]
    assert row["token"] == "00000000-0000-0000-0000-000000000003"
    assert row["amount"] == "2.4690"
    assert row["clock"] == "02:02:02.000002"
    assert row["created_at"] == "2026-01-03T00:00:00.000002Z"
    assert rows[3]["local_at"] == "2026-01-01T00:00:00.000003"
    assert row["day"] == "2026-01-03"
    assert row["payload"] == '{"n": 2, "v": 0}'
    assert row["blob"] == "AAAAAAAAAAI="
    assert row["tags"] == ["t2", ""]


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet")])
def test_files_hold_plain_types_only(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    """A file with `arrow.uuid` in a Delta table cannot be read by pyarrow at all."""
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(10))
    for file in data_files(loader):
        assert b"arrow.uuid" not in file.read_bytes()
        assert b"ARROW:schema" not in file.read_bytes()
        schema = pq.read_schema(file)
        assert schema.field("token").type == pa.string()
        assert schema.field("clock").type == pa.int64()
        assert schema.field("payload").type == pa.string()


def test_other_readers_see_the_delta_table(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    loader.load(1, loader.rows(30))
    files = [str(file) for file in data_files(loader)]
    question = "SELECT count(*), count(DISTINCT token), count(DISTINCT _ownlens_day) FROM read_parquet(?)"
    (found,) = duckdb.connect().execute(question, [files]).fetchall()
    assert found == (30, 30 - loader.rows(30)["token"].null_count, 3)


def test_statistics_are_true_and_let_readers_skip(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datafiles, "BUFFER_BYTES", 1)  # one row group for each batch of 20 rows
    monkeypatch.setattr("ownlens_plugins.api.ROWS_PER_BATCH", 20)
    loader = Loader(local, contract_of("append"), tmp_path)
    rows = loader.rows(100)
    loader.load(1, rows)
    table = DeltaTable(local.folder(loader.contract).uri)
    for action in pa.table(table.get_add_actions()).to_pylist():
        path = Path(table.table_uri.removeprefix("file://")) / action["path"]
        assert pq.read_metadata(path).num_row_groups > 1
        content = pq.read_table(path)
        assert action["num_records"] == content.num_rows
        for name, low in action["min"].items():
            if low is not None:
                plain = [value for value in content[name].to_pylist() if value is not None]
                assert (low, action["max"][name]) == (min(plain), max(plain)), name
        for name, nulls in action["null_count"].items():
            assert nulls in (None, content[name].null_count), name
        assert action["min"]["id"] is not None
        assert action["min"]["title"] is not None
        assert action["min"]["updated_at"] is not None
        assert action["min"]["ratio"] is None  # NaN has no place between bounds
    for condition, expected in [
        ("id BETWEEN 10 AND 19", 10),
        ("day = DATE '2026-01-02'", 33),
        ("created_at >= TIMESTAMP '2026-01-03T00:00:00.000050Z'", 17),
        ("title IS NULL", rows["title"].null_count),
        ("_ownlens_day = DATE '2026-01-01'", 34),
    ]:
        found = pa.table(QueryBuilder().register("t", table).execute(f"SELECT id FROM t WHERE {condition}").read_all())
        assert found.num_rows == expected, condition


def test_long_text_gets_no_bounds(local: S3Destination, tmp_path: Path) -> None:
    columns = {"id": "int64", "long": "text", "empty": "text?", "created_at": "timestamptz"}
    loader = Loader(local, contract_of("append", columns=columns), tmp_path)
    rows = [{"id": 1, "long": "x" * 5000, "created_at": 0}]
    loader.load(1, pa.Table.from_pylist(rows, schema=loader.contract.arrow_schema))
    (action,) = pa.table(DeltaTable(local.folder(loader.contract).uri).get_add_actions()).to_pylist()
    assert action["min"]["long"] is None
    assert action["null_count"] == {"id": 0, "long": 0, "empty": 1, "created_at": 0}


def wide_contract() -> object:
    return contract_from(
        {
            "table": "wide",
            "domain": "tests",
            "preset": "events",
            "key": ["id"],
            "partition_by": "day",
            "path": "tests/wide",
            "columns": {"id": "int64", "day": "date", "text": "text", "created_at": "timestamptz"},
            "destinations": {"s3": {"strategy": "append", "format": "delta", "partition": "day"}},
        }
    )


def wide_rows(loader: Loader, count: int, days: int, *, shuffled: bool) -> pa.Table:
    numbers = np.arange(count)
    if shuffled:
        numbers = np.random.default_rng(3).permutation(count)
    offsets = (numbers * days // count).astype(np.int32)
    columns = [
        pa.array(numbers),
        pa.array(offsets + (date(2020, 1, 1) - date(1970, 1, 1)).days).cast(pa.date32()),
        pa.array([f"some text {number}" for number in numbers]),
        pa.array(numbers).cast(pa.timestamp("us", "UTC")),
    ]
    return pa.Table.from_arrays(columns, schema=loader.contract.arrow_schema)


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("days", "buffer"), [(60, 48 << 20), (60, 1 << 20), (200, 48 << 20), (200, 2 << 20)])
def test_many_partitions_in_one_load(
    local: S3Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, buffer: int, shuffled: bool
) -> None:
    """Few files and no open-file limit, whether rows come in order or not and however little memory there is."""
    monkeypatch.setattr(datafiles, "BUFFER_BYTES", buffer)
    loader = Loader(local, wide_contract(), tmp_path)  # type: ignore[arg-type]
    rows = wide_rows(loader, 200_000, days, shuffled=shuffled)
    loader.load(1, rows, parts=1)
    files = data_files(loader)
    assert len({file.parent for file in files}) == days
    rounds = 1 if days <= datafiles.MAX_OPEN_FILES or buffer > rows.nbytes else -(-rows.nbytes // buffer) + 1
    assert len(files) <= days * rounds
    landed = loader.landed().sort_by("id")
    assert landed.equals(rows.sort_by("id"))


def test_sorted_rows_become_one_row_group_a_day(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, wide_contract(), tmp_path)  # type: ignore[arg-type]
    loader.load(1, wide_rows(loader, 200_000, 20, shuffled=False), parts=1)
    groups = [pq.read_metadata(file).num_row_groups for file in data_files(loader)]
    assert len(groups) == 20
    assert max(groups) <= 2
