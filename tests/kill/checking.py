"""The oracle: what a reader sees after a kill, and whether a normal run leaves each row once."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ownlens_clickhouse.client import Store as ClickHouseStore
from ownlens_plugins.api import Destination, LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_plugins.testing import canonical_rows
from ownlens_s3.config import lake_options
from ownlens_s3.destination import S3Destination
from ownlens_s3.ledger import clear_drafts
from ownlens_s3.maintenance import clean
from tests.destinations.s3 import loads as lake

from .processes import Store

Rows = Counter[str]
_ENTRY = re.compile(r"_ownlens/ledger/(\d{8})\.json")
_OWN = re.compile(
    r"_ownlens/(ledger|manifests)/\d{8}\.json|_delta_log/(\d{20}(\.checkpoint\.parquet|\.json)|_last_checkpoint)"
)
# What is invisible and harmless: the drafts of files that are put in place by a rename or link, delta-rs's own drafts,
# and files of a merge that were not committed. Maintenance deletes the first two after a day, the others after a week.
_CRUMB = re.compile(
    r"(_ownlens/(ledger|attempts|manifests)|_delta_log)/\.[^/]+\.[0-9a-f]{16}|_delta_log/[^/]+#\d+"
    r"|([^/]+/)?part-\d{5}-[-0-9a-f]{36}-c\d{3}\.[a-z.]*parquet(#\d+)?"
)
_MAINTAINED_DAYS = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """`seen` is what a reader saw before the repair: old, new, part (of the new beside the old), or other."""

    seen: str
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    crumbs: int = 0


@dataclass(frozen=True, slots=True)
class Remains:
    """What a store holds beside its rows: loads in the ledger, staging, and files that a crash cannot help leaving."""

    ledger: list[int]
    staging: list[str]
    crumbs: list[str]
    files: list[str]


def rows_of(destination: Destination[Any, Any], plan: LoadPlan) -> Rows:
    """Return the visible rows as a multiset of texts."""
    return Counter(map(repr, canonical_rows(destination.read(plan).read_all())))


def observe(store: Store, plan: LoadPlan) -> Rows:
    """Read in a process of its own."""
    destination = store.destination()
    try:
        return rows_of(destination, plan)
    finally:
        destination.close()


def load_one(store: Store, plan: LoadPlan) -> bool:
    """Load normally; return whether it was found done."""
    destination = store.destination()
    try:
        return load(destination, plan).replayed
    finally:
        destination.close()


def check(store: Store, plans: list[LoadPlan], old: Rows, new: Rows) -> Verdict:
    """Read, run the killed load (the last of the plans) again, and look at everything; then once more."""
    destination, plan = store.destination(), plans[-1]
    try:
        seen = _seen(rows_of(destination, plan), old, new)
        load(destination, plan)
        landed, remains = rows_of(destination, plan), remains_of(destination, plan)
        problems = _untidy(remains, plans)
        if not all(load(destination, each).replayed for each in plans):
            problems.append("a third run loaded again")
        if rows_of(destination, plan) != landed or remains_of(destination, plan) != remains:
            problems.append("a third run changed something")
        problems += _after_maintenance(destination, plan, remains)
    finally:
        destination.close()
    lost, doubled = (new - landed).total(), (landed - new).total()
    return Verdict(seen, lost, doubled, problems, len(remains.crumbs))


def _seen(rows: Rows, old: Rows, new: Rows) -> str:
    if rows == old:
        return "old"
    if rows == new:
        return "new"
    return "part" if (old & new) <= rows <= (old | new) else "other"


def _untidy(remains: Remains, plans: list[LoadPlan]) -> list[str]:
    problems = [f"left behind: {remains.staging}"] if remains.staging else []
    if remains.ledger != [plan.sequence for plan in plans]:
        problems.append(f"the ledger holds loads {remains.ledger}")
    return problems


def _after_maintenance(destination: Destination[Any, Any], plan: LoadPlan, remains: Remains) -> list[str]:
    """Let a week pass for the crumbs of a lake; return what its maintenance leaves of them."""
    if not remains.crumbs or not isinstance(destination, S3Destination):
        return []
    old = time.time() - _MAINTAINED_DAYS * 86_400
    for name in remains.crumbs:
        os.utime(Path(destination.folder(plan.contract).uri) / name, (old, old))
    options, landed = lake_options(plan), rows_of(destination, plan)
    clear_drafts(destination.folder(plan.contract))
    table = destination.delta if options.format == "delta" else destination.file_table
    table(plan.contract, options).clear_attempts()
    if options.format == "delta":
        clean(destination.delta(plan.contract, options))
    crumbs = remains_of(destination, plan).crumbs
    problems = [f"maintenance left {crumbs}"] if crumbs else []
    return problems if rows_of(destination, plan) == landed else [*problems, "maintenance changed the rows"]


def remains_of(destination: Destination[Any, Any], plan: LoadPlan) -> Remains:
    """Look at everything that loads have left in a store."""
    return _in_lake(destination, plan) if isinstance(destination, S3Destination) else _in_clickhouse(destination)


def _in_lake(destination: S3Destination, plan: LoadPlan) -> Remains:
    files = lake.all_files(destination, plan.contract)
    ledger = [int(found[1]) for name in files if (found := _ENTRY.fullmatch(name))]
    staging = lake.left_over(destination, plan)
    others = {name for name in files if not _OWN.fullmatch(name)} - _referenced(destination, plan)
    crumbs = sorted(name for name in others if _CRUMB.fullmatch(name))
    return Remains(ledger, sorted({*staging, *others} - {*crumbs}), crumbs, files)


def _referenced(destination: S3Destination, plan: LoadPlan) -> set[str]:
    options = lake_options(plan)
    if options.format != "delta":
        return destination.file_table(plan.contract, options).referenced()
    delta = destination.delta(plan.contract, options)
    table = delta.open()
    return set() if table is None else delta.referenced(table)


def _in_clickhouse(destination: Destination[Any, Any]) -> Remains:
    store = ClickHouseStore(destination.config)
    ledger = store.rows(f"SELECT sequence FROM {store.name('_ownlens_ledger')} ORDER BY 1")
    tables = store.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, '_ownlens_')",
        database=store.database,
    )
    staging = [str(name) for (name,) in tables if name != "_ownlens_ledger"]
    return Remains([int(sequence) for (sequence,) in ledger], staging, [], [])
