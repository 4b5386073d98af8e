"""Read the case files, and build the tables that they describe."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from ...contracts.columns import Kind, LogicalType, parse_type
from ..model import NARROW, narrow_row
from ..samples import storage_array

FOLDER = Path(__file__).parent
TYPES = tuple(sorted(file.stem for file in FOLDER.glob("*.yaml") if file.stem != "names"))
EVERY_CASE = "every_type"
_SPREAD_DAYS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A logical type as contracts write it, and values as `storage_array` takes them."""

    type: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Oddities:
    """What a destination is known to refuse, each by an error of its own instead of changing it."""

    types: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()


def read_cases(name: str, overrides: Path | None) -> list[Case]:
    """Return the cases of one file, or of all of them; a file of the same name in `overrides` replaces ours."""
    if name == EVERY_CASE:
        return [case for each in TYPES for case in read_cases(each, overrides)]
    file = (
        overrides / f"{name}.yaml" if overrides and (overrides / f"{name}.yaml").exists() else FOLDER / f"{name}.yaml"
    )
    return [Case(entry["type"], tuple(entry["values"])) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]


def read_oddities(file: Path | None) -> Oddities:
    """Return the oddities of a YAML file with the lists `types`, `columns` and `tables`."""
    if file is None:
        return Oddities()
    document: Mapping[str, Sequence[str]] = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    return Oddities(**{name: frozenset(values) for name, values in document.items()})


@cache
def odd_names(*, every_reserved: int = 1) -> tuple[str, ...]:
    """Return the names of `names.yaml`, each once; of the reserved words every n-th."""
    # Without YAML's own types: `true` and `null` are names here.
    document = yaml.load((FOLDER / "names.yaml").read_text(encoding="utf-8"), yaml.BaseLoader)
    pairs = [name for pair in document["two_cases"] for name in pair]
    return tuple(dict.fromkeys([*document["odd"], *pairs, *document["reserved"][::every_reserved]]))


def case_columns(cases: Sequence[Case]) -> dict[str, str]:
    """Return the columns of a table for all values of some cases: one never null, and one that may be, for each."""
    columns = dict(NARROW)
    for number, case in enumerate(cases):
        columns |= {f"must_{number}": case.type, f"may_{number}": f"{case.type}?"}
    return columns


def case_table(schema: pa.Schema, cases: Sequence[Case]) -> pa.Table:
    """Return a table in which each value of each case occurs, and null in the columns that may be null."""
    count = max(len(case.values) for case in cases) + 1
    narrow = [narrow_row(n, day=n % _SPREAD_DAYS) for n in range(count)]
    columns = [
        storage_array(field.type, [row[field.name] for row in narrow]) for field in schema if field.name in NARROW
    ]
    for case in cases:
        kind = parse_type(case.type)[0]
        values = [_parsed(kind, value) for value in case.values]
        must = [values[n % len(values)] for n in range(count)]
        may = [None, *values, *([None] * (count - 1 - len(values)))]
        columns += [storage_array(kind.arrow, must), storage_array(kind.arrow, may)]
    return pa.Table.from_arrays(columns, schema=schema)


def _parsed(kind: LogicalType, value: Any) -> Any:
    if value is None:
        return None
    if kind.element is not None:
        return [_parsed(kind.element, each) for each in value]
    return _PARSERS.get(kind.kind, lambda same: same)(value)


def _microseconds(text: str) -> int:
    hours, minutes, seconds = text.split(":")
    return (int(hours) * 3600 + int(minutes) * 60) * 1_000_000 + int(Decimal(seconds) * 1_000_000)


_PARSERS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DECIMAL: Decimal,
    Kind.UUID: lambda text: uuid.UUID(text).bytes,
    Kind.BYTES: bytes.fromhex,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: _microseconds,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.TIMESTAMPTZ: datetime.fromisoformat,
}
