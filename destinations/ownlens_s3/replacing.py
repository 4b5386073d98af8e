"""The commit that replaces a Delta table's rows, schema and partitions at once, and keeps its id, name and comments.

delta-rs replaces a schema, but neither with files that are written already into other partitions, nor in a table with
mapped columns or features that it does not know. So this one commit is written here, by Delta's protocol: the file of
the next version, created only if its name is free, as delta-rs does. A rival that commits first takes the name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from .folder import TableFolder
from .foreign import CONSTRAINT, HONOURED, features
from .paths import LOG

Action = dict[str, Any]
# Configuration that means nothing, or another thing, without the feature that it belongs to.
_GONE = (
    *("delta.columnMapping.", "delta.rowTracking.", "delta.enableRowTracking", "delta.materializedRow"),
    *("delta.inCommitTimestamp", "delta.enableInCommitTimestamps", "delta.enableTypeWidening", "delta.enableIceberg"),
    *("delta.requireCheckpointProtection", "delta.identity.", "delta.feature.", "delta.universalFormat", "delta.clust"),
    "delta.randomizeFilePrefixes",
)
# Features that readers must know as well.
_FOR_READERS = frozenset({"deletionVectors", "timestampNtz", "v2Checkpoint", "variantType"})
_BY_NUMBER = frozenset({"appendOnly", "invariants"})  # what protocol 1/2 stands for


def replace_all(
    table: DeltaTable,
    folder: TableFolder,
    files: Sequence[AddAction | RemoveAction],
    schema: Schema,
    partition_by: Sequence[str],
    properties: CommitProperties,
) -> None:
    """Commit the version after the one that `table` shows: these files and this schema instead of all others.

    Raises:
        CommitFailedError: another commit took the version; look again. An answer that was lost looks the same.
    """
    now = int(time.time() * 1000)
    actions = [
        _commit_info(now, partition_by, properties.custom_metadata or {}),
        _protocol(table, schema),
        _metadata(table, schema, partition_by, now),
        *_transactions(properties),
        *_removals(table, now),
        *({"add": _addition(file)} for file in files if isinstance(file, AddAction)),
    ]
    content = "".join(f"{json.dumps(action, ensure_ascii=False, separators=(',', ':'))}\n" for action in actions)
    if not folder.put_new(f"{LOG}/{table.version() + 1:020d}.json", content.encode()):
        raise CommitFailedError("another commit took this version")
    table.update_incremental()


def _commit_info(now: int, partition_by: Sequence[str], notes: Mapping[str, Any]) -> Action:
    parameters = {"mode": "Overwrite", "partitionBy": json.dumps(list(partition_by))}
    told = {"timestamp": now, "operation": "WRITE", "operationParameters": parameters, "engineInfo": "OwnLens"}
    return {"commitInfo": {**told, **notes}}


def _protocol(table: DeltaTable, schema: Schema) -> Action:
    """Return the least protocol for what the table keeps; all of its files are new, so no old feature is needed."""
    named = features(table) & HONOURED - {"columnMapping", "generatedColumns", "checkConstraints"}
    own = _configuration(table)
    needed = set(named | _BY_NUMBER)
    needed |= {"timestampNtz"} if "timestamp_ntz" in schema.to_json() else set()
    needed |= {"changeDataFeed"} if own.get("delta.enableChangeDataFeed") == "true" else set()
    needed |= {"checkConstraints"} if any(name.startswith(CONSTRAINT) for name in own) else set()
    if needed == _BY_NUMBER:
        return {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
    readers = {"readerFeatures": sorted(needed & _FOR_READERS)} if needed & _FOR_READERS else {}
    return {
        "protocol": {
            "minReaderVersion": 3 if readers else 1,
            "minWriterVersion": 7,
            **readers,
            "writerFeatures": sorted(needed),
        }
    }


def _metadata(table: DeltaTable, schema: Schema, partition_by: Sequence[str], now: int) -> Action:
    there = table.metadata()
    return {
        "metaData": {
            "id": str(there.id),
            "name": there.name,
            "description": there.description,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema.to_json(),
            "partitionColumns": list(partition_by),
            "createdTime": there.created_time or now,
            "configuration": _configuration(table),
        }
    }


def _configuration(table: DeltaTable) -> dict[str, str]:
    own = table.metadata().configuration
    return {name: value for name, value in own.items() if not name.startswith(_GONE)}


def _transactions(properties: CommitProperties) -> Iterator[Action]:
    for each in properties.app_transactions or ():
        yield {"txn": {"appId": each.app_id, "version": each.version, "lastUpdated": each.last_updated}}


def _removals(table: DeltaTable, now: int) -> Iterator[Action]:
    for path in pa.table(table.get_add_actions()).column("path").to_pylist():
        yield {"remove": {"path": path, "deletionTimestamp": now, "dataChange": True}}


def _addition(file: AddAction) -> Action:
    return {
        "path": file.path,
        "partitionValues": dict(file.partition_values),
        "size": file.size,
        "modificationTime": file.modification_time,
        "dataChange": file.data_change,
        "stats": file.stats,
    }
