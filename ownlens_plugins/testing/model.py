"""What a table must hold after some loads: a plain list of rows that follows the meaning of each strategy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ..contracts import Strategy

Row = Mapping[str, Any]
NARROW: Mapping[str, str] = {
    "id": "int64",
    "day": "date",
    "title": "text?",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
ROWS_PER_SET = 30
_FIRST_DAY = date(2026, 1, 1)


def narrow_row(number: int, *, day: int, version: int = 0) -> dict[str, Any]:
    """Return a row with the columns of `NARROW`, on the given day after 2026-01-01; every seventh title is null."""
    created = datetime.combine(_FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=day, microseconds=number)
    return {
        "id": number,
        "day": created.date(),
        "title": None if number % 7 == 0 else f"tïtle {number} v{version} '\"\\\t",
        "created_at": created,
        "updated_at": created + timedelta(hours=version),
    }


def staged_set(strategy: Strategy, number: int) -> list[dict[str, Any]]:
    """Return the rows of the set of this number (0, 1, ...).

    Sets of an append have keys of their own. Those of an upsert and an overwrite share half of their keys with the set
    before, with newer versions. Those of a replace_partition hold two whole days, the first of which the set before
    holds too.
    """
    if strategy is Strategy.REPLACE_PARTITION:
        return [narrow_row(number * 100 + n, day=number + n % 2, version=number) for n in range(ROWS_PER_SET)]
    step = ROWS_PER_SET if strategy is Strategy.APPEND else ROWS_PER_SET // 2
    ids = range(number * step, number * step + ROWS_PER_SET)
    return [narrow_row(n, day=n % 3, version=number) for n in ids]


@dataclass
class TableModel:
    """The rows of one table, as plain values."""

    strategy: Strategy
    rows: list[Row] = field(default_factory=list)

    def apply(self, staged: Sequence[Row]) -> None:
        """Apply one staged set."""
        if self.strategy is Strategy.APPEND:
            self.rows += staged
        elif self.strategy is Strategy.UPSERT:
            self._upsert(staged)
        elif self.strategy is Strategy.OVERWRITE:
            self.rows = list(staged)
        else:
            days = {row["day"] for row in staged}
            self.rows = [*(row for row in self.rows if row["day"] not in days), *staged]

    def _upsert(self, staged: Iterable[Row]) -> None:
        newest = {row["id"]: row for row in self.rows}
        for row in staged:
            held = newest.get(row["id"])
            if held is None or row["updated_at"] >= held["updated_at"]:
                newest[row["id"]] = row
        self.rows = list(newest.values())

    def counts(self, staged: Sequence[Row]) -> tuple[int, int, int]:
        """Return what an upsert of the set would count: inserted, updated, unchanged."""
        held = {row["id"]: row for row in self.rows}
        new = sum(row["id"] not in held for row in staged)
        newer = sum(row["id"] in held and row["updated_at"] > held[row["id"]]["updated_at"] for row in staged)
        return new, newer, len(staged) - new - newer
