"""Rows that break a contract: the reasons, and what the rows held."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import pyarrow as pa
import pyarrow.types as pt

from ..contracts import TableContract
from .sources.source import REFUSED_PREFIX
from .spelling import texts

MOST_REASONS = 10
NULL_KEY = "is null"
REPEATED_KEY = "key: another row of this set has the same key, and an append takes each key once"


class Unfit(ValueError):
    """A value that cannot be kept exactly. The message is the reason; it never holds the value."""


class Origin(StrEnum):
    """What refused a row: the contract as it came from the source, or after a plugin's transform, or its key."""

    SOURCE = "source"
    TRANSFORM = "transform"
    KEY = "key"


@dataclass(frozen=True)
class RefusedBatch:
    """Refused rows of one batch, as they came: every column of the source, in the source's types.

    `checked` is that of `Extracted`.
    """

    values: pa.RecordBatch
    origin: Origin = Origin.SOURCE
    checked: bool = False

    @cached_property
    def rows(self) -> list[str]:
        """Each row as JSON: an object of columns, each the source's own text of the value, or null."""
        columns = self._columns()
        return [
            json.dumps({name: cells[row] for name, cells in columns.items()}, ensure_ascii=False)
            for row in range(self.values.num_rows)
        ]

    def _columns(self) -> dict[str, list[str | None]]:
        spelled = {
            name: texts(column) for name, column in zip(self.values.schema.names, self.values.columns, strict=True)
        }
        shown = {name: cells for name, cells in spelled.items() if not name.startswith(REFUSED_PREFIX)}
        for name in spelled.keys() - shown.keys():  # the source could not give these as values
            plain = name.removeprefix(REFUSED_PREFIX)
            pairs = zip(spelled[name], shown.get(plain, spelled[name]), strict=True)
            shown[plain] = [value if refused is None else refused for refused, value in pairs]
        return shown


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that breaks the contract: a reason for each bad column, and the row itself. Reasons never hold values."""

    reasons: tuple[str, ...]
    held: RefusedBatch
    index: int

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)

    @property
    def row(self) -> str:
        """The row as JSON: an object of columns, each the source's own text of the value, or null."""
        return self.held.rows[self.index]

    @property
    def digest(self) -> bytes:
        """16 bytes by which the same row, refused for the same reasons, is known again."""
        return hashlib.blake2b(f"{self.reason}\0{self.row}".encode(), digest_size=16).digest()


def refused_rows(
    batch: pa.RecordBatch, bad: dict[int, list[str]], origin: Origin, *, checked: bool
) -> list[RefusedRow]:
    """Take the bad rows of a batch aside; `bad` names their reasons by row."""
    held = RefusedBatch(_picked(batch, sorted(bad)), origin, checked)
    return [RefusedRow(tuple(bad[row]), held, index) for index, row in enumerate(sorted(bad))]


def repeated_rows(batch: pa.RecordBatch) -> list[RefusedRow]:
    """Return conformed rows whose key another row of their set has."""
    held = RefusedBatch(batch, Origin.KEY)
    return [RefusedRow((REPEATED_KEY,), held, index) for index in range(batch.num_rows)]


def _picked(batch: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    plain = _decoded(batch)
    if len(rows) == plain.num_rows:
        return plain
    try:
        return plain.take(pa.array(rows, pa.int64()))
    except pa.ArrowNotImplementedError:  # views, for one, cannot be taken from
        return pa.concat_batches([plain.slice(row, 1) for row in rows])


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    # A dictionary would be kept, and written, whole for each refused row.
    arrays = [_entries(array) if pt.is_dictionary(array.type) else array for array in batch.columns]
    fields = [field.with_type(array.type) for field, array in zip(batch.schema, arrays, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _entries(array: pa.Array) -> pa.Array:
    entries = array.dictionary
    plain = entries.cast(pa.string()) if entries.type == pa.string_view() else entries
    return plain.take(array.indices)


def breaks_key(contract: TableContract, row: RefusedRow) -> bool:
    """Tell whether a row was refused for a null or repeated key."""
    return any(_is_of_key(contract, reason) for reason in row.reasons)


def _is_of_key(contract: TableContract, reason: str) -> bool:
    column, _, rest = reason.partition(": ")
    return reason == REPEATED_KEY or (column in contract.key and rest.startswith(NULL_KEY))


def commonest(rows: Iterable[RefusedRow]) -> dict[str, int]:
    """Return the commonest reasons, at most ten, each with the number of rows that it holds for."""
    return dict(Counter(reason for row in rows for reason in row.reasons).most_common(MOST_REASONS))
