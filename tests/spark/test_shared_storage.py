"""Executors of other machines share nothing with the driver but an object store: parts on MinIO, and the lake there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.contracts.presets import Engine
from ownlens_plugins.engine.planning import plan_load
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.engine.workers import Workers
from ownlens_plugins.registry import Registry
from ownlens_plugins.spark import environment
from ownlens_plugins.spark.workers import SparkWorkers
from ownlens_plugins.testing import EVERY_TYPE, canonical_rows, sample_contract, sample_rows, sample_table
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.minio_server import MinioServer, running_minio

CLUSTER = True
BUCKET = "shared"


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.mark.minio
@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE])
def test_parts_and_the_lake_on_an_object_store(
    minio: MinioServer, workers: SparkWorkers, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    # Only now: the cluster was started without them, and its executors have nothing of their own.
    session = workers.session()
    for name, value in minio.variables.items():
        monkeypatch.setenv(name, value)
    folder = f"s3://{BUCKET}/{uuid4().hex}"
    registry = Registry()
    area = StagingArea(f"{folder}/staging", registry)
    preset = {Strategy.APPEND: "events", Strategy.UPSERT: "entity", Strategy.OVERWRITE: "reference"}[strategy]
    contract = sample_contract(
        preset, columns=EVERY_TYPE, extraction="whole", destinations={"s3": {"strategy": strategy.value}}
    )
    rows = sample_table(contract, sample_rows(20))
    area.stage(contract, Extracted(rows.to_reader()), StageRequest(contract.extraction, Window(None, None)))
    lake = S3Destination(S3Config(uri=f"{folder}/lake", allow_http=True))
    on_spark = Workers(Engine.SPARK, workers.config, start=lambda _: workers)
    outcome = load_table(lake, contract, area, registry, on_spark)
    assert outcome.rows == 20
    manifest = area.log(contract.table)[-1]
    plan = plan_load(lake, contract, manifest, area, registry)
    assert plan.parts[0].uri.startswith("s3://")
    assert canonical_rows(lake.read(plan).read_all()) == canonical_rows(rows)
    shown = [str(row) for row in session.sql("SET").collect()]
    assert not any(minio.secret_key in line for line in shown)


def test_a_worker_with_an_identity_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/worker")
    environment.adopt({"AWS_ACCESS_KEY_ID": "driver", "AWS_SECRET_ACCESS_KEY": "s"})
    assert "AWS_ACCESS_KEY_ID" not in os.environ


def test_a_worker_without_one_follows_the_driver_also_when_keys_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    environment.adopt({"AWS_ACCESS_KEY_ID": "first", "AWS_SESSION_TOKEN": "t"})
    environment.adopt({"AWS_ACCESS_KEY_ID": "second"})
    assert environment.carried() == {"AWS_ACCESS_KEY_ID": "second"}
