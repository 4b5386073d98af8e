"""Plugins change rows while they are staged, and what they return must fit the contract again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from ownlens_plugins import hookimpl
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Rejected
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import canonical_rows, sample_contract, sample_rows, sample_table

from .staging_rows import WHOLE, WINDOW, extracted, ids, reads, row, rows, stage, staged_rows


def plug(registry: Registry, change: Callable[[TableContract, Any], Any], name: str = "test") -> None:
    class Plugin:
        @hookimpl
        def ownlens_transform(self, contract: TableContract, frame: Any) -> Any:
            return change(contract, frame)

    registry.register(Plugin(), name)


def test_a_transform_changes_filters_and_adds_rows(area: StagingArea, registry: Registry) -> None:
    seen = []

    def change(contract: TableContract, frame: Any) -> Any:
        seen.append((contract.table, type(frame)))
        return frame.filter(nw.col("read_id") > 1).with_columns(nw.col("title").str.to_uppercase())

    plug(registry, change)
    manifest = stage(area, reads(), rows(1, 2, 3))
    assert [(value["read_id"], value["title"]) for value in staged_rows(area, manifest)] == [(2, "T"), (3, "T")]
    assert seen == [("reads", nw.LazyFrame)]


def test_a_transform_that_returns_none_or_the_frame_changes_no_byte(area: StagingArea, registry: Registry) -> None:
    first = stage(area, reads("reference"), rows(1, 2), WHOLE)
    plug(registry, lambda contract, frame: None, "none")
    plug(registry, lambda contract, frame: frame, "same")
    assert area.stage(reads("reference"), extracted(rows(1, 2)), WHOLE) is None
    assert area.latest("reads") == first


def twins(**changes: Any) -> TableContract:
    columns = {"id": "int64", "ID": "int64", "created_at": "timestamptz", "updated_at": "timestamptz"}
    return reads(key=["ID"], columns=columns, partition_by="created_at", **changes)


def twin_rows(*values: tuple[int, int]) -> Extracted:
    stamp = pa.array([0] * len(values), pa.int64()).cast(pa.timestamp("us", "UTC"))
    first, second = (pa.array(column, pa.int64()) for column in zip(*values, strict=True))
    table = pa.Table.from_arrays([first, second, stamp, stamp], names=["id", "ID", "created_at", "updated_at"])
    return Extracted(table.to_reader())


def test_columns_that_differ_in_case_only_are_refused_where_a_hook_changes_their_table(
    area: StagingArea, registry: Registry
) -> None:
    plug(registry, lambda contract, frame: frame.head(1) if contract.table == "changed" else frame)
    assert area.stage(twins(), twin_rows((1, 1), (1, 2)), WINDOW) is not None
    with pytest.raises(Rejected, match="changed: ownlens_transform cannot tell 'id' and 'ID' apart"):
        area.stage(twins(table="changed"), twin_rows((1, 1)), WINDOW)


def test_rows_that_a_transform_makes_are_conformed_and_made_unique_again(area: StagingArea, registry: Registry) -> None:
    def change(contract: TableContract, frame: Any) -> Any:
        spoiled = nw.when(nw.col("title") == "bad").then(None).otherwise(nw.col("read_id") % 2)
        return frame.with_columns(spoiled.alias("read_id"))

    plug(registry, change)
    manifest = stage(area, reads(), [*rows(1, 2, 3), row(4, "bad"), row(None)])
    assert sorted(ids(area, manifest)) == [0, 1]
    assert (manifest.rows, manifest.rejected) == (2, 3)


def test_every_type_survives_a_transform_of_another_column(area: StagingArea, registry: Registry) -> None:
    contract = sample_contract("events")
    table = sample_table(contract, sample_rows(50))
    plug(registry, lambda contract, frame: frame.with_columns(nw.col("medium") + 1))
    manifest = area.stage(contract, Extracted(table.to_reader()), WINDOW)
    assert manifest is not None
    assert manifest.rejected == 0
    batches = [batch for part in area.parts(manifest) for batch in part.read()]
    staged = pa.Table.from_batches(batches, contract.arrow_schema)
    others = [name for name in contract.column_names if name != "medium"]
    assert canonical_rows(staged.select(others)) == canonical_rows(table.select(others))
    numbers = [None if value is None else value + 1 for value in table["medium"].to_pylist()]
    assert sorted(staged["medium"].to_pylist(), key=repr) == sorted(numbers, key=repr)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, f: 1 / 0, "reads: ownlens_transform failed: division by zero; correct the plugin"),
        (lambda c, f: "rows", "reads: ownlens_transform returned str, not a narwhals LazyFrame"),
        (lambda c, f: f.collect(), "reads: ownlens_transform returned DataFrame, not a narwhals LazyFrame"),
        (lambda c, f: f.drop("title"), "reads: ownlens_transform dropped 'title'; keep all columns"),
        (
            lambda c, f: f.with_columns(nw.col("title").cast(nw.Int64)),
            "reads: what ownlens_transform asks for cannot be computed (ConversionException); correct the plugin",
        ),
        (lambda c, f: f.filter(nw.col("nope") > 1), "reads: ownlens_transform failed"),
    ],
)
def test_a_transform_that_fails_is_one_line_and_stages_nothing(
    area: StagingArea, registry: Registry, change: Callable[..., Any], message: str
) -> None:
    plug(registry, change)
    with pytest.raises(Rejected) as caught:
        area.stage(reads(), extracted(rows(1)), WINDOW)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert area.manifests("reads") == []


def test_a_table_without_rows_is_not_transformed(area: StagingArea, registry: Registry) -> None:
    plug(registry, lambda contract, frame: 1 / 0)
    assert stage(area, reads(), []).rows == 0
