"""The three destinations as executors reach them, and loads into them that are compared with a local one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ownlens_plugins.api import Destination, LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import EVERY_TYPE, canonical_rows, make_plan, sample_contract, sample_rows, sample_table

STORES = ("s3", "postgresql", "clickhouse")
_PRESETS = {
    Strategy.APPEND: "events",
    Strategy.UPSERT: "entity",
    Strategy.OVERWRITE: "reference",
    Strategy.REPLACE_PARTITION: "daily",
}


@dataclass
class Table:
    """One table of one destination. `left` returns what attempts left there."""

    destination: Destination[Any, Any]
    contract: TableContract
    folder: Path
    left: Callable[[LoadPlan], list[str]]
    _sequence: int = field(default=0)

    def plan(self, first: int, after: int, *, parts: int = 3) -> LoadPlan:
        """Stage the sample rows of these numbers as the next set."""
        self._sequence += 1
        rows = sample_table(self.contract, sample_rows(after)[first:])
        return make_plan(self.destination, self.contract, rows, self.folder, sequence=self._sequence, parts=parts)

    def load(self, plan: LoadPlan, map_parts: Any = None) -> LoadResult:
        result = load(self.destination, plan, map_parts=map_parts)
        return replace(result, committed_at=None)

    def landed(self) -> list[str]:
        plan = replace(self.plan(0, 0), sequence=999_999)
        return [repr(row) for row in canonical_rows(self.destination.read(plan).read_all())]

    def expected(self, rows: int) -> list[str]:
        return [repr(row) for row in canonical_rows(sample_table(self.contract, sample_rows(rows)))]


def contract(destination: str, strategy: Strategy, name: str) -> TableContract:
    """Return a contract of every type; of ClickHouse also with partitions."""
    block: dict[str, Any] = {"strategy": strategy.value}
    if destination == "clickhouse" and strategy is not Strategy.OVERWRITE:
        block["partition"] = "day"
    overrides: dict[str, Any] = {"table": name, "columns": EVERY_TYPE, "destinations": {destination: block}}
    if strategy in {Strategy.OVERWRITE, Strategy.REPLACE_PARTITION}:
        overrides["extraction"] = "whole"
    return sample_contract(_PRESETS[strategy], **overrides)
