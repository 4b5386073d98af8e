"""Contracts, rows and plans for tests of destinations."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..api import Destination, LoadPlan, StagedPart, TouchedSlice
from ..contracts import Strategy, TableContract, contract_from

EVERY_TYPE: Mapping[str, str] = {
    "id": "int64",
    "flag": "bool?",
    "small": "int16?",
    "medium": "int32?",
    "ratio32": "float32?",
    "ratio": "float64?",
    "amount": "decimal(18,4)?",
    "title": "text?",
    "token": "uuid?",
    "payload": "json?",
    "blob": "bytes?",
    "day": "date",
    "clock": "time?",
    "local_at": "timestamp?",
    "status": "enum(draft, live, gone)?",
    "tags": "array<text>?",
    "scores": "array<int32>?",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
_START = datetime(2026, 1, 1, tzinfo=UTC)


def sample_contract(preset: str = "entity", **overrides: Any) -> TableContract:
    """Return a contract named `samples` with one column of every logical type; overrides replace document fields."""
    document: dict[str, Any] = {
        "table": "samples",
        "domain": "tests",
        "preset": preset,
        "key": ["id"],
        "partition_by": None if preset == "reference" else "day",
        "path": "tests/samples",
        "columns": dict(EVERY_TYPE),
    }
    return contract_from({k: v for k, v in {**document, **overrides}.items() if v is not None})


def sample_rows(count: int, *, first: int = 0, version: int = 0, days: int = 3) -> list[dict[str, Any]]:
    """Return rows for `sample_contract`; every seventh value of a nullable column is null."""
    return [_row(index, version, days) for index in range(first, first + count)]


def _row(index: int, version: int, days: int) -> dict[str, Any]:
    created = _START + timedelta(days=index % days, microseconds=index)
    values: dict[str, Any] = {
        "id": index,
        "flag": index % 2 == 0,
        "small": index % 30_000 - 15_000,
        "medium": index * 7 - 1_000,
        "ratio32": float(index) / 4,
        "ratio": index / 3,
        "amount": Decimal(index * 12_345 + version).scaleb(-4),
        "title": f"tïtle {index} v{version} '\"\\\t",
        "token": uuid.UUID(int=index + 1).bytes,
        "payload": f'{{"n": {index}, "v": {version}}}',
        "blob": index.to_bytes(8, "big"),
        "clock": time(index % 24, index % 60, index % 60, index % 1_000_000),
        "local_at": created.replace(tzinfo=None),
        "status": ("draft", "live", "gone")[index % 3],
        "tags": [f"t{index % 5}", ""],
        "scores": [index, -index] if index % 4 else [],
    }
    values = {name: None if (index + n) % 7 == 0 and name != "id" else v for n, (name, v) in enumerate(values.items())}
    return {**values, "day": created.date(), "created_at": created, "updated_at": created + timedelta(hours=version)}


def sample_table(contract: TableContract, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as an Arrow table in the contract's schema."""
    columns = [storage_array(field.type, [row.get(field.name) for row in rows]) for field in contract.arrow_schema]
    return pa.Table.from_arrays(columns, schema=contract.arrow_schema)


def storage_array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Return values, given in the type's storage (a uuid as 16 bytes, a time also as microseconds), as an array."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_time64(kind) and any(isinstance(value, int) for value in values):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_list(kind):
        return _list_array(kind, values)
    return pa.array(values, kind)


def _list_array(kind: pa.ListType, lists: Sequence[Any]) -> pa.Array:
    flat = [value for values in lists if values is not None for value in values]
    offsets = [0]
    for values in lists:
        offsets.append(offsets[-1] + len(values or []))
    nulls = pa.array([values is None for values in lists], pa.bool_())
    array = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), storage_array(kind.value_type, flat), mask=nulls)
    return array.cast(kind)


def make_plan(
    destination: type[Destination[Any, Any]] | Destination[Any, Any],
    contract: TableContract,
    table: pa.Table,
    folder: Path,
    *,
    sequence: int = 1,
    parts: int = 2,
    strategy: Strategy | None = None,
) -> LoadPlan:
    """Stage an Arrow table below `folder` and return the plan that loads it into a destination."""
    options = destination.options_type.model_validate(contract.options_for(destination.name))
    staged = tuple(_stage(table, folder / f"{contract.path}/{sequence:08d}", parts))
    return LoadPlan(
        contract=contract,
        destination=destination.name,
        strategy=strategy or options.strategy,
        options=options,
        sequence=sequence,
        digest=hashlib.sha256("".join(part.sha256 for part in staged).encode()).hexdigest(),
        parts=staged,
        touched=touched_slice(contract, table),
    )


def _stage(table: pa.Table, folder: Path, parts: int) -> list[StagedPart]:
    if table.num_rows:
        folder.mkdir(parents=True, exist_ok=True)
    size = max(1, -(-table.num_rows // parts))
    staged = []
    for number, offset in enumerate(range(0, table.num_rows, size)):
        file = folder / f"part-{number:05d}.parquet"
        piece = table.slice(offset, size)
        pq.write_table(piece, file, compression="zstd")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        staged.append(StagedPart(f"{number:05d}", str(file), piece.num_rows, len(content), digest))
    return staged


def touched_slice(contract: TableContract, table: pa.Table) -> TouchedSlice | None:
    """Return the range of days that the rows of a table lie in; None when the contract is not partitioned."""
    if contract.partition_by is None or table.num_rows == 0:
        return None
    bounds = pc.min_max(table[contract.partition_by]).as_py()
    return TouchedSlice(contract.partition_by, _day(bounds["min"]), _day(bounds["max"]))


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def canonical_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows as sorted tuples of comparable values, so that two tables compare as multisets."""
    storage = [
        column.cast(column.type.storage_type) if isinstance(column.type, pa.BaseExtensionType) else column
        for column in table.columns
    ]
    return sorted(zip(*(column.to_pylist() for column in storage), strict=True), key=repr)
