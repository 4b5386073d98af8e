"""What a refusal of a frame, a transform or a replay says to do is done here, as it is written."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ownlens_plugins import hookimpl, load_frame
from ownlens_plugins.commands import split_names
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.replaying import replay
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.registry import Registry

from .staging_rows import START, WINDOW, reads
from .test_frames import CONTRACT, MOMENT, ROWS, Shop
from .test_frames import shop as shop  # a fixture


def refused(act: Any) -> str:
    with pytest.raises(OwnLensError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- frames

LACKING = pa.table({**ROWS, "nota": ["", None]}).drop(["note"])
NAIVE = pa.table({**ROWS, "created_at": [MOMENT.replace(tzinfo=None)] * 2})
FRAMES: list[tuple[str, Any, Any]] = [
    ("rename or add it in the frame", LACKING, LACKING.rename_columns({"nota": "note"})),
    ("rename or add it in the frame", LACKING, LACKING.append_column("note", pa.array(["", None]))),
    ("hand in one of pyarrow, pandas, polars, DuckDB", pl.DataFrame(ROWS).lazy(), pl.DataFrame(ROWS).lazy().collect()),
    ("convert it before", pd.DataFrame({**ROWS, "note": [object(), 1]}), pd.DataFrame({**ROWS, "note": ["a", "b"]})),
    ("give it a time zone", NAIVE, pa.table(ROWS)),
]


@pytest.mark.parametrize(("advice", "given", "mended"), FRAMES, ids=["rename", "add", "collect", "convert", "zone"])
def test_a_frame_that_was_mended_is_loaded(shop: Shop, advice: str, given: Any, mended: Any) -> None:
    assert advice in refused(lambda: shop.load(given))
    shop.load(mended).raise_if_failed()
    assert len(shop.landed()) == len(shop.landed("two")) == 2


def test_a_column_that_is_taken_out_of_the_contract(shop: Shop) -> None:
    frame = pa.table(ROWS).drop(["note"])
    assert refused(lambda: shop.load(frame)).endswith("or take it out of the contract")
    shop.write_contract(CONTRACT.replace("  note: text?\n", ""))
    shop.load(frame).raise_if_failed()
    assert len(shop.landed()) == 2


def test_a_destination_that_is_added_to_the_profile(shop: Shop) -> None:
    whole = shop.config.read_text()
    shop.config.write_text(whole.partition("[profiles.default.destinations.sqlite]")[0])
    assert refused(lambda: shop.load(pa.table(ROWS))).endswith("add one to the profile")
    message = refused(lambda: shop.load(pa.table(ROWS), destinations=["sqlite"]))
    (section,) = re.findall(r"add (\[.*\])$", message)
    path = f"path = '{shop.folder}/one.sqlite'\n"
    shop.config.write_text(f"{shop.config.read_text()}{section.replace('NAME', 'default')}\n{path}")
    shop.load(pa.table(ROWS)).raise_if_failed()
    assert len(shop.landed()) == 2


def test_staging_that_was_lost_is_begun_anew_as_the_message_says(shop: Shop) -> None:
    shop.load(pa.table(ROWS)).raise_if_failed()
    other = shop.folder / "elsewhere"
    shop.config.write_text(shop.config.read_text().replace(f"{shop.folder}/staging", str(other)))
    more = pa.table({**ROWS, "sale_id": [5, 6]})
    message = refused(lambda: shop.load(more))
    found = re.search(r"hand in the whole table (\w+) with (\w+)=True$", message)
    assert found is not None
    load_frame(more, table=found[1], config=shop.config, **{found[2]: True}).raise_if_failed()
    assert [row["sale_id"] for row in shop.landed()] == [5, 6]


# --- transforms


class _First:
    """Keeps the first rows, and leaves one table as it is."""

    def __init__(self, left: str = "") -> None:
        self.left = left

    @hookimpl
    def ownlens_transform(self, contract: TableContract, frame: Any) -> Any:
        return None if contract.table == self.left else frame.head(10)


@pytest.mark.parametrize("way", ["rename", "leave"])
def test_columns_that_a_transform_cannot_tell_apart(area: StagingArea, way: str) -> None:
    names = ["read_id", "Title", "title2" if way == "rename" else "title", "created_at", "updated_at"]

    def stage(left: str, names: list[str]) -> Any:
        kinds = ["int64", "text?", "text?", "timestamptz", "timestamptz"]
        contract = reads(columns=dict(zip(names, kinds, strict=True)))
        used = Registry([])
        used.register(_First(left), "first")
        values = [[1], ["a"], ["b"], [START], [START]]
        table = pa.table(dict(zip(names, values, strict=True)))
        return StagingArea(area.uri, used).stage(contract, Extracted(table.to_reader()), WINDOW)

    message = refused(lambda: stage("", ["read_id", "Title", "title", "created_at", "updated_at"]))
    assert "rename one, or let the plugin return this table's frame as it is" in message
    assert stage("reads" if way == "leave" else "", names).rows == 1


# --- replays


@pytest.mark.parametrize("table", ["reads", "Order Details", "a,b", 'say "hi"', "--tables"])
@pytest.mark.parametrize("preset", ["reference", "daily"])
def test_a_table_that_is_not_replayed_by_rows_names_its_load(area: StagingArea, preset: str, table: str) -> None:
    columns = {"read_id": "int64", "day": "date", "created_at": "timestamptz", "updated_at": "timestamptz"}
    key = ["read_id", "day"] if preset == "daily" else ["read_id"]
    message = replay(reads(preset, table=table, partition_by="day", key=key, columns=columns), area).message
    (command,) = re.findall(r"run `(.*)`$", message)
    program, load, *arguments = shlex.split(command)
    assert (program, load, split_names(arguments[-1])) == ("ownlens", "load", [table])
    assert arguments[:-2] == (["--full-refresh"] if preset == "daily" else [])
