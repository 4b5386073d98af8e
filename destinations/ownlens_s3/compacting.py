"""Small files of a Delta table become few large ones, partition by partition, in commits that no load loses by.

With `cluster_by`, the rows of a partition are sorted along a Z-order curve when its small files are merged, so that
readers who ask for some values skip most files. That writes the whole partition anew, so it is done when the small
files have grown to a quarter of it; until then they are merged among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import WriterProperties
from deltalake.exceptions import CommitFailedError

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Retryable
from ownlens_plugins.powers import Chore

from .config import S3Options
from .folder import TableFolder
from .foreign import has_deletion_vectors, is_plain
from .handles import Handle, Handles
from .ledger import logger
from .paths import Layout
from .streaming import COMMIT_ONLY, codec

_TRIES = 5
# Of a partition's bytes, the share in small files from which all of it is sorted: each row is then rewritten a few
# times in all, and not with every maintenance.
_SORTED_FROM = 0.25


@dataclass(slots=True)
class Bin:
    """Files that become one. Sizes are bytes."""

    files: int = 0
    bytes: int = 0


def bins_of(
    table: Handle, layout: Layout | None, target: int, oldest: str | None = None
) -> dict[str | None, list[Bin]]:
    """Return, by partition, which files delta-rs would make one of: those below the target, the largest first.

    `oldest` is the oldest partition to look at. A bin of one file stays as it is.
    """
    files = pa.table(table.get_add_actions(flatten=True))
    values = [None] * files.num_rows if layout is None else _partitions(files, layout)
    found: dict[str | None, list[Bin]] = {}
    for size, value in sorted(zip(files["size_bytes"].to_pylist(), values, strict=True), key=lambda each: -each[0]):
        if size <= target and (oldest is None or value is None or value >= oldest):
            _put(found.setdefault(value, []), size, target)
    kept = {value: [each for each in bins if each.files > 1] for value, bins in found.items()}
    return {value: bins for value, bins in kept.items() if bins}


def _partitions(files: pa.Table, layout: Layout) -> list[str | None]:
    return list(files[f"partition.{layout.column}"].cast(pa.string()).to_pylist())


def _put(bins: list[Bin], size: int, target: int) -> None:
    room = next((each for each in bins if each.bytes + size <= target), None)
    if room is None:
        bins.append(room := Bin())
    room.files, room.bytes = room.files + 1, room.bytes + size


@dataclass(frozen=True)
class Compaction:
    """The compaction of one table."""

    folder: TableFolder
    handles: Handles
    contract: TableContract
    options: S3Options
    layout: Layout | None

    def planned(self, table: Handle, oldest: str | None = None) -> tuple[Chore, ...]:
        """Return what there is to do, without doing it."""
        return _chores([each for bins in self._bins(table, oldest).values() for each in bins])

    def run(self) -> tuple[Chore, ...]:
        """Merge small files. Each partition is a commit of its own, so a load that is in the way costs one partition.

        Raises:
            Retryable: loads kept changing the files of a partition; the others are done.
        """
        with self.handles.lent(self.folder) as table:
            planned = {} if table is None else self._bins(table)
        for value, bins in planned.items():
            self._merge(value, sum(each.bytes for each in bins))
        return _chores([each for bins in planned.values() for each in bins])

    def _bins(self, table: Handle, oldest: str | None = None) -> dict[str | None, list[Bin]]:
        # delta-rs refuses mapped columns, and would forget what a deletion vector says of a file that it rewrites.
        if not is_plain(table) or has_deletion_vectors(table):
            doing = "neither merged nor sorted by cluster_by" if self.options.cluster_by else "not merged"
            logger.warning(
                "%s: small files in s3 are %s: the table has mapped columns, deletion vectors or features of another "
                "program, whose own OPTIMIZE can do it",
                self.contract.table,
                doing,
            )
            return {}
        return bins_of(table, self.layout, self.options.target_file_bytes, oldest)

    def _merge(self, value: str | None, small: int) -> None:
        for _ in range(_TRIES):
            try:
                return self._commit(value, small)
            except CommitFailedError:  # a load replaced one of these files: its rows count, look again
                continue
        raise Retryable(f"{self.contract.table}: s3 table changed while files were merged; run maintenance again")

    def _commit(self, value: str | None, small: int) -> None:
        with self.handles.lent(self.folder) as table:
            if table is None:
                return
            where = [] if self.layout is None or value is None else [(self.layout.column, "=", value)]
            settings: dict[str, Any] = {
                "partition_filters": where or None,
                "target_size": self.options.target_file_bytes,
                "max_concurrent_tasks": 1,
                "writer_properties": WriterProperties(compression=codec(self.options)),
                "post_commithook_properties": COMMIT_ONLY,
            }
            # Read and committed through one handle. A rival that removed one of the files makes the commit fail; one
            # that added others does not, as these rows stay what they were.
            optimizer = table.optimize
            if self._is_worth_sorting(table, value, small):
                optimizer.z_order(self.options.cluster_by, **settings)
            else:
                optimizer.compact(**settings)

    def _is_worth_sorting(self, table: Handle, value: str | None, small: int) -> bool:
        there = {each.name for each in table.schema().fields}
        if not self.options.cluster_by or not there.issuperset(self.options.cluster_by):
            return False
        files = pa.table(table.get_add_actions(flatten=True))
        values = [None] * files.num_rows if self.layout is None else _partitions(files, self.layout)
        sizes = zip(files["size_bytes"].to_pylist(), values, strict=True)
        return bool(small >= _SORTED_FROM * sum(size for size, of in sizes if of == value))


def _chores(bins: Sequence[Bin]) -> tuple[Chore, ...]:
    files = sum(each.files for each in bins)
    return (Chore("compaction", files=files, bytes=sum(each.bytes for each in bins)),) if files else ()
