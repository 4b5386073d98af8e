"""Tables whose rows move between partitions or leave, and a plain model of what must be there after each set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from ownlens_plugins.api import Covers, LoadPlan, LoadResult
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import make_plan, sample_table
from ownlens_s3.destination import S3Destination

from .loads import Loader, contract_of

COLUMNS = {
    "id": "int64",
    "region": "enum(eu, us)",
    "token": "uuid",
    "day": "date",
    "at": "timestamptz",
    "note": "text?",
    "changed": "timestamptz?",
}
# How a table may lie: the option, and the column that it is partitioned by.
LAYOUTS = {"none": ("none", "day"), "own day": ("day", "day"), "derived day": ("day", "at"), "month": ("month", "at")}
KEYS = {"number": ["id"], "several": ["id", "region"], "uuid": ["token"], "text": ["region", "token"]}
FIRST = date(2026, 1, 30)
Row = dict[str, Any]


def moving_contract(layout: str = "own day", key: str = "number", **overrides: Any) -> TableContract:
    partition, column = LAYOUTS[layout]
    defaults = {"columns": COLUMNS, "key": KEYS[key], "partition_by": column, "version_by": "changed"}
    defaults["cursor"] = ["changed", "at"]
    return contract_of("upsert", "delta", partition, **{**defaults, **overrides})


def row(number: int, day: int = 0, version: int | None = 0, **values: Any) -> Row:
    """Return a row of `COLUMNS`; its day counts from 2026-01-30, its version in hours."""
    on = FIRST + timedelta(days=day)
    at = datetime(on.year, on.month, on.day, 23, 30, tzinfo=UTC)
    changed = None if version is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=version)
    base = {"id": number, "region": ("eu", "us")[number % 2], "token": number.to_bytes(16, "big")}
    return {**base, "day": on, "at": at, "note": f"n{number}", "changed": changed, **values}


@dataclass
class Model:
    """What the table must show: one row a key."""

    contract: TableContract
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)

    def key(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name] for name in self.contract.key)

    def apply(self, staged: Sequence[Mapping[str, Any]], covers: Covers | None = None) -> tuple[int, int, int, int]:
        """Apply a set; return what it inserted, updated, left unchanged and deleted."""
        told = [0, 0, 0]
        if covers and covers.keys_only:
            told[2] = len({self.key(values) for values in staged} & self.rows.keys())
        for values in () if covers and covers.keys_only else staged:
            told[self._take(dict(values), wins=covers is not None)] += 1
        gone = self._gone({self.key(values) for values in staged}, covers)
        for key in gone:
            del self.rows[key]
        return (*told, len(gone))  # type: ignore[return-value]

    def _take(self, values: Row, *, wins: bool) -> int:
        held = self.rows.get(self.key(values))
        if held is None:
            self.rows[self.key(values)] = values
            return 0
        newer = held["changed"] is None or (values["changed"] is not None and values["changed"] >= held["changed"])
        if held == values or not (wins or newer):
            return 2
        self.rows[self.key(values)] = values
        return 1

    def _gone(self, staged: set[tuple[Any, ...]], covers: Covers | None) -> list[tuple[Any, ...]]:
        if covers is None:
            return []
        return [key for key, values in self.rows.items() if key not in staged and _covered(values, covers)]


def _covered(values: Row, covers: Covers) -> bool:
    if covers.days is None or covers.column is None:
        return True
    day = values[covers.column]
    return (day.date() if isinstance(day, datetime) else day) in covers.days


@dataclass
class Mover:
    """Loads sets into one table and compares it with the model after each."""

    loader: Loader
    model: Model

    @classmethod
    def of(cls, destination: S3Destination, folder: Path, layout: str = "own day", **contract: Any) -> Mover:
        made = moving_contract(layout, **contract)
        return cls(Loader(destination, made, folder), Model(made))

    def plan(self, sequence: int, rows: Iterable[Row], covers: Covers | None = None) -> LoadPlan:
        loader, listed = self.loader, list(rows)
        if covers is not None and covers.keys_only:
            made = self._keys_plan(sequence, listed)
        else:
            made = loader.plan(sequence, sample_table(loader.contract, listed))
        loader.plans[sequence] = replace(made, covers=covers)
        return loader.plans[sequence]

    def _keys_plan(self, sequence: int, rows: Sequence[Row]) -> LoadPlan:
        contract = self.loader.contract
        keys = sample_table(contract, rows).select(list(contract.key))
        loose = moving_contract("none", partition_by=None)
        made = make_plan(self.loader.destination, loose, keys, self.loader.folder / "staged", sequence=sequence)
        options = type(made.options).model_validate(contract.options_for("s3"))
        return replace(made, contract=contract, options=options)

    def load(self, sequence: int, rows: Iterable[Row], covers: Covers | None = None) -> LoadResult:
        """Load a set, and require what it told and what is there."""
        listed = list(rows)
        result = load(self.loader.destination, self.plan(sequence, listed, covers))
        expected = self.model.apply(listed, covers)
        self.require()
        assert (result.inserted, result.updated, result.unchanged, result.deleted) == expected
        assert not result.replayed
        return result

    def require(self) -> None:
        wanted = sample_table(self.loader.contract, list(self.model.rows.values()))
        self.loader.require(wanted)

    @property
    def landed(self) -> pa.Table:
        return self.loader.landed()
