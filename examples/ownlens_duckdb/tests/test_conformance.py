"""The DuckDB destination keeps every promise of OwnLens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from ownlens_duckdb.destination import DuckDBConfig, DuckDBDestination

from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.testing import DestinationSuite, Traces


class TestDuckDB(DestinationSuite):
    destination_type = DuckDBDestination
    preload = ("duckdb",)
    oddities = Path(__file__).with_name("oddities.yaml")

    @pytest.fixture
    def destination(self, tmp_path: Path) -> DuckDBDestination:
        (tmp_path / "store").mkdir()
        return DuckDBDestination(DuckDBConfig(path=str(tmp_path / "store" / "main.duckdb")))

    def traces(self, destination: Destination[Any, Any], plan: LoadPlan) -> Traces:
        path = Path(destination.config.path)
        ledger = "SELECT sequence FROM _ownlens_ledger WHERE table_name = ? ORDER BY sequence"
        with duckdb.connect(str(path)) as db:
            sequences = [sequence for (sequence,) in db.execute(ledger, [plan.table]).fetchall()]
            tables = [name for (name,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        ours = [name for name in tables if name.startswith("_ownlens") and name != "_ownlens_ledger"]
        return Traces(sequences, [*ours, *(file.name for file in path.parent.iterdir() if file != path)])
