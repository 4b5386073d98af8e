"""`load_frame` with a DataFrame of Spark: the caller's session is used, its rows arrive exactly, and it goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins import load_frame
from ownlens_plugins.contracts import read_contracts
from ownlens_plugins.engine.outcomes import Status
from ownlens_plugins.errors import SourceInvalid
from ownlens_plugins.testing import canonical_rows, make_plan, sample_table
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

CONTRACT = """\
table: sales
domain: shop
preset: events
key: [sale_id]
partition_by: created_at
path: shop/sales
columns:
  sale_id: int64
  buyer: uuid?
  amount: decimal(20,4)
  share: float64?
  note: text?
  tags: array<text>?
  day: date
  wall: timestamp?
  created_at: timestamptz
"""
UUID = "0f9d4f0e-2b1c-4b83-8a86-0d4c7b0f5a11"
MOMENT = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS = [
    (1, UUID, Decimal("1.1000"), float("nan"), "", ["a", None], date(2026, 1, 1), datetime(2026, 3, 29, 2, 30), MOMENT),
    (
        2,
        None,
        Decimal("-9999999999999999.9999"),
        None,
        None,
        None,
        date(1, 1, 1),
        None,
        datetime(1970, 1, 1, tzinfo=UTC),
    ),
]
SCHEMA = (
    "sale_id long, buyer string, amount decimal(20,4), share double, note string, tags array<string>, day date, "
    "wall timestamp_ntz, created_at timestamp"
)


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """A session of the caller's own, in a time zone of its own."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder: Any = SparkSession.builder
    settings = {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "Europe/Berlin"}
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.master("local[2]").getOrCreate()
    yield session
    session.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "contracts" / "shop").mkdir(parents=True)
    (tmp_path / "contracts" / "shop" / "sales.yaml").write_text(CONTRACT)
    (tmp_path / "ownlens.toml").write_text(
        f"""[profiles.default]
contracts = "{tmp_path}/contracts"
staging = "{tmp_path}/staging"
engine = "spark"
[profiles.default.spark]
master = "local[2]"
[profiles.default.destinations.s3]
uri = "{tmp_path}/lake"
"""
    )
    return tmp_path


def landed(project: Path) -> list[tuple[Any, ...]]:
    contract = read_contracts(project / "contracts")["sales"]
    lake = S3Destination(S3Config(uri=str(project / "lake")))
    plan = make_plan(lake, contract, sample_table(contract, []), project)
    return canonical_rows(lake.read(plan).read_all())


def test_a_dataframe_is_loaded_by_its_own_session_which_goes_on(session: Any, project: Path) -> None:
    frame = session.createDataFrame(ROWS, SCHEMA)
    report = load_frame(frame, table="sales", config=project / "ownlens.toml")
    report.raise_if_failed()
    assert (report.rows, report.rejected, report.outcomes[0].status) == (2, 0, Status.LOADED)
    first, second = landed(project)
    assert repr(first[3]) == "nan"
    assert (first[0], str(first[2]), first[4:]) == (1, "1.1000", ("", ["a", None], *ROWS[0][6:]))
    assert second[:3] == (2, None, ROWS[1][2])
    assert second[3:] == (None, None, None, *ROWS[1][6:])
    assert session.range(3).count() == 3
    assert session.conf.get("spark.sql.session.timeZone") == "Europe/Berlin"


def test_the_same_frame_again_changes_nothing(session: Any, project: Path) -> None:
    frame = session.createDataFrame(ROWS, SCHEMA)
    load_frame(frame, table="sales", config=project / "ownlens.toml").raise_if_failed()
    again = load_frame(frame.repartition(3), table="sales", config=project / "ownlens.toml")
    again.raise_if_failed()
    assert (again.sequence, again.outcomes[0].rows) == (1, 0)
    assert len(landed(project)) == 2


def test_other_things_of_spark_are_refused_with_what_helps(session: Any, project: Path) -> None:
    grouped = session.createDataFrame(ROWS, SCHEMA).groupBy("day")
    with pytest.raises(SourceInvalid, match="hand in a DataFrame, of pandas"):
        load_frame(grouped, table="sales", config=project / "ownlens.toml")


def test_a_type_of_sparks_own_is_refused(session: Any, project: Path) -> None:
    odd = "make_ym_interval(1)"
    beside = session.createDataFrame(ROWS, SCHEMA).selectExpr("*", f"{odd} as odd")
    load_frame(beside, table="sales", config=project / "ownlens.toml").raise_if_failed()
    inside = beside.selectExpr("* except (note)", "odd as note")
    with pytest.raises(SourceInvalid, match="cannot be read"):
        load_frame(inside, table="sales", config=project / "ownlens.toml")


def test_an_empty_frame_has_its_schema_all_the_same(session: Any, project: Path) -> None:
    report = load_frame(session.createDataFrame([], SCHEMA), table="sales", config=project / "ownlens.toml")
    report.raise_if_failed()
    assert report.rows == 0


def test_a_frame_that_cannot_be_computed_is_refused_without_its_values(session: Any, project: Path) -> None:
    broken = session.createDataFrame(ROWS, SCHEMA)
    broken = broken.selectExpr("cast(concat('secret', note) as long) as sale_id", "* except (sale_id)")
    with pytest.raises(SourceInvalid, match="broke off") as caught:
        load_frame(broken, table="sales", config=project / "ownlens.toml")
    assert "secret" not in str(caught.value)
