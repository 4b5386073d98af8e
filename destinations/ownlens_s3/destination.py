"""The lake as a destination: one folder per table, in Delta, Parquet or JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from ownlens_plugins.api import Destination, LoadPlan, LoadResult, new_attempt
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.faults import reach
from ownlens_plugins.powers import Chore, SliceCounts, TableState, Upkeep

from . import overview
from .adopting import adopt
from .bucket import Bucket
from .config import S3Config, S3Options, lake_options
from .counting import count_delta, count_files
from .covering import keys_only, require_rows
from .delta import DeltaLake
from .failures import explain, explained
from .files import FileTable, require_overwrite
from .folder import TableFolder, table_folder
from .formats import replaced_table
from .handles import Handles
from .ledger import announce, attempts, logger
from .maintenance import maintain_delta, maintain_files
from .overview import state_of_delta, state_of_files
from .paths import layout_of
from .session import DeltaSession, FileSession, LakeSession

_CHECK_SECONDS = 10


class S3Destination(Destination[S3Config, S3Options]):
    """Tables in a lake on a local folder or an S3 bucket."""

    name: ClassVar[str] = "s3"
    aliases: ClassVar[tuple[str, ...]] = ("minio", "lake")
    config_type = S3Config
    options_type = S3Options
    strategies = frozenset({Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE})
    follows_deletes: ClassVar[bool] = True

    @cached_property
    def _handles(self) -> Handles:
        return Handles()

    def close(self) -> None:
        """Let go of the tables that are kept open."""
        self._handles.clear()

    def find_commit(self, plan: LoadPlan) -> LoadResult | None:
        options = lake_options(plan)
        with explained(plan.table, "look for the load"):
            done = self._recorded(plan, options)
        if done is not None:
            self._finish(plan, options)
        return done

    def _recorded(self, plan: LoadPlan, options: S3Options) -> LoadResult | None:
        if options.format != "delta":
            return self.file_table(plan.contract, options).recorded(plan)
        lake = self.delta(plan.contract, options)
        with self._handles.lent(lake.folder) as table:
            return None if table is None else lake.recorded(table, plan)

    def _finish(self, plan: LoadPlan, options: S3Options) -> None:
        """Clear what a crash after the commit left; the load itself is complete, so failing here changes nothing."""
        lake, files = self.delta(plan.contract, options), self.file_table(plan.contract, options)
        mine, other = (lake, files) if options.format == "delta" else (files, lake)
        try:
            if attempts(lake.folder):
                replaced_table(plan, mine, other)
                mine.clear_attempts()
        except Exception as error:
            logger.warning("%s", explain(error, plan.table, "clear what a crash left"))

    def open(self, plan: LoadPlan) -> LakeSession:
        self.require_strategy(plan)
        require_rows(plan)
        options = lake_options(plan)
        layout_of(plan.contract, options)
        with explained(plan.table, "prepare the table"):
            session = self._open_delta(plan, options) if options.format == "delta" else self._open_files(plan, options)
        reach("stage_open")
        return session

    def _open_delta(self, plan: LoadPlan, options: S3Options) -> DeltaSession:
        lake, other = self.delta(plan.contract, options), self.file_table(plan.contract, options)
        replaced = replaced_table(plan, lake, other)
        table = lake.prepare(plan)
        merges = plan.strategy is Strategy.UPSERT and (keys_only(plan) or not lake.is_empty(table))
        crashed = bool(lake.clear_attempts_of(table))
        return DeltaSession(
            self.config,
            plan,
            lake,
            table,
            announce(lake.folder, plan.sequence, new_attempt()),
            streams=merges or lake.shape.streams(table, plan),
            others=crashed,
            replaced=replaced,
        )

    def _open_files(self, plan: LoadPlan, options: S3Options) -> FileSession:
        require_overwrite(plan, options)
        table, other = self.file_table(plan.contract, options), self.delta(plan.contract, options)
        replaced = replaced_table(plan, table, other)
        table.prepare(plan)
        crashed = bool(table.clear_attempts())
        marker = announce(table.folder, plan.sequence, new_attempt())
        return FileSession(self.config, plan, table, marker, others=crashed, replaced=replaced)

    def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(plan.schema, self._batches(plan.contract, lake_options(plan)))

    def _batches(self, contract: TableContract, options: S3Options) -> Iterator[pa.RecordBatch]:
        with explained(contract.table, "read the table"):
            if options.format == "delta":
                lake = self.delta(contract, options)
                with self._handles.lent(lake.folder) as table:
                    if table is not None:
                        yield from lake.read(table)
            else:
                files = self.file_table(contract, options)
                if current := files.current():
                    yield from files.read(current)

    def count(self, plan: LoadPlan) -> SliceCounts:
        """Count the visible rows and keys of the touched days, reading key columns only."""
        options = lake_options(plan)
        with explained(plan.table, "count the rows"):
            if options.format == "delta":
                lake = self.delta(plan.contract, options)
                with self._handles.lent(lake.folder) as table:
                    return SliceCounts(0, 0) if table is None else count_delta(table, plan, lake.layout)
            files = self.file_table(plan.contract, options)
            current = files.current()
            return SliceCounts(0, 0) if current is None else count_files(files, current, plan)

    def kept_since(self, plan: LoadPlan) -> date | None:
        """Return the oldest day that `retention_days` keeps; with months, the first day of the oldest month."""
        return lake_options(plan).oldest_kept(datetime.now(UTC).date())

    def position(self, contract: TableContract) -> int:
        """Return the highest sequence that is marked in the table, in whichever format it is; 0 without a table."""
        options = S3Options.model_validate(contract.options_for(self.name))
        with explained(contract.table, "look for the newest load"):
            tables = self.delta(contract, options), self.file_table(contract, options)
            return max(table.position() or 0 for table in tables)

    def adopt(self, plan: LoadPlan, rows: int) -> LoadResult:
        """Mark a load in the log of a Delta table in which none is marked."""
        options = lake_options(plan)
        if options.format != "delta":
            raise Rejected(
                f"{plan.table}: s3 holds it as {options.format}, whose manifest names its files: without one there is "
                "nothing to adopt; load it as usual, which replaces it"
            )
        reach("before_commit")
        with explained(plan.table, "adopt the table"):
            result = adopt(self.delta(plan.contract, options), plan, rows)
        reach("commit_sent")
        return result

    def overview(self, contracts: Sequence[TableContract]) -> Mapping[str, TableState]:
        """Return where each table stands, in whichever format it is."""
        return overview.overview(contracts, self._state)

    def _state(self, contract: TableContract) -> TableState:
        options = S3Options.model_validate(contract.options_for(self.name))
        with explained(contract.table, "look where it stands"):
            delta, files = self.delta(contract, options), self.file_table(contract, options)
            found = [state_of_delta(delta), state_of_files(files)]
        mine, other = found if options.format == "delta" else found[::-1]
        # Loads of another format than the contract's are told, but no load counts as done by them.
        return mine if mine.position >= other.position else replace(other, is_sure=False)

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Let old rows go, merge small files, and delete what no reader, no attempt and no ledger needs."""
        options = S3Options.model_validate(upkeep.options.model_dump())
        with explained(upkeep.contract.table, "maintain the table"):
            if options.format == "delta":
                return list(maintain_delta(self.delta(upkeep.contract, options), upkeep))
            return list(maintain_files(self.file_table(upkeep.contract, options), upkeep))

    def check(self) -> None:
        """Reach the lake's root and, on a local folder, write to it."""
        with explained(self.name, "reach the lake"):
            if self.config.is_s3:
                bucket = Bucket(self.config, seconds=_CHECK_SECONDS, attempts=1)
                next(iter(bucket.list(f"{self.config.prefix}/" if self.config.prefix else "", most=1)), None)
            else:
                _try_writing(Path(self.config.uri))

    def folder(self, contract: TableContract) -> TableFolder:
        """Return the folder of a contract's table."""
        return table_folder(self.config, contract.path)

    def delta(self, contract: TableContract, options: S3Options) -> DeltaLake:
        """Return the contract's table as a Delta table, whether it is there or not."""
        return DeltaLake(self.folder(contract), contract, options, self._handles)

    def file_table(self, contract: TableContract, options: S3Options) -> FileTable:
        """Return the contract's table as a Parquet or JSON table, whether it is there or not."""
        return FileTable(self.folder(contract), contract, options)


def _try_writing(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    probe = root / f".ownlens-{os.urandom(4).hex()}"
    probe.touch()
    probe.unlink()
