"""Delta tables as other programs make them, written as the log of their first version: no Spark is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

Field = dict[str, Any]


def field(name: str, kind: str = "long", *, nullable: bool = True, **notes: Any) -> Field:
    """Return a column as the log describes it; `notes` is its metadata."""
    return {"name": name, "type": kind, "nullable": nullable, "metadata": notes}


def mapped(fields: Sequence[Field]) -> list[Field]:
    """Return columns whose names in files are others."""
    named = enumerate(fields, start=1)
    return [
        {
            **each,
            "metadata": {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": f"col-{number:08x}"},
        }
        for number, each in named
    ]


def make_table(
    folder: str,
    fields: Sequence[Field],
    *,
    reader: int = 1,
    writer: int = 2,
    features: Sequence[str] = (),
    for_readers: Sequence[str] = (),
    configuration: Mapping[str, str] | None = None,
    partition_by: Sequence[str] = (),
) -> DeltaTable:
    """Write version 0 of a table without rows and open it. Features need reader 3 or writer 7."""
    protocol: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": writer}
    if features:
        protocol["writerFeatures"] = list(features)
    if for_readers:
        protocol["readerFeatures"] = list(for_readers)
    metadata = {
        "id": "11111111-2222-3333-4444-555555555555",
        "name": "theirs",
        "description": "made by another program",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": list(fields)}),
        "partitionColumns": list(partition_by),
        "configuration": dict(configuration or {}),
        "createdTime": 0,
    }
    log = Path(folder, "_delta_log")
    log.mkdir(parents=True)
    actions = [
        {"commitInfo": {"timestamp": 0, "operation": "CREATE TABLE"}},
        {"protocol": protocol},
        {"metaData": metadata},
    ]
    (log / f"{0:020d}.json").write_text("".join(f"{json.dumps(action)}\n" for action in actions))
    return DeltaTable(folder)
