"""Read a table from a folder of files, conformed, for tests of the file source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources.files import FileSource
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.settings import FileSourceConfig

WHOLE = Selection(Extraction.WHOLE, Window(None, None))


def source(folder: Path | str) -> FileSource:
    return FileSource(FileSourceConfig(kind="files", folder=str(folder)))


def read(folder: Path, contract: TableContract, selection: Selection = WHOLE) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the kept rows, and the reasons of the refused ones, both in order."""
    with source(folder).snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        table = pa.Table.from_batches(conformed.batches(), schema=contract.arrow_schema)
    return table.to_pylist(), [row.reason for row in conformed.refused]
