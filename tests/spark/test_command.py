"""`ownlens load --engine`: a whole run over Prefect whose parts executors write, and one that starts nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

CONTRACT = """\
table: sales
domain: shop
preset: events
key: [sale_id]
partition_by: created_at
path: shop/sales
columns:
  sale_id: int64
  note: text?
  created_at: timestamptz
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "contracts" / "shop").mkdir(parents=True)
    (tmp_path / "contracts" / "shop" / "sales.yaml").write_text(CONTRACT)
    (tmp_path / "source").mkdir()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = {
        "sale_id": [1, 2, 3],
        "note": ["a", None, ""],
        "created_at": pa.array([moment] * 3, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(rows), tmp_path / "source" / "sales.parquet")
    (tmp_path / "ownlens.toml").write_text(
        """[profiles.default]
contracts = "contracts"
[profiles.default.source]
kind = "files"
folder = "source"
[profiles.default.spark]
master = "local[2]"
[profiles.default.destinations.s3]
uri = "lake"
"""
    )
    return tmp_path


def load(project: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], str]:
    command = [str(Path(sys.executable).with_name("ownlens")), "load", "--no-validate", "--json", *options]
    environment = {**os.environ, "PREFECT_HOME": str(project / "prefect")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return done, (project / "var" / "ownlens.log").read_text()


def test_a_run_on_spark_and_one_that_needs_none(project: Path) -> None:
    done, log = load(project, "--engine", "spark")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["succeeded"]
    assert "sales: s3: written by spark: engine is spark" in log
    assert "spark wrote 1 parts" in log
    (project / "var" / "ownlens.log").unlink()
    pq.write_table(
        pq.read_table(project / "source" / "sales.parquet").set_column(0, "sale_id", [[4, 5, 6]]),
        project / "source" / "sales.parquet",
    )
    done, log = load(project)
    assert done.returncode == 0, done.stderr
    assert "sales: s3: written by this process: 3 rows" in log
    assert "session started" not in log
