"""The figures of one store, in the form that every benchmark returns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def figures(rows: int, *, ours: float, limit: float, what: str, limited_by: str) -> dict[str, Any]:
    """Return rows per second of both ways and their ratio; `ours` and `limit` are seconds."""
    return {
        "what": what,
        "rows": rows,
        "rows_per_second": round(rows / ours),
        "limit": limited_by,
        "limit_rows_per_second": round(rows / limit),
        "ratio": round(limit / ours, 2),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
