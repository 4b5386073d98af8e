"""What a table in the lake is: schema, rows, files, and its last load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from ownlens_plugins.contracts import TableContract

from .config import S3Options
from .destination import S3Destination
from .failures import explained
from .ledger import LedgerEntry, read_entry
from .shape import held_columns


@dataclass(frozen=True)
class TableMetadata:
    """A table as it is visible now. `columns` maps names to logical types; `bytes` counts the data files."""

    table: str
    format: str
    uri: str
    columns: Mapping[str, str]
    rows: int
    files: int
    bytes: int
    last_load: LedgerEntry | None

    @property
    def loaded_at(self) -> datetime | None:
        """When the last load was committed, in UTC."""
        return None if self.last_load is None else datetime.fromisoformat(self.last_load.committed_at)


def table_metadata(destination: S3Destination, contract: TableContract) -> TableMetadata | None:
    """Return what the lake says about a contract's table, or None when there is no such table.

    Raises:
        Retryable, Rejected: the lake cannot be read.
    """
    options = S3Options.model_validate(contract.options_for(destination.name))
    with explained(contract.table, "describe the table"):
        return _of_delta(destination, contract, options) or _of_files(destination, contract, options)


def _of_delta(destination: S3Destination, contract: TableContract, options: S3Options) -> TableMetadata | None:
    lake = destination.delta(contract, options)
    table = lake.open()
    if table is None:
        return None
    files = pa.table(table.get_add_actions(flatten=True))
    position = lake.position()
    hidden = lake.layout.column if lake.layout is not None and lake.layout.derived else None
    return TableMetadata(
        table=contract.table,
        format="delta",
        uri=lake.folder.uri,
        columns={name: column.words for name, column in held_columns(table).items() if name != hidden},
        rows=pc.sum(files["num_records"]).as_py() or 0,
        files=files.num_rows,
        bytes=pc.sum(files["size_bytes"]).as_py() or 0,
        last_load=None if position is None else read_entry(lake.folder, position),
    )


def _of_files(destination: S3Destination, contract: TableContract, options: S3Options) -> TableMetadata | None:
    table = destination.file_table(contract, options)
    current = table.current()
    if current is None:
        return None
    return TableMetadata(
        table=contract.table,
        format=current.format,
        uri=table.folder.uri,
        columns={name: column.words for name, column in current.columns.items()},
        rows=current.rows,
        files=len(current.files),
        bytes=sum(file.bytes for file in current.files),
        last_load=current.entry,
    )
