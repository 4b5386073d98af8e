"""Where a table's files lie: its folder, its partition folders, and the names of data files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ownlens_plugins.contracts import Kind, TableContract
from ownlens_plugins.errors import Rejected, UnknownName

from .config import S3Options

DAY_COLUMN = "_ownlens_day"
MONTH_COLUMN = "_ownlens_month"
# Folders that start with an underscore are hidden from readers of Parquet folders, and from Delta's own cleaning.
PRIVATE = "_ownlens"
MANIFESTS = f"{PRIVATE}/manifests"
LOG = "_delta_log"
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DATA_FILE = re.compile(r"(?:.*/)?part-(?P<sequence>\d{8,})-(?P<attempt>[0-9a-f]{16})-[^/]*\.(?:parquet|json)[.a-z]*")
# In the table's own folder or a partition of it; other tables may lie in folders below.
_OWN_FILE = re.compile(r"(?:[^/]+=[^/]+/)?part-[^/]+")
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows fall into partition folders. `column` is the folder's name; `source` the contract's column.

    A partition is numbered: days since 1970-01-01, or months since year 0.
    """

    source: str
    column: str
    unit: Literal["day", "month"]

    @property
    def derived(self) -> bool:
        return self.column != self.source

    @property
    def arrow(self) -> pa.DataType:
        return pa.date32() if self.unit == "day" else pa.string()

    @property
    def field(self) -> pa.Field:
        return pa.field(self.column, self.arrow, nullable=False)

    def numbers(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return the partition number of each row, int32. Timestamps are split by their UTC day."""
        days = batch.column(self.source).cast(pa.date32())
        if self.unit == "day":
            return np.asarray(days.cast(pa.int32()))
        return np.asarray(pc.add(pc.multiply(pc.year(days), 12), pc.subtract(pc.month(days), 1)), np.int32)

    def value(self, number: int) -> str:
        """Return a partition's value as text: `2026-01-31` or `2026-01`.

        Raises:
            Rejected: the date lies outside the years 1 to 9999, which no folder name can carry.
        """
        try:
            if self.unit == "day":
                return date.fromordinal(number + _EPOCH).isoformat()
            return date(number // 12, number % 12 + 1, 1).isoformat()[:7]
        except (ValueError, OverflowError):
            raise Rejected(f"s3 cannot partition by {self.source!r}: a date lies outside the years 1 to 9999") from None

    def value_of(self, day: date) -> str:
        return day.isoformat() if self.unit == "day" else day.isoformat()[:7]

    def folder(self, value: str) -> str:
        return f"{self.column}={value}"


def layout_of(contract: TableContract, options: S3Options) -> Layout | None:
    """Return how a contract's table is partitioned; None when it is not.

    Raises:
        Rejected: the options ask for partitions and the contract names no column for them.
    """
    if options.partition == "none":
        return None
    source = contract.partition_by
    if source is None:
        raise Rejected(f"{contract.table}: s3: {'; '.join(options.problems(contract))}")
    if options.partition == "month":
        return Layout(source, MONTH_COLUMN, "month")
    # A date column with a plain name is its own partition; other names would need escaping in folders and log.
    own = contract.column(source).type.kind is Kind.DATE and _PLAIN_NAME.fullmatch(source)
    return Layout(source, source if own else DAY_COLUMN, "day")


def data_file_name(sequence: int, attempt: str, detail: str, suffix: str) -> str:
    """Return a data file's name; it says which attempt of which load wrote the file."""
    return f"part-{sequence:08d}-{attempt}-{detail}.{suffix}"


def attempt_of(path: str) -> tuple[int, str] | None:
    """Return sequence and attempt of a data file's path, or None for files that OwnLens did not name."""
    match = _DATA_FILE.fullmatch(path)
    return None if match is None else (int(match["sequence"]), match["attempt"])


def is_own_file(path: str) -> bool:
    """Tell whether OwnLens wrote a data file for the very table whose folder the path is relative to."""
    return _OWN_FILE.fullmatch(path) is not None and attempt_of(path) is not None


def get_s3_path(
    table: str,
    partition_date: date | None = None,
    *,
    contracts: Mapping[str, TableContract] | Iterable[TableContract],
    uri: str = "",
) -> str:
    """Return the folder of a table, or of its partition for a date.

    `table` is a table's name (`customer_sessions`), its path (`customer/sessions`) or `domain/table`.
    Without `uri`, the result is relative to the lake's root.

    Raises:
        UnknownName: no contract answers to `table`.
        Rejected: a date is given and the table is not partitioned.
    """
    contract = _find(table, contracts.values() if isinstance(contracts, Mapping) else contracts)
    root = f"{uri.replace('s3a://', 's3://', 1).rstrip('/')}/" if uri else ""
    folder = f"{root}{contract.path}"
    if partition_date is None:
        return folder
    layout = layout_of(contract, S3Options.model_validate(contract.options_for("s3")))
    if layout is None:
        raise Rejected(f"{contract.table}: s3 does not partition this table; ask for its path without a date")
    return f"{folder}/{layout.folder(layout.value_of(partition_date))}"


def _find(table: str, contracts: Iterable[TableContract]) -> TableContract:
    wanted = table.strip("/")
    spellings: dict[str, TableContract] = {}
    for contract in contracts:
        for spelling in (contract.path, f"{contract.domain}/{contract.table}", contract.table):
            spellings[spelling] = contract
    if wanted not in spellings:
        raise UnknownName("table", table, spellings)
    return spellings[wanted]
