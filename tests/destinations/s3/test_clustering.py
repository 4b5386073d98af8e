"""`cluster_by`: maintenance sorts the rows that it merges, at a cost that does not grow with the partition."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ownlens_plugins.contracts import Kind
from ownlens_s3.compacting import Compaction
from ownlens_s3.config import S3Options
from ownlens_s3.destination import S3Destination

from . import test_foreign as theirs
from .foreign_tables import make_table, mapped
from .loads import Loader, contract_of
from .test_maintenance import both, maintain

SORTABLE = [each.name for each in contract_of("append").columns if each.type.kind is not Kind.ARRAY]


def loader_of(local: S3Destination, folder: Path, *columns: str, partition: str = "none") -> Loader:
    options = {"cluster_by": list(columns)}
    return Loader(local, contract_of("append", partition=partition, options=options), folder)


def operations(loader: Loader) -> list[str]:
    """Return what was done to the table, newest first."""
    table = DeltaTable(loader.destination.folder(loader.contract).uri)
    return [
        str((commit.get("operationMetrics") or {}).get("plannerStrategy") or commit["operation"])
        for commit in table.history()
    ]


@pytest.mark.parametrize("partition", ["none", "day", "month"])
def test_merged_rows_are_sorted(local: S3Destination, tmp_path: Path, partition: str) -> None:
    columns = ("created_at", "id") if partition == "day" else ("day", "id")
    loader = loader_of(local, tmp_path, *columns, partition=partition)
    sets = [loader.rows(30, first=30 * number) for number in (1, 2, 3)]
    for number, rows in enumerate(sets, 1):
        loader.load(number, rows, parts=1)
    assert both(loader)["compaction"].files == (9 if partition == "day" else 3)
    assert "zOrder" in operations(loader)
    assert both(loader) == {}
    loader.require(*sets)
    assert all(loader.load(number, rows, parts=1).replayed for number, rows in enumerate(sets, 1))


def test_a_few_new_rows_do_not_sort_all_others_again(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, "id")
    sets = [loader.rows(2000), *(loader.rows(1, first=number) for number in (3000, 3001))]
    loader.contract = contract_of("append", partition="none", options={"cluster_by": ["id"], "compression": "none"})
    for number, rows in enumerate(sets, 1):
        loader.load(number, rows, parts=1)
    table = DeltaTable(local.folder(loader.contract).uri)
    sizes = pa.table(table.get_add_actions(flatten=True))["size_bytes"].to_pylist()
    assert 4 * sum(sorted(sizes)[:2]) < max(sizes)
    options = S3Options.model_validate(loader.contract.options_for("s3"))
    compact_only(local, loader, options, target=max(sizes) - 1)
    assert "zOrder" not in operations(loader)
    loader.require(*sets)


def compact_only(local: S3Destination, loader: Loader, options: S3Options, target: int) -> None:
    """Merge with a target in bytes, below what the option takes."""

    class Small(S3Options):
        @property
        def target_file_bytes(self) -> int:
            return target

    small = Small.model_validate(options.model_dump())
    lake = local.delta(loader.contract, small)
    Compaction(lake.folder, lake.handles, loader.contract, small, lake.layout).run()


def test_all_types_can_be_sorted(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, *SORTABLE)
    for number in (1, 2):
        loader.load(number, loader.rows(20, first=20 * number), parts=1)
    both(loader)
    assert "zOrder" in operations(loader)
    loader.require(loader.rows(40, first=20))


def test_a_column_that_is_not_in_the_table_yet(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, "later")
    for number in (1, 2):
        loader.load(number, loader.rows(20, first=20 * number), parts=1)
    assert maintain(loader)["compaction"].files == 2
    assert "zOrder" not in operations(loader)


def test_a_table_with_mapped_columns_is_left_out_and_that_is_said(
    local: S3Destination, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = theirs.loader_of(local, tmp_path, "append")
    make_table(theirs.uri(loader), mapped(theirs.FIELDS), reader=2, writer=5, configuration=theirs.MAPPED)
    options = {**loader.contract.options_for("s3"), "cluster_by": ["id"]}
    loader.contract = replace(loader.contract, destinations={"s3": options})
    for number in (1, 2):
        loader.load(number, theirs.rows(loader, number))
    with caplog.at_level(logging.WARNING, "ownlens.s3"):
        assert "compaction" not in maintain(loader)
    assert "small files in s3 are neither merged nor sorted by cluster_by: the table has mapped columns" in caplog.text


def test_columns_that_cannot_sort_are_named() -> None:
    contract = contract_of("append", partition="day", partition_by="day")
    arrays = [each.name for each in contract.columns if each.type.kind is Kind.ARRAY]
    options = S3Options.model_validate(
        {"strategy": "append", "partition": "day", "cluster_by": ["id", "nowhere", "day", *arrays]}
    )
    (problem,) = options.problems(contract)
    assert problem.startswith("cluster_by names 'nowhere', 'day'")
    assert all(repr(name) in problem for name in arrays)
    assert not list(options.model_copy(update={"cluster_by": ("id",)}).problems(contract))
