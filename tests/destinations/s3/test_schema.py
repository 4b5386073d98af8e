"""A contract that changed: new nullable columns are added, everything else is refused before data moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing.samples import EVERY_TYPE
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, all_files, contract_of, left_over

STRATEGIES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]


def changed(columns: Mapping[str, str | None], strategy: str, form: str, **overrides: Any) -> Any:
    merged = {**EVERY_TYPE, **columns}
    return contract_of(strategy, form, columns={n: kind for n, kind in merged.items() if kind}, **overrides)


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_new_nullable_columns_are_added(destination: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    old = Loader(destination, contract_of(strategy, form), tmp_path)
    first = old.rows(10)
    old.load(1, first)
    added = {"note": "text?", "owner": "uuid?", "odd näme": "array<time>?", "at": "timestamp?"}
    new = Loader(destination, changed(added, strategy, form), tmp_path)
    second = new.rows(10, first=10)
    values = pa.array([[0, None]] * 10, pa.list_(pa.int64())).cast(pa.list_(pa.time64("us")))
    place = second.schema.get_field_index("odd näme")
    second = second.set_column(place, second.schema.field(place), values)
    new.load(2, second)
    widened = [first] if strategy != "overwrite" else []
    new.require(pa.concat_tables([second, *widened], promote_options="default"))
    assert left_over(destination, new.plans[2]) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"note": "text"}, r"lacks column 'note', which it can get as text\?: change the contract back"),
        ({"medium": "int16?"}, r"holds 'medium' as int32 and the contract says int16"),
        ({"medium": "float64?"}, r"holds 'medium' as int32 and the contract says float64"),
        ({"ratio": "float32?"}, r"holds 'ratio' as float64 and the contract says float32"),
        ({"amount": "decimal(18,5)?"}, r"holds 'amount' as decimal\(18,4\) and the contract says decimal\(18,5\)"),
        ({"title": "enum(a)?"}, r"holds 'title' as text and the contract says enum\(a\)"),
        ({"title": "uuid?"}, r"holds 'title' as text and the contract says uuid"),
        ({"token": "text?"}, r"holds 'token' as uuid and the contract says text"),
        ({"amount": "decimal(18,2)?"}, r"holds 'amount' as decimal\(18,4\) and the contract says decimal\(18,2\)"),
        ({"tags": "array<int32>?"}, r"holds 'tags' as array<text> and the contract says array<int32>"),
        (
            {"medium": "int16?", "ratio": "float32?", "note": "text", "title": "enum(a)?"},
            r"holds 'medium' as int32 .*; holds 'ratio' as float64 .*; holds 'title' as text .*; lacks column 'note'",
        ),
    ],
)
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_other_changes_are_refused_and_nothing_moves(
    local: S3Destination, tmp_path: Path, strategy: str, form: str, columns: dict[str, str | None], message: str
) -> None:
    old = Loader(local, contract_of(strategy, form), tmp_path)
    old.load(1, old.rows(10))
    before = all_files(local, old.contract)
    new = Loader(local, changed(columns, strategy, form), tmp_path)
    with pytest.raises(Rejected, match=rf"^samples: the table in s3 {message}") as caught:
        new.load(2, new.rows(0))
    assert "\n" not in str(caught.value)
    assert all_files(local, old.contract) == before
    old.require(old.rows(10))


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_freeze_refuses_even_new_columns(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    old = Loader(local, contract_of(strategy, form), tmp_path)
    old.load(1, old.rows(10))
    new = Loader(local, changed({"note": "text?"}, strategy, form, schema_policy="freeze"), tmp_path)
    with pytest.raises(
        Rejected,
        match="lacks column 'note'; schema_policy is freeze: change the contract back, set schema_policy: evolve",
    ):
        new.load(2, new.rows(10))
    old.require(old.rows(10))


def test_enums_may_get_labels(local: S3Destination, tmp_path: Path) -> None:
    old = Loader(local, contract_of("append"), tmp_path)
    old.load(1, old.rows(10))
    new = Loader(local, changed({"status": "enum(draft, live, gone, hidden)?"}, "append", "delta"), tmp_path)
    new.load(2, new.rows(10, first=10))
    new.require(old.rows(10), new.rows(10, first=10))


def test_another_partitioning_is_refused(local: S3Destination, tmp_path: Path) -> None:
    Loader(local, contract_of("append"), tmp_path).load(1, Loader(local, contract_of("append"), tmp_path).rows(5))
    monthly = Loader(local, contract_of("append", partition="month"), tmp_path)
    message = re.escape("partitioned by ['_ownlens_day'] and the contract asks for ['_ownlens_month']; change")
    with pytest.raises(Rejected, match=message):
        monthly.load(2, monthly.rows(5))


def test_partitions_need_a_column(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append", partition_by=None), tmp_path)
    with pytest.raises(Rejected, match="samples: s3: partition: day needs partition_by in the contract; name a column"):
        loader.load(1, loader.rows(5))


def test_a_table_made_by_another_program_is_judged_by_its_plain_types(local: S3Destination, tmp_path: Path) -> None:
    columns = {"id": "int64?", "title": "text?", "created_at": "timestamptz?", "token": "uuid?"}
    loader = Loader(
        local,
        contract_of("append", partition="none", columns={**columns, "id": "int64", "created_at": "timestamptz"}),
        tmp_path,
    )
    folder = local.folder(loader.contract).uri
    moment = pa.array([0], pa.timestamp("us", "UTC"))
    write_deltalake(folder, pa.table({"id": [1], "title": ["theirs"], "created_at": moment}))
    rows = pa.Table.from_pylist(
        [{"id": 2, "title": "ours", "created_at": 0, "token": b"0123456789abcdef"}], schema=loader.contract.arrow_schema
    )
    loader.load(1, rows)
    landed = loader.landed().sort_by("id").to_pylist()
    assert [(row["id"], row["title"], row["token"] is None) for row in landed] == [
        (1, "theirs", True),
        (2, "ours", False),
    ]
