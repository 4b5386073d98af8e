"""What a refusal of the lake says to do is done here, as it is written, and the load gets through."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake
from pydantic import ValidationError

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_s3.config import S3Config, S3Options
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.foreign_tables import field, make_table
from tests.destinations.s3.loads import Loader, contract_of
from tests.destinations.s3.test_drift import refresh
from tests.destinations.s3.test_foreign import FIELDS, loader_of, uri
from tests.destinations.s3.test_foreign import rows as foreign_rows

Act = Callable[[], object]
KEYED = {"id": "int64", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}


def refused(act: Act) -> str:
    with pytest.raises(Rejected) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def setting(message: str) -> dict[str, Any]:
    """Return the setting of a contract that a message names first."""
    found = re.search(r"(?:set|use) (\w+: \w+)", message)
    assert found is not None, message
    return dict(yaml.safe_load(found[1]))


@pytest.mark.parametrize("strategy", ["append", "upsert", "overwrite"])
def test_a_delta_table_whose_file_is_gone(local: S3Destination, tmp_path: Path, strategy: str) -> None:
    loader = Loader(local, contract_of(strategy), tmp_path)
    loader.load(1, loader.rows(10))
    for path in Path(local.folder(loader.contract).uri).rglob("part-*.parquet"):
        path.unlink()
    anew = loader.rows(4, first=90)
    if strategy == "upsert":
        assert "replace it with --full-refresh" in refused(lambda: loader.load(2, loader.rows(10, version=1)))
    load(local, refresh(loader.plan(3, anew)))
    loader.require(anew)


@pytest.mark.parametrize("form", ["parquet", "json"])
@pytest.mark.parametrize("way", ["setting", "full refresh"])
def test_a_table_that_is_there_in_another_format(local: S3Destination, tmp_path: Path, form: str, way: str) -> None:
    files = Loader(local, contract_of("overwrite", form), tmp_path)
    files.load(1, files.rows(5))
    delta = Loader(local, contract_of("upsert"), tmp_path)
    rows = delta.rows(7)
    message = refused(lambda: delta.load(2, rows))
    if way == "full refresh":
        assert message.endswith("or replace it with --full-refresh")
        load(local, refresh(delta.plans[2]))
        delta.require(rows)
        return
    (named,) = re.findall(r"set (.*?), or replace it", message)
    again = Loader(local, whole(named), tmp_path)
    again.load(2, rows)
    again.require(rows)


def test_a_format_that_changes_before_there_is_a_newer_set(local: S3Destination, tmp_path: Path) -> None:
    """An unchanged table is not staged again, so no run without a full refresh could ever bring a newer set."""
    files = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    rows = files.rows(5)
    files.load(1, rows)
    delta = Loader(local, contract_of("overwrite", "delta"), tmp_path)
    message = refused(lambda: delta.load(1, rows))
    assert message == "samples: s3 holds load 1 as parquet; replace it with --full-refresh --tables samples"
    load(local, refresh(delta.plan(2, rows)))
    delta.require(rows)


@pytest.mark.parametrize("way", ["path", "full refresh"])
def test_a_delta_table_of_somebody_else_in_the_place_of_files(local: S3Destination, tmp_path: Path, way: str) -> None:
    loader = Loader(local, contract_of("overwrite", "parquet"), tmp_path)
    theirs = local.folder(loader.contract).uri
    write_deltalake(theirs, pa.table({"theirs": [1]}))
    rows = loader.rows(5)
    assert "use another path, or replace it with --full-refresh" in refused(lambda: loader.load(1, rows))
    if way == "path":
        loader = Loader(local, contract_of("overwrite", "parquet", path="other/samples"), tmp_path)
        loader.load(1, rows)
        assert DeltaTable(theirs).to_pyarrow_table().num_rows == 1
    else:
        load(local, refresh(loader.plans[1]))
    loader.require(rows)


OPTIONS = [
    {"strategy": "append", "format": "parquet"},
    {"strategy": "upsert", "format": "json"},
    {"strategy": "overwrite", "format": "parquet", "retention_days": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_options_that_cannot_be_can_be_mended_as_the_message_says(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        S3Options.model_validate(options)
    message = str(caught.value)
    ways = re.findall(r"\b(format: delta|strategy: overwrite)\b", message)
    assert ways, message
    for way in ways:
        S3Options.model_validate({**options, **yaml.safe_load(way)})


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_the_compressions_of_json_that_the_message_names(
    local: S3Destination, tmp_path: Path, compression: str
) -> None:
    with pytest.raises(ValidationError, match=f"use .*{compression}"):
        S3Options.model_validate({"strategy": "overwrite", "format": "json", "compression": "snappy"})
    loader = Loader(local, contract_of("overwrite", "json", options={"compression": compression}), tmp_path)
    rows = loader.rows(5)
    loader.load(1, rows)
    loader.require(rows)


def test_a_partition_without_its_column(local: S3Destination, tmp_path: Path) -> None:
    lacking = Loader(local, contract_of("append", partition="day", partition_by=None), tmp_path)
    message = refused(lambda: lacking.load(1, lacking.rows(5)))
    for mended in (
        contract_of("append", **setting(message), partition_by=None),
        contract_of("append", table="other", path="other", partition="day", partition_by="created_at"),
    ):
        loader = Loader(local, mended, tmp_path / mended.table)
        loader.load(1, loader.rows(5))
        loader.require(loader.rows(5))


def test_an_endpoint_without_tls() -> None:
    """The setting is one of the profile, which is TOML."""
    settings = {"uri": "s3://lake", "endpoint_url": "http://minio:9000"}
    with pytest.raises(ValidationError) as caught:
        S3Config(**settings)
    found = re.search(r"or set (allow_http.*?true)", str(caught.value))
    assert found is not None
    assert S3Config(**settings, **tomllib.loads(found[1])).allow_http
    assert S3Config(**{**settings, "endpoint_url": "https://minio:9000"}).endpoint


# --- what other programs demand of their tables


@pytest.mark.parametrize("kinds", [["small"], ["small", "it's odd"], ["invariant"], ["small", "invariant"]])
def test_constraints_that_rows_break(local: S3Destination, tmp_path: Path, kinds: list[str]) -> None:
    loader = loader_of(local, tmp_path, "append")
    inside = {"delta.invariants": json.dumps({"expression": {"expression": "id < 100"}})}
    fields = [field("id", **(inside if "invariant" in kinds else {})), *FIELDS[1:]]
    checks = {f"delta.constraints.{name}": "id < 100" for name in kinds if name != "invariant"}
    make_table(uri(loader), fields, writer=3, configuration=checks)
    plan = loader.plan(1, foreign_rows(loader, 700))
    message = refused(lambda: load(local, plan))
    statements = re.findall(r"DeltaTable\(.*?\)\.alter\.drop_constraint\(.*?[\"']\)", message)
    if "invariant" in kinds:
        assert message.endswith("or move the table's folder away, and load it with --full-refresh")
        shutil.move(uri(loader), tmp_path / "away")
        plan = refresh(plan)
    assert len(statements) == (0 if "invariant" in kinds else len(kinds))
    for statement in statements:
        eval(statement, {"DeltaTable": DeltaTable})
    load(local, plan)
    loader.require(foreign_rows(loader, 700))


def test_an_invariant_that_speaks_of_a_column_that_is_to_leave(local: S3Destination, tmp_path: Path) -> None:
    inside = {"delta.invariants": json.dumps({"expression": {"expression": "other > 0"}})}
    loader = loader_of(local, tmp_path, "append")
    make_table(uri(loader), [*FIELDS, field("other", **inside)])
    plan = refresh(loader.plan(1, foreign_rows(loader, 1)))
    message = refused(lambda: load(local, plan))
    assert message.endswith("it; move the table's folder away, and load it with --full-refresh")
    shutil.move(uri(loader), tmp_path / "away")
    load(local, plan)
    loader.require(foreign_rows(loader, 1))


# --- what a contract asks for


def test_a_frozen_table_follows_once_it_may(local: S3Destination, tmp_path: Path) -> None:
    old = Loader(local, contract_of("append", columns=KEYED), tmp_path)
    old.load(1, old.rows(3))
    wider = {**KEYED, "note": "text?"}
    frozen = Loader(local, contract_of("append", columns=wider, schema_policy="freeze"), tmp_path)
    message = refused(lambda: frozen.load(2, frozen.rows(3, first=3)))
    new = Loader(local, contract_of("append", columns=wider, **setting(message)), tmp_path)
    new.load(2, new.rows(3, first=3))
    assert new.landed().num_rows == 6


@pytest.mark.parametrize("way", ["back", "full refresh"])
def test_another_partitioning(local: S3Destination, tmp_path: Path, way: str) -> None:
    daily = Loader(local, contract_of("append"), tmp_path)
    daily.load(1, daily.rows(3))
    monthly = Loader(local, contract_of("append", partition="month"), tmp_path)
    assert "change it back, or replace it with --full-refresh" in refused(lambda: monthly.load(2, monthly.rows(3)))
    if way == "back":
        daily.load(2, daily.rows(3, first=3))
        daily.require(daily.rows(6))
    else:
        load(local, refresh(monthly.plans[2]))
        monthly.require(monthly.rows(3))


@pytest.mark.parametrize("way", ["rename", "format"])
def test_names_that_differ_by_case(local: S3Destination, tmp_path: Path, way: str) -> None:
    twins = Loader(local, contract_of("append", columns={**KEYED, "Note": "text?", "note": "text?"}), tmp_path)
    message = refused(lambda: twins.load(1, twins.rows(3)))
    if way == "rename":
        mended = contract_of("append", columns={**KEYED, "Note": "text?", "note2": "text?"})
    else:
        (named,) = re.findall(r"or use (.*)$", message)
        mended = whole(named, columns={**KEYED, "Note": "text?", "note": "text?"})
    loader = Loader(local, mended, tmp_path / "mended")
    loader.load(1, loader.rows(3))
    loader.require(loader.rows(3))


def whole(named: str, **changes: Any) -> TableContract:
    """Return a contract with the settings that a message lists."""
    told = {name: value for one in re.findall(r"\w+: \w+", named) for name, value in yaml.safe_load(one).items()}
    return contract_of("upsert", partition="none", extraction=told.pop("extraction"), options=told, **changes)
