"""The four presets: what a table's rows mean, and the loads that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Strategy(StrEnum):
    """How a load changes the rows that the destination already holds."""

    APPEND = "append"
    UPSERT = "upsert"
    OVERWRITE = "overwrite"
    REPLACE_PARTITION = "replace_partition"


class Engine(StrEnum):
    """Who writes the rows of a load: this process, a Spark cluster, or `auto`: whichever fits its size."""

    AUTO = "auto"
    LOCAL = "local"
    SPARK = "spark"


class Extraction(StrEnum):
    """Which source rows one staged set holds."""

    WHOLE = "whole"
    WINDOW = "window"
    DAYS = "days"


@dataclass(frozen=True, slots=True)
class Preset:
    """Defaults that a contract inherits. `destinations` holds options by destination name."""

    name: str
    extraction: Extraction
    strategy: Strategy
    version_by: str | None
    destinations: Mapping[str, Mapping[str, Any]]

    def options(self, destination: str) -> dict[str, Any]:
        """Return the default options for a destination; one that the preset does not name gets a strategy only."""
        return {"strategy": self.strategy.value, **self.destinations.get(destination, {})}


def _preset(
    name: str, extraction: Extraction, strategy: Strategy, version_by: str | None, **destinations: dict[str, Any]
) -> Preset:
    return Preset(name, extraction, strategy, version_by, MappingProxyType(destinations))


_UPSERT_ROWS = {"strategy": "upsert", "on_conflict": "update"}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            _preset(
                "reference",
                Extraction.WHOLE,
                Strategy.OVERWRITE,
                "updated_at",
                s3={"strategy": "overwrite", "format": "parquet", "partition": "none"},
                postgresql=_UPSERT_ROWS,
                clickhouse={"strategy": "overwrite", "engine": "MergeTree", "partition": "none"},
            ),
            _preset(
                "events",
                Extraction.WINDOW,
                Strategy.APPEND,
                None,
                s3={"strategy": "append", "format": "delta", "partition": "day"},
                postgresql={"strategy": "append", "on_conflict": "error"},
                clickhouse={"strategy": "append", "engine": "MergeTree", "partition": "month"},
            ),
            _preset(
                "entity",
                Extraction.WINDOW,
                Strategy.UPSERT,
                "updated_at",
                s3={"strategy": "upsert", "format": "delta", "partition": "day"},
                postgresql=_UPSERT_ROWS,
                clickhouse={"strategy": "upsert", "engine": "ReplacingMergeTree", "partition": "month"},
            ),
            _preset(
                "daily",
                Extraction.DAYS,
                Strategy.UPSERT,
                "updated_at",
                s3={"strategy": "upsert", "format": "delta", "partition": "day"},
                postgresql=_UPSERT_ROWS,
                clickhouse={"strategy": "replace_partition", "engine": "MergeTree", "partition": "day"},
            ),
        )
    }
)
