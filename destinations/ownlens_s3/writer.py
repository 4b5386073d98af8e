"""Writing one staged part into data files that nothing refers to yet."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

import pyarrow as pa

from ownlens_plugins.api import LoadPlan, Receipt, StagedPart
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.faults import reach

from .columns import lake_schema, to_lake
from .config import S3Config, S3Options, lake_options
from .covering import keys_only
from .datafiles import FileKind, PartitionedFiles
from .failures import explained
from .folder import table_folder
from .paths import Layout, data_file_name, layout_of


def file_kind(contract: TableContract, options: S3Options) -> FileKind:
    """Return what a table's data files hold: all columns but one that is the partition folder itself."""
    layout = layout_of(contract, options)
    in_folder = None if layout is None or layout.derived else layout.column
    columns = tuple(column for column in contract.columns if column.name != in_folder)
    schema = lake_schema(contract)
    return FileKind(
        options.format, options.compression, columns, pa.schema([schema.field(column.name) for column in columns])
    )


@dataclass(frozen=True)
class FileWriter:
    """Writes parts as data files. Every call makes new names, so a part written twice is two sets of files.

    `written` collects the paths that this very object wrote. A copy on another worker starts its own, so receipts
    that name other paths tell the session that it does not know all files of its attempt. `marker` names the file that
    is there for as long as the attempt is not over.
    """

    config: S3Config
    plan: LoadPlan
    attempt: str
    marker: str
    written: set[str] = field(default_factory=set, compare=False)

    def __reduce__(self) -> tuple[type[FileWriter], tuple[S3Config, LoadPlan, str, str]]:
        return FileWriter, (self.config, self.plan, self.attempt, self.marker)

    def write(self, part: StagedPart) -> Receipt:
        """Write one part and return its files in the receipt.

        Raises:
            Retryable: the attempt is over, so that nobody would clear these files; they are deleted again.
        """
        with explained(self.plan.table, "write a part"):
            receipt = self._write(part)
            self._require_attempt(receipt)
        reach("part_written")
        return receipt

    def _require_attempt(self, receipt: Receipt) -> None:
        folder = table_folder(self.config, self.plan.contract.path)
        if not folder.sizes([self.marker]):
            folder.delete([file["path"] for file in receipt.payload["files"]])
            raise Retryable(f"{self.plan.table}: this attempt at s3 is over, another one went on; run the load again")

    def _write(self, part: StagedPart) -> Receipt:
        contract, options = self.plan.contract, lake_options(self.plan)
        layout, kind = layout_of(contract, options), file_kind(contract, options)
        namer = _Namer(self.plan, self.attempt, part.part_id, kind.suffix, layout, self.written)
        files = PartitionedFiles(table_folder(self.config, contract.path), kind, layout, namer.path)
        rows = 0
        try:
            for batch in self.plan.read_part(part):
                lake = to_lake(contract, batch)
                numbers = None if layout is None else layout.numbers(batch)
                files.add(lake.select(kind.schema.names), numbers)
                rows += batch.num_rows
            finished = files.finish()
        except BaseException:
            files.drop()
            raise
        return Receipt(part.part_id, rows, {"files": [file.as_document() for file in finished]})


def require_all(plan: LoadPlan, rows: int) -> None:
    """Compare the rows on their way into the table with the manifest.

    Raises:
        Rejected: there are fewer or more.
    """
    if rows != plan.rows:
        raise Rejected(
            f"{plan.table}: {plan.rows} rows are staged, but s3 has {rows} of them; load it with --full-refresh"
        )


@dataclass(frozen=True)
class MergeWriter:
    """For merges, which read the staged parts themselves: checks a part and names the partitions it touches."""

    plan: LoadPlan

    def write(self, part: StagedPart) -> Receipt:
        """Check keys and partitions of one part; nothing is written before the merge.

        Raises:
            Rejected: a key or the partition column holds nulls.
        """
        with explained(self.plan.table, "read a staged part"):
            receipt = self._scan(part)
        reach("part_written")
        return receipt

    def _scan(self, part: StagedPart) -> Receipt:
        contract = self.plan.contract
        layout = None if keys_only(self.plan) else layout_of(contract, lake_options(self.plan))
        watched = dict.fromkeys([*contract.key, *([layout.source] if layout else [])])
        rows, numbers = 0, set[int]()
        for batch in self.plan.read_part(part, list(watched)):
            _refuse_nulls(contract, batch)
            rows += batch.num_rows
            if layout is not None:
                numbers.update(layout.numbers(batch).tolist())
        values = [] if layout is None else [layout.value(number) for number in sorted(numbers)]
        return Receipt(part.part_id, rows, {"partitions": values})


def _refuse_nulls(contract: TableContract, batch: pa.RecordBatch) -> None:
    for name in batch.schema.names:
        if batch.column(name).null_count:
            raise Rejected(f"{contract.table}: s3 refuses nulls in {name!r}, which identifies rows; stage again")


@dataclass(frozen=True)
class _Namer:
    plan: LoadPlan
    attempt: str
    part_id: str
    suffix: str
    layout: Layout | None
    given: set[str]

    def path(self, partition: str | None, index: int) -> str:
        part = re.sub(r"[^A-Za-z0-9]", "", self.part_id)[:32]  # paths in a Delta log are escaped; these need none
        detail = f"{part}-{secrets.token_hex(4)}-{index:04d}"
        name = data_file_name(self.plan.sequence, self.attempt, detail, self.suffix)
        path = name if self.layout is None or partition is None else f"{self.layout.folder(partition)}/{name}"
        self.given.add(path)
        return path
