"""The lake keeps every promise of the conformance suite, in each of its formats."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from deltalake import DeltaTable, write_deltalake

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.faults import POINTS
from ownlens_plugins.testing import DestinationSuite, Traces
from ownlens_plugins.testing.cases.reading import odd_names
from ownlens_plugins.testing.promises import values
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.minio_server import MinioServer

from .conftest import BUCKET
from .loads import ledger_files, left_over


class LakeSuite(DestinationSuite):
    __test__ = False
    destination_type = S3Destination
    kill_points = POINTS
    form: ClassVar[str]

    @pytest.fixture
    def destination(self, tmp_path: Path) -> S3Destination:
        return S3Destination(S3Config(uri=str(tmp_path / "lake")))

    def options(self, strategy: Strategy) -> dict[str, Any]:
        return {"format": self.form}

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        assert isinstance(destination, S3Destination)
        ledger = [int(name.removesuffix(".json")) for name in ledger_files(destination, plan.contract)]
        return Traces(sorted(ledger), left_over(destination, plan))

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        """Write the table anew, as another program does; what names its own files cannot lose them."""
        if self.form != "delta":
            return False
        assert isinstance(destination, S3Destination)
        folder = Path(destination.config.uri) / plan.contract.path
        table = DeltaTable(folder)
        rows, columns = table.to_pyarrow_table(), table.metadata().partition_columns
        destination.close()
        shutil.rmtree(folder)
        write_deltalake(folder, rows, partition_by=columns or None)
        return True


class MinioSuite(LakeSuite):
    """The same on a server; the formats of files share all that differs there."""

    preload = ("tests.destinations.s3.warm",)
    # On a folder a process dies in the same places.
    test_a_killed_maintenance_is_finished_by_the_next = None

    @pytest.fixture(autouse=True)
    def _fewer_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server meets no table's name; the suite on a folder loads a table of each."""
        monkeypatch.setattr(values, "odd_names", lambda **few: odd_names()[::12] if few else odd_names())

    @pytest.fixture
    def destination(self, minio: MinioServer) -> S3Destination:  # type: ignore[override]
        return S3Destination(S3Config(uri=f"s3a://{BUCKET}/{uuid4().hex}", **minio.settings))

    def lose_ledger(self, destination: Destination[Any, Any], plan: LoadPlan) -> bool:
        return False  # on a folder it is lost in the same way


class TestDelta(LakeSuite):
    __test__ = True
    form = "delta"
    oddities = Path(__file__).with_name("oddities.yaml")


@pytest.mark.minio
class TestDeltaOnMinio(MinioSuite):
    __test__ = True
    form = "delta"
    oddities = TestDelta.oddities


class TestParquet(LakeSuite):
    __test__ = True
    form = "parquet"
    strategies = frozenset({Strategy.OVERWRITE})


@pytest.mark.minio
class TestParquetOnMinio(MinioSuite):
    __test__ = True
    form = "parquet"
    strategies = frozenset({Strategy.OVERWRITE})


class TestJson(LakeSuite):
    __test__ = True
    form = "json"
    strategies = frozenset({Strategy.OVERWRITE})
