"""What a refusal of the lake says to do is done here, as it is written, and the load gets through."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake
from pydantic import ValidationError

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_s3.config import S3Config, S3Options
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of
from tests.destinations.s3.test_drift import refresh

Act = Callable[[], object]


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
    told = {name: value for one in re.findall(r"\w+: \w+", named) for name, value in yaml.safe_load(one).items()}
    again = Loader(
        local, contract_of("upsert", partition="none", extraction=told.pop("extraction"), options=told), tmp_path
    )
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
