"""`load_frame`: rows of any Arrow-speaking library go into every destination of a profile, exactly once."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ownlens_plugins import FrameReport, load_frame, read_contracts
from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.outcomes import Status
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.errors import (
    DestinationUnavailable,
    OwnLensError,
    Rejected,
    Retryable,
    SettingsInvalid,
    SourceInvalid,
    UnknownName,
)
from ownlens_plugins.registry import Registry

from ..plugins.packages import Packages
from .sqlite_destination import SqliteConfig, SqliteDestination

CONTRACT = """\
table: sales
domain: shop
preset: events
key: [sale_id]
partition_by: created_at
path: shop/sales
columns:
  sale_id: int64
  amount: decimal(10,2)
  note: text?
  tags: array<text>?
  created_at: timestamptz
"""
MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS: dict[str, list[Any]] = {
    "sale_id": [1, 2],
    "amount": [Decimal("1.10"), Decimal("2.00")],
    "note": ["", None],
    "tags": [["a"], None],
    "created_at": [MOMENT, MOMENT],
}
FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pyarrow": pa.table,
    "pyarrow batch": pa.record_batch,
    "pyarrow reader": lambda rows: pa.table(rows).to_reader(),
    "pandas": lambda rows: pd.DataFrame(rows),
    "polars": lambda rows: pl.DataFrame(rows),
    "duckdb": lambda rows: duckdb.connect().from_arrow(pa.table(rows)),
}


class Shop:
    """A project folder with one contract and two SQLite destinations, of which one can be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "ownlens.toml"
        (folder / "contracts/shop").mkdir(parents=True)
        self.write_contract(CONTRACT)
        self.config.write_text(
            f"[profiles.default]\ncontracts = '{folder}/contracts'\nstaging = '{folder}/staging'\n"
            f"[profiles.default.destinations.sqlite]\npath = '{folder}/one.sqlite'\n"
            f"[profiles.default.destinations.second]\npath = '{folder}/two.sqlite'\n"
        )

    def write_contract(self, text: str) -> None:
        (self.folder / "contracts/shop/sales.yaml").write_text(text)

    def load(self, frame: Any, **options: Any) -> FrameReport:
        return load_frame(frame, table="sales", config=self.config, **options)

    def landed(self, name: str = "one") -> list[dict[str, Any]]:
        return SqliteDestination(SqliteConfig(path=str(self.folder / f"{name}.sqlite"))).landed("sales")

    def sets(self) -> int:
        return len(StagingArea(str(self.folder / "staging"), Registry()).manifests("sales"))


SECOND = """
from tests.engine.sqlite_destination import SqliteDestination
from ownlens_plugins import hookimpl

class Second(SqliteDestination):
    name = "second"
    aliases = ()

@hookimpl
def ownlens_destinations():
    return [Second]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    packages = Packages(tmp_path / "site")
    packages.folder.mkdir()
    monkeypatch.syspath_prepend(packages.folder)
    modules = {"sqlite": "tests.engine.sqlite_destination", "second": "acme_second"}
    packages.install("acme-sqlite", {"acme_second": SECOND}, destinations=modules)
    yield Shop(tmp_path)
    packages.forget()


@pytest.mark.parametrize("library", FRAMES)
def test_a_frame_of_any_library_lands_in_every_destination_once(shop: Shop, library: str) -> None:
    report = shop.load(FRAMES[library](ROWS))
    report.raise_if_failed()
    assert (report.table, report.sequence, report.rows, report.rejected, report.quarantine) == ("sales", 1, 2, 0, None)
    assert [(o.destination, o.status, o.inserted) for o in report.outcomes] == [
        ("sqlite", Status.LOADED, 2),
        ("second", Status.LOADED, 2),
    ]
    again = shop.load(FRAMES[library](ROWS))
    assert again.sequence == 1
    assert [outcome.status for outcome in again.outcomes] == [Status.NOTHING_NEW] * 2
    assert shop.sets() == 1
    assert shop.landed() == shop.landed("two")
    assert [(row["sale_id"], row["amount"], row["note"], row["tags"]) for row in shop.landed()] == [
        (1, "1.10", "", ["a"]),
        (2, "2.00", None, None),
    ]
    assert {row["created_at"] for row in shop.landed()} == {"2026-01-01 12:00:00+00:00"}


def test_the_same_rows_from_another_library_are_the_same_set(shop: Shop) -> None:
    reports = [shop.load(make(ROWS)) for make in FRAMES.values()]
    assert {report.sequence for report in reports} == {1}
    assert len(shop.landed()) == 2


def test_other_rows_are_the_next_set(shop: Shop) -> None:
    shop.load(pa.table(ROWS))
    report = shop.load(pa.table({**ROWS, "sale_id": [3, 4]}))
    assert report.sequence == 2
    assert [row["sale_id"] for row in shop.landed()] == [1, 2, 3, 4]


@pytest.mark.parametrize(("preset", "kept"), [("reference", [1, 2]), ("events", [1, 2, 3, 4])])
def test_a_frame_that_comes_back_after_another_is_loaded_again_unless_it_was_appended(
    shop: Shop, preset: str, kept: list[int]
) -> None:
    version = "version_by: created_at\n" if preset == "reference" else ""
    shop.write_contract(CONTRACT.replace("preset: events", f"preset: {preset}") + version)
    first, second = pa.table(ROWS), pa.table({**ROWS, "sale_id": [3, 4]})
    reports = [shop.load(frame) for frame in (first, second, first)]
    assert [report.sequence for report in reports] == ([1, 2, 3] if preset == "reference" else [1, 2, 1])
    assert [row["sale_id"] for row in shop.landed()] == kept


def test_an_append_takes_each_row_of_overlapping_frames_once(shop: Shop) -> None:
    shop.load(pa.table(ROWS)).raise_if_failed()
    overlapping = pa.table({**ROWS, "sale_id": [2, 3]})
    assert (shop.load(overlapping).rows, shop.load(overlapping).sequence) == (1, None)
    shop.load(pa.table({**ROWS, "sale_id": [4, 5]})).raise_if_failed()
    assert [row["sale_id"] for row in shop.landed()] == [1, 2, 3, 4, 5]


def test_other_refused_rows_make_another_frame(shop: Shop) -> None:
    shop.load(pa.table({**ROWS, "note": ["ok", "bad\0"]}))
    report = shop.load(pa.table({**ROWS, "sale_id": [1, 3], "note": ["ok", "bad\0"]}))
    assert (report.sequence, report.rows, report.rejected) == (2, 0, 1)
    assert shop.load(pa.table({**ROWS, "note": ["ok", "bad\0"]})).sequence == 1


def test_an_appended_frame_comes_back_after_a_refresh_took_it_away(shop: Shop) -> None:
    shop.load(pa.table(ROWS))
    area = StagingArea(str(shop.folder / "staging"), Registry())
    other = Extracted(pa.table({**ROWS, "sale_id": [3, 4]}).to_reader())
    contract = read_contracts(shop.folder / "contracts")["sales"]
    area.stage(contract, other, StageRequest(Extraction.WHOLE, Window(None, None), full_refresh=True))
    assert shop.load(pa.table(ROWS)).sequence == 3
    assert [row["sale_id"] for row in shop.landed()] == [1, 2, 3, 4]


def test_only_the_named_destinations_are_loaded_and_others_catch_up(shop: Shop) -> None:
    report = shop.load(pa.table(ROWS), destinations=["lite", "sqlite"])
    assert [outcome.destination for outcome in report.outcomes] == ["sqlite"]
    assert shop.landed("two") == []
    shop.load(pa.table(ROWS), destinations=["second"]).raise_if_failed()
    assert shop.landed("two") == shop.landed()


def test_one_destination_that_fails_leaves_the_others(shop: Shop) -> None:
    (shop.folder / "one.sqlite").mkdir()
    report = shop.load(pa.table(ROWS))
    assert [outcome.status for outcome in report.outcomes] == [Status.FAILED, Status.LOADED]
    assert report.outcomes[0].error == str(report.errors[0])
    with pytest.raises(Retryable, match=r"reference: .* cannot be used now"):
        report.raise_if_failed()
    assert len(shop.landed("two")) == 2
    (shop.folder / "one.sqlite").rmdir()
    healed = shop.load(pa.table(ROWS))
    healed.raise_if_failed()
    assert [outcome.status for outcome in healed.outcomes] == [Status.LOADED, Status.NOTHING_NEW]
    assert shop.landed() == shop.landed("two")


def test_several_failures_are_told_together(shop: Shop) -> None:
    for name in ("one", "two"):
        (shop.folder / f"{name}.sqlite").mkdir()
    report = shop.load(pa.table(ROWS))
    with pytest.raises(OwnLensError, match=r"one\.sqlite cannot be used now .*; .*two\.sqlite cannot be used now"):
        report.raise_if_failed()


def test_an_error_that_nobody_foresaw_is_one_line_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise sqlite3.DatabaseError("disk image\nis malformed")

    monkeypatch.setattr(SqliteDestination, "find_commit", broken)
    report = shop.load(pa.table(ROWS), destinations=["sqlite"])
    with pytest.raises(OwnLensError, match="sqlite: disk image is malformed"):
        report.raise_if_failed()


def test_rows_with_a_bad_key_go_nowhere_and_fail_the_report(shop: Shop) -> None:
    rows = {**ROWS, "sale_id": [7, 7]}
    report = shop.load(pa.table(rows))
    assert (report.rows, report.rejected) == (1, 1)
    assert [outcome.status for outcome in report.outcomes] == [Status.LOADED] * 2
    with pytest.raises(Rejected) as caught:
        report.raise_if_failed()
    assert str(caught.value) == (
        "sales: 1 row refused, which went to no destination: key: another row of this set has the same key, and an "
        "append takes each key once (1 row); correct the source, or the contract and then run `ownlens quarantine "
        f"replay sales` (they are kept in {report.quarantine})"
    )
    assert Path(str(report.quarantine)).is_file()


def test_rows_with_another_bad_value_do_not_look_like_success_either(shop: Shop) -> None:
    frame = pa.table({**ROWS, "note": ["a\0", "ok"]})
    for _ in range(2):
        report = shop.load(frame)
        with pytest.raises(
            Rejected, match=r"sales: 1 row refused.*note: holds a NUL character.*quarantine replay sales"
        ):
            report.raise_if_failed()
        assert (report.rows, report.rejected) == (1, 1)
    assert len(shop.landed()) == 1


def test_a_frame_whose_rows_are_mostly_refused_changes_nothing(shop: Shop) -> None:
    with pytest.raises(Rejected, match="sales: nothing was published, 2 of 2 rows break the contract"):
        shop.load(pa.table({**ROWS, "note": ["a\0", "\0"]}))
    assert shop.sets() == 0


def _nameless() -> pa.Table:
    # Names come over the C interface as they are, and Arrow does not look at them.
    reader = pa.table({**ROWS, "naXe": [1, 2]}).to_reader()
    schema = reader.schema.serialize().to_pybytes().replace(b"naXe", b"na\xffe")
    ipc = pa.ipc.read_schema(pa.py_buffer(schema))
    return pa.Table.from_arrays(reader.read_all().columns, schema=ipc)


def test_a_column_whose_name_is_no_text_is_one_line(shop: Shop) -> None:
    with pytest.raises(SourceInvalid, match="sales: a column's name is not valid UTF-8; rename it in the source"):
        shop.load(_nameless())


def test_on_bad_value_fail_stages_nothing(shop: Shop) -> None:
    shop.write_contract(CONTRACT + "on_bad_value: fail\n")
    with pytest.raises(Rejected, match="sales: nothing was published, 1 of 2 rows break the contract"):
        shop.load(pa.table({**ROWS, "note": ["a\0", "ok"]}))
    assert shop.sets() == 0


def test_an_empty_frame_is_the_first_set_and_then_nothing_new(shop: Shop) -> None:
    empty = pa.table(ROWS).slice(0, 0)
    assert shop.load(empty).sequence == 1
    shop.load(pa.table(ROWS))
    report = shop.load(pa.table(ROWS).slice(0, 0))
    report.raise_if_failed()
    assert len(shop.landed()) == 2


def _failing_relation() -> Any:
    return duckdb.connect().sql(
        "SELECT i AS sale_id, 1.10::DECIMAL(10,2) AS amount, NULL AS note, NULL AS tags, "
        "CASE WHEN i = 9000 THEN error('s3cret') ELSE now() END AS created_at FROM range(10000) t(i)"
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pa.table({**ROWS, "notes": [1, 2]}).drop(["note"]), "the frame lacks column 'note', or has it twice "),
        (pa.table({**ROWS, "nota": [1, 2]}).drop(["note"]), "(unknown column 'note'; did you mean 'nota'?); rename"),
        (pa.Table.from_arrays([pa.array([1])] * 6, names=[*ROWS, "note"]), "the frame lacks column 'note', or has it"),
        ([{"sale_id": 1}], "a builtins.list is no frame; hand in one of pyarrow, pandas, polars, DuckDB"),
        (pl.DataFrame(ROWS).lazy(), "is no frame; hand in"),
        (pd.DataFrame({**ROWS, "note": [object(), 1]}), "has no Arrow type; convert it before"),
        (
            pa.table({**ROWS, "amount": [True, False]}),
            "column 'amount' arrives as bool, which decimal(10,2) cannot take",
        ),
        (pa.table({**ROWS, "created_at": [MOMENT.replace(tzinfo=None)] * 2}), "give it a time zone"),
        (_failing_relation, "the frame broke off while it was read; check what it computes"),
    ],
)
def test_a_frame_that_does_not_fit_is_one_line_and_stages_nothing(shop: Shop, frame: Any, message: str) -> None:
    with pytest.raises(SourceInvalid) as caught:
        shop.load(frame() if frame is _failing_relation else frame)
    assert str(caught.value).startswith("sales: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert shop.sets() == 0


def test_wrong_names_are_refused_before_anything_is_staged(shop: Shop) -> None:
    frame = pa.table(ROWS)
    with pytest.raises(UnknownName, match="unknown table 'sale'; did you mean 'sales'"):
        load_frame(frame, table="sale", config=shop.config)
    with pytest.raises(UnknownName, match="unknown destination 'sqlit'; did you mean 'sqlite'"):
        shop.load(frame, destinations=["sqlit"])
    with pytest.raises(SettingsInvalid, match=r"clickhouse: the profile has no connection; add \[profiles"):
        shop.load(frame, destinations=["ch"])
    with pytest.raises(SettingsInvalid, match="sales: no destination to load into"):
        shop.load(frame, destinations=[])
    with pytest.raises(UnknownName, match="unknown profile 'prod'"):
        shop.load(frame, profile="prod")
    shop.write_contract(CONTRACT + "destinations: {sqlite: {strategy: replace_partition}}\nextraction: whole\n")
    with pytest.raises(DestinationUnavailable, match=r"sales: destinations\.sqlite: strategy replace_partition is not"):
        shop.load(frame)
    assert not (shop.folder / "staging").exists()


def test_lost_staging_is_refused_until_the_whole_table_is_handed_in(shop: Shop) -> None:
    shop.load(pa.table(ROWS))
    shop.load(pa.table({**ROWS, "sale_id": [3, 4]}))
    shutil.rmtree(shop.folder / "staging")
    more = pa.table({**ROWS, "sale_id": [5, 6]})
    with pytest.raises(Rejected, match="hand in the whole table sales with full_refresh=True"):
        shop.load(more)
    assert shop.sets() == 0
    for _ in range(2):
        report = shop.load(more, full_refresh=True)
        report.raise_if_failed()
        assert report.sequence == 3
    assert [row["sale_id"] for row in shop.landed()] == [row["sale_id"] for row in shop.landed("two")] == [5, 6]
    shop.load(pa.table(ROWS)).raise_if_failed()
    assert sorted(row["sale_id"] for row in shop.landed()) == [1, 2, 5, 6]
    assert shop.load(more, full_refresh=True).sequence == 5
    assert [row["sale_id"] for row in shop.landed()] == [5, 6]
