"""Tables that another program made: what it demands of rows holds, or the load is refused before data moves."""

from __future__ import annotations

import json
import logging
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing.samples import sample_table
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.foreign_tables import field, make_table, mapped
from tests.destinations.s3.loads import Loader, contract_of, left_over
from tests.destinations.s3.test_drift import refresh

COLUMNS = {"id": "int64", "note": "text?", "at": "timestamptz"}
FIELDS = [field("id"), field("note", "string"), field("at", "timestamp")]
MAPPED = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"}
STRATEGIES = ["append", "upsert", "overwrite"]
# Features that Spark can give a table and delta-rs cannot write; the second part is asked of readers as well.
UNKNOWN = [
    (["clustering", "domainMetadata"], []),
    (["rowTracking", "domainMetadata"], []),
    (["typeWidening"], ["typeWidening"]),
    (["identityColumns"], []),
    (["allowColumnDefaults"], []),
    (["inCommitTimestamp"], []),
    (["checkpointProtection"], []),
    (["icebergCompatV2"], []),
    (["vacuumProtocolCheck"], ["vacuumProtocolCheck"]),
]


def loader_of(destination: S3Destination, folder: Path, strategy: str, **more: Any) -> Loader:
    defaults = {"columns": COLUMNS, "partition_by": "at", "version_by": "at", "cursor": "at"}
    return Loader(destination, contract_of(strategy, "delta", "none", **{**defaults, **more}), folder)


def rows(loader: Loader, *numbers: int, **values: Any) -> pa.Table:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    base = [{"id": number, "note": f"secret {number}", "at": at, **values} for number in numbers]
    return sample_table(loader.contract, base)


def uri(loader: Loader) -> str:
    return loader.destination.folder(loader.contract).uri


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_mapped_columns_are_written_under_their_names_in_files(
    local: S3Destination, tmp_path: Path, strategy: str
) -> None:
    loader = loader_of(local, tmp_path, strategy)
    make_table(uri(loader), mapped(FIELDS), reader=2, writer=5, configuration=MAPPED)
    loader.load(1, rows(loader, 1, 2))
    result = loader.load(2, rows(loader, 2, 3, note="b"))
    kept = {"append": rows(loader, 1, 2), "upsert": rows(loader, 1), "overwrite": rows(loader)}[strategy]
    loader.require(kept, rows(loader, 2, 3, note="b"))
    assert result.rows == 2
    names = {name for path in Path(uri(loader)).rglob("*.parquet") for name in pq.read_schema(path).names}
    assert names == {"col-00000001", "col-00000002", "col-00000003"}
    assert load(local, loader.plans[2]).replayed


def test_mapped_columns_are_not_altered_and_a_full_refresh_makes_them_plain(
    local: S3Destination, tmp_path: Path
) -> None:
    loader = loader_of(local, tmp_path, "append", columns={**COLUMNS, "more": "text?"})
    make_table(uri(loader), mapped(FIELDS), reader=2, writer=5, configuration=MAPPED)
    with pytest.raises(Rejected, match=r"maps its columns .* \('more'\); alter it there, or replace it with --full-"):
        loader.load(1, rows(loader, 1))
    load(local, refresh(loader.plans[1]))
    loader.require(rows(loader, 1))
    table = DeltaTable(uri(loader))
    assert table.metadata().configuration == {}
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)
    assert (table.metadata().name, table.metadata().description) == ("theirs", "made by another program")
    loader.load(2, rows(loader, 2))
    loader.require(rows(loader, 1, 2))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["check", "invariant"])
def test_constraints_hold(
    local: S3Destination, tmp_path: Path, caplog: pytest.LogCaptureFixture, strategy: str, kind: str
) -> None:
    loader = loader_of(local, tmp_path, strategy)
    if kind == "check":
        make_table(uri(loader), FIELDS, writer=3, configuration={"delta.constraints.small": "id < 100"})
    else:
        text = json.dumps({"expression": {"expression": "id < 100"}})
        make_table(uri(loader), [field("id", **{"delta.invariants": text}), *FIELDS[1:]])
    loader.load(1, rows(loader, 1, 2))
    caplog.set_level(logging.DEBUG)
    with pytest.raises(
        Rejected, match=r"samples: 1 staged rows or more break a constraint of the table in s3"
    ) as caught:
        loader.load(2, rows(loader, 3, 700))
    assert "secret" not in f"{caplog.text}{caught.getrepr(style='long')}"
    loader.require(rows(loader, 1, 2))
    loader.load(3, rows(loader, 2, 4))
    left = {"append": [1, 2, 2, 4], "upsert": [1, 2, 4], "overwrite": [2, 4]}[strategy]
    assert sorted(loader.landed()["id"].to_pylist()) == left


def test_a_broken_constraint_can_be_dropped_as_the_message_says(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, "append")
    make_table(uri(loader), FIELDS, writer=3, configuration={"delta.constraints.small": "id < 100"})
    with pytest.raises(Rejected, match=r"\(small\); correct them in the source, or drop it with DeltaTable\('"):
        loader.load(1, rows(loader, 700))
    DeltaTable(uri(loader)).alter.drop_constraint("small")
    loader.load(1, rows(loader, 700))
    loader.require(rows(loader, 700))


def test_a_full_refresh_keeps_constraints_comments_and_properties(local: S3Destination, tmp_path: Path) -> None:
    old = loader_of(local, tmp_path, "append", columns={**COLUMNS, "count": "int64?"})
    noted = [field("id", comment="told by them"), *FIELDS[1:], field("count", "integer")]
    own = {"delta.constraints.small": "id < 100", "delta.deletedFileRetentionDuration": "interval 3 days"}
    make_table(uri(old), noted, writer=3, configuration=own)
    first = refresh(old.plan(1, rows(old, 700, count=1)))
    with pytest.raises(Rejected, match=r"break a constraint of the table in s3 \(small\)"):
        load(local, first)
    load(local, refresh(old.plan(2, rows(old, 7, count=2**40))))
    old.require(rows(old, 7, count=2**40))
    table = DeltaTable(uri(old))
    assert table.metadata().configuration == own
    assert table.schema().fields[0].metadata["comment"] == "told by them"
    new = loader_of(
        local, tmp_path, "append", columns={"number": "int64", "note": "text?", "at": "timestamptz"}, key=["number"]
    )
    moved = sample_table(new.contract, [{"number": 1, "note": "a", "at": datetime(2026, 1, 1, tzinfo=UTC)}])
    plan = refresh(new.plan(3, moved))
    with pytest.raises(Rejected, match=r"constraints .* \(small\) speak of columns that are to leave it; drop it"):
        load(local, plan)
    DeltaTable(uri(new)).alter.drop_constraint("small")
    load(local, plan)
    new.require(moved)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_generated_columns_are_refused_until_a_full_refresh(
    local: S3Destination, tmp_path: Path, strategy: str
) -> None:
    loader = loader_of(local, tmp_path, strategy, columns={**COLUMNS, "double": "int64?"})
    fields = [*FIELDS, field("double", **{"delta.generationExpression": "id * 2"})]
    make_table(uri(loader), fields, writer=4)
    with pytest.raises(Rejected, match=r"computes 'double' by an expression of another program, .* --full-refresh"):
        loader.load(1, rows(loader, 1, double=5))
    assert DeltaTable(uri(loader)).version() == 0
    load(local, refresh(loader.plans[1]))
    loader.require(rows(loader, 1, double=5))
    loader.load(2, rows(loader, 2, double=6))
    assert loader.landed().num_rows == (1 if strategy == "overwrite" else 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("features", "readers"), UNKNOWN, ids=lambda names: "-".join(names))
def test_features_that_only_others_can_write(
    local: S3Destination, tmp_path: Path, strategy: str, features: list[str], readers: list[str]
) -> None:
    loader = loader_of(local, tmp_path, strategy)
    make_table(uri(loader), FIELDS, reader=3 if readers else 1, writer=7, features=features, for_readers=readers)
    message = (
        rf"samples: the table in s3 has features that only other programs can write \({', '.join(sorted(features))}"
    )
    with pytest.raises(Rejected, match=message):
        loader.load(1, rows(loader, 1))
    assert sorted(entry.name for entry in local.folder(loader.contract).entries()) == [f"_delta_log/{0:020d}.json"]
    load(local, refresh(loader.plans[1]))
    loader.require(rows(loader, 1))
    loader.load(2, rows(loader, 2))
    assert loader.landed().num_rows == (1 if strategy == "overwrite" else 2)
    assert left_over(local, loader.plans[2]) == []


def test_identity_columns_by_the_protocols_number(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, "append")
    make_table(uri(loader), [field("id", **{"delta.identity.start": 1}), *FIELDS[1:]], writer=6)
    with pytest.raises(Rejected, match=r"only other programs can write \(identityColumns\)"):
        loader.load(1, rows(loader, 1))
    load(local, refresh(loader.plans[1]))
    loader.require(rows(loader, 1))


def test_a_feature_that_nobody_knows_yet(local: S3Destination, tmp_path: Path) -> None:
    loader = loader_of(local, tmp_path, "append")
    with pytest.raises(Exception, match="future"):
        make_table(uri(loader), FIELDS, reader=3, writer=7, features=["future"], for_readers=["future"])
    with pytest.raises(
        Rejected, match=r"samples: s3 could not .*only other programs know \(future\); .*delete the folder"
    ):
        loader.load(1, rows(loader, 1))
    shutil.rmtree(uri(loader))
    loader.load(1, rows(loader, 1))
    loader.require(rows(loader, 1))


def _spoil(folder: Path, what: str) -> None:
    log = folder / "_delta_log"
    if what == "first commit gone":
        (log / f"{0:020d}.json").unlink()
    elif what == "commit cut":
        (log / f"{1:020d}.json").write_text('{"add": {"pa')
    elif what == "commit in the middle gone":
        (log / f"{1:020d}.json").unlink()
    else:
        for entry in (folder / "_ownlens").rglob("*.json"):
            entry.write_text("{")


@pytest.mark.parametrize(
    "what", ["first commit gone", "commit cut", "commit in the middle gone", "ledger", "manifest of parquet"]
)
def test_a_damaged_table_says_what_gets_through(local: S3Destination, tmp_path: Path, what: str) -> None:
    """A full refresh does not: it looks for its own mark, too."""
    loader = loader_of(local, tmp_path, "append")
    if "parquet" in what:
        versions = {"partition_by": "at", "version_by": "at", "cursor": "at"}
        loader = Loader(local, contract_of("overwrite", "parquet", "none", columns=COLUMNS, **versions), tmp_path)
    for number in (1, 2, 3):
        loader.load(number, rows(loader, number))
    folder = Path(uri(loader))
    _spoil(folder, what)
    local.close()  # a run of its own: a handle that has read these commits does not need them any more
    with pytest.raises(Rejected, match="move the table's folder away, and load it with --full-refresh"):
        loader.load(4, rows(loader, 4))
    shutil.move(folder, tmp_path / "away")
    load(local, refresh(loader.plans[4]))
    loader.require(rows(loader, 4))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_table_that_takes_appends_only(local: S3Destination, tmp_path: Path, strategy: str) -> None:
    loader = loader_of(local, tmp_path, strategy)
    make_table(uri(loader), FIELDS, configuration={"delta.appendOnly": "true"})
    if strategy != "append":
        with pytest.raises(Rejected, match=r"takes appends only \(delta.appendOnly\)") as caught:
            loader.load(1, rows(loader, 1))
        (statement,) = re.findall(r"DeltaTable\(.*\}\)", str(caught.value))
        eval(statement, {"DeltaTable": DeltaTable})
    loader.load(1, rows(loader, 1))
    loader.require(rows(loader, 1))


def test_a_zone_less_column_leaves_the_table_readable_by_spark(local: S3Destination, tmp_path: Path) -> None:
    """Spark wants `invariants` beside `timestampNtz` where a column is required."""
    loader = loader_of(local, tmp_path, "append", columns={**COLUMNS, "local": "timestamp?"})
    loader.load(1, rows(loader, 1))
    assert set(DeltaTable(uri(loader)).protocol().writer_features or ()) == {"timestampNtz", "invariants"}


@pytest.mark.parametrize("way", ["old table", "new column", "full refresh"])
def test_the_feature_comes_to_tables_that_lack_it(local: S3Destination, tmp_path: Path, way: str) -> None:
    loader = loader_of(local, tmp_path, "append", columns={**COLUMNS, "local": "timestamp?"})
    first = loader_of(local, tmp_path, "append")
    if way == "old table":
        DeltaTable.create(uri(loader), schema=local.delta(loader.contract, loader.plan(9, rows(loader)).options).schema)  # type: ignore[arg-type]
        assert DeltaTable(uri(loader)).protocol().writer_features == ["timestampNtz"]
    else:
        first.load(1, rows(first, 1))
    plan = loader.plan(2, rows(loader, 2))
    load(local, refresh(plan) if way == "full refresh" else plan)
    assert set(DeltaTable(uri(loader)).protocol().writer_features or ()) >= {"timestampNtz", "invariants"}


def test_a_change_feed_goes_on_beside_a_zone_less_column(local: S3Destination, tmp_path: Path) -> None:
    """delta-rs forgets what the old number stood for when it names features."""
    loader = loader_of(local, tmp_path, "append", columns={**COLUMNS, "local": "timestamp?"})
    own = {"delta.enableChangeDataFeed": "true", "delta.constraints.small": "id < 100"}
    make_table(uri(loader), FIELDS, writer=4, configuration=own)
    loader.load(1, rows(loader, 1))
    named = set(DeltaTable(uri(loader)).protocol().writer_features or ())
    assert {"changeDataFeed", "checkConstraints", "timestampNtz"} <= named
    assert TableFeatures.ChangeDataFeed is not None


@pytest.mark.parametrize("layout", ["none", "day"])
def test_a_uuid_in_upper_case_is_the_same_row(local: S3Destination, tmp_path: Path, layout: str) -> None:
    columns = {"token": "uuid", "note": "text?", "at": "timestamptz"}
    loader = Loader(
        local,
        contract_of(
            "upsert", "delta", layout, columns=columns, key=["token"], version_by="at", cursor="at", partition_by="at"
        ),
        tmp_path,
    )
    key = "ABCDEF01-2345-6789-abcd-ef0123456789"
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC)
    loader.load(1, sample_table(loader.contract, []))
    theirs: dict[str, Any] = {"token": [key], "note": ["theirs"], "at": pa.array([early], pa.timestamp("us", "UTC"))}
    theirs = theirs if layout == "none" else {**theirs, "_ownlens_day": [early.date()]}
    write_deltalake(uri(loader), pa.table(theirs), mode="append")
    ours = [{"token": bytes.fromhex(key.replace("-", "")), "note": "ours", "at": late}]
    result = loader.load(2, sample_table(loader.contract, ours))
    assert (result.inserted, result.updated) == (0, 1)
    loader.require(sample_table(loader.contract, ours))
