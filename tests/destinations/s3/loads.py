"""Building loads for the lake's tests, and looking at everything a load left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing.samples import canonical_rows, make_plan, sample_contract, sample_rows, sample_table
from ownlens_s3.destination import S3Destination
from ownlens_s3.ledger import ATTEMPTS, LEDGER
from ownlens_s3.paths import MANIFESTS, attempt_of

PRESET_OF = {"append": "events", "upsert": "entity", "overwrite": "reference"}


def contract_of(strategy: str, form: str = "delta", partition: str = "day", **overrides: Any) -> TableContract:
    """Return the sample contract with the lake options given; it partitions by `created_at` unless told otherwise."""
    options = {"strategy": strategy, "format": form, "partition": partition, **overrides.pop("options", {})}
    defaults: dict[str, Any] = {"partition_by": "created_at", "destinations": {"s3": options}}
    if strategy == "overwrite":
        defaults["extraction"] = "whole"
    return sample_contract(PRESET_OF[strategy], **{**defaults, **overrides})


@dataclass
class Loader:
    """Loads numbered sets of sample rows into one table."""

    destination: S3Destination
    contract: TableContract
    folder: Path
    plans: dict[int, LoadPlan] = field(default_factory=dict)

    def plan(
        self, sequence: int, table: pa.Table, *, parts: int = 2, strategy: Strategy | None = None, tag: str = ""
    ) -> LoadPlan:
        folder = self.folder / f"staged{tag}"
        made = make_plan(
            self.destination, self.contract, table, folder, sequence=sequence, parts=parts, strategy=strategy
        )
        self.plans[sequence] = made
        return made

    def rows(self, count: int, *, first: int = 0, version: int = 0, days: int = 3) -> pa.Table:
        return sample_table(self.contract, sample_rows(count, first=first, version=version, days=days))

    def load(self, sequence: int, table: pa.Table, **options: Any) -> LoadResult:
        return load(self.destination, self.plan(sequence, table, **options))

    def landed(self, plan: LoadPlan | None = None) -> pa.Table:
        return self.destination.read(plan or self.plans[max(self.plans)]).read_all()

    def require(self, *tables: pa.Table) -> None:
        """Check that the visible rows are those of the tables, value by value."""
        landed = self.landed()
        assert landed.schema == self.contract.arrow_schema
        assert canonical_rows(landed) == canonical_rows(pa.concat_tables(tables))


def counts(result: LoadResult) -> tuple[int, int, int, int]:
    """Return rows, inserted, updated and unchanged."""
    return result.rows, result.inserted, result.updated, result.unchanged


def all_files(destination: S3Destination, contract: TableContract) -> list[str]:
    return [entry.name for entry in destination.folder(contract).entries()]


def left_over(destination: S3Destination, plan: LoadPlan) -> list[str]:
    """Return the files that only attempts know: data files that no version names, and markers of attempts."""
    contract, options = plan.contract, plan.options
    names = all_files(destination, contract)
    if options.format == "delta":  # type: ignore[attr-defined]
        lake = destination.delta(contract, options)  # type: ignore[arg-type]
        table = lake.open()
        known = set() if table is None else lake.referenced(table)
    else:
        known = destination.file_table(contract, options).referenced()  # type: ignore[arg-type]
    return [name for name in names if name.startswith(ATTEMPTS) or (attempt_of(name) and name not in known)]


def ledger_files(destination: S3Destination, contract: TableContract) -> list[str]:
    return [name.removeprefix(f"{LEDGER}/") for name in all_files(destination, contract) if name.startswith(LEDGER)]


def manifests(destination: S3Destination, contract: TableContract) -> list[str]:
    return [name for name in all_files(destination, contract) if name.startswith(MANIFESTS)]
