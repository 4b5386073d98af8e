"""Contracts and rows for tests of staging and planning: a table `reads` in any preset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("read_id", pa.int64()),
        ("title", pa.string()),
        ("created_at", pa.timestamp("us", "UTC")),
        ("updated_at", pa.timestamp("us", "UTC")),
    ]
)
WHOLE = StageRequest(Extraction.WHOLE, Window(None, START))
WINDOW = StageRequest(Extraction.WINDOW, Window(None, START))
REFRESH = StageRequest(Extraction.WHOLE, Window(None, START), full_refresh=True)
ONCE = StageRequest(Extraction.WINDOW, Window(None, None), once=True)


def reads(preset: str = "events", **changes: Any) -> TableContract:
    document: dict[str, Any] = {
        "table": "reads",
        "domain": "news",
        "preset": preset,
        "key": ["read_id"],
        "partition_by": "created_at",
        "path": "news/reads",
        "max_rejected": 1.0,
        "columns": {
            "read_id": "int64",
            "title": "text?",
            "created_at": "timestamptz",
            "updated_at": "timestamptz",
        },
    }
    return contract_from({**document, **changes})


def row(read_id: int | None, title: str | None = "t", *, version: int = 0, day: int = 0) -> dict[str, Any]:
    created = START + timedelta(days=day)
    return {
        "read_id": read_id,
        "title": title,
        "created_at": created,
        "updated_at": created + timedelta(hours=version),
    }


def rows(*ids: int) -> list[dict[str, Any]]:
    return [row(read_id) for read_id in ids]


def extracted(values: Sequence[dict[str, Any]], *, batch_rows: int | None = None) -> Extracted:
    return Extracted(pa.Table.from_pylist([*values], SCHEMA).to_reader(batch_rows))


def stage(
    area: StagingArea, contract: TableContract, values: Sequence[dict[str, Any]], request: StageRequest = WINDOW
) -> Manifest:
    """Stage rows; fail when they bring nothing new."""
    manifest = area.stage(contract, extracted(values), request)
    assert manifest is not None
    return manifest


def staged_rows(area: StagingArea, manifest: Manifest) -> list[dict[str, Any]]:
    return [value for part in area.parts(manifest) for batch in part.read() for value in batch.to_pylist()]


def ids(area: StagingArea, manifest: Manifest) -> list[int]:
    return [value["read_id"] for value in staged_rows(area, manifest)]
