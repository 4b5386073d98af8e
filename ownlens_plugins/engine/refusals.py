"""Rows that break a contract: the reason, and what the row held."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from .sources.source import REFUSED_PREFIX

MAX_RAW_CHARACTERS = 10_000


class Unfit(ValueError):
    """A value that cannot be kept exactly. The message is the reason; it never holds the value."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that breaks the contract: why, and its values as JSON text (cut at 10,000 characters)."""

    reason: str
    row: str


def raw_row(batch: pa.RecordBatch, index: int) -> str:
    """Return one row of a batch as JSON text, as it came from the source."""
    shown = {
        name: _shown(column.slice(index, 1))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if not name.startswith(REFUSED_PREFIX)
    }
    return json.dumps(shown, default=str, ensure_ascii=False)[:MAX_RAW_CHARACTERS]


def _shown(cell: pa.Array) -> Any:
    if pt.is_temporal(cell.type) and not (pt.is_duration(cell.type) or pt.is_interval(cell.type)):
        # Python has no infinite dates, no years beyond 9999 and no 24:00; Arrow prints those as what they are.
        return cell.cast(pa.string()).to_pylist()[0]
    if (pt.is_list(cell.type) or pt.is_large_list(cell.type)) and cell.null_count == 0:
        items = cell.flatten()
        return [_shown(items.slice(index, 1)) for index in range(len(items))]
    try:
        return _plain(cell.to_pylist()[0])
    except (ValueError, OverflowError):
        return "<value out of range>"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value
