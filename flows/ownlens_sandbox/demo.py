"""Prepare the demo: fill the source database once, and bring it a day of changes each time after."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.settings import load_profile

from .newsroom import apply_day_of_changes, create_schema, fill
from .servers import PROFILE, Sandbox

DEFAULT_ROWS = 500_000
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What happened to the source: rows filled, or rows inserted and updated by a day of changes."""

    day: int
    inserted: int
    updated: int
    seconds: float


def prepare_source(sandbox: Sandbox, *, rows: int = DEFAULT_ROWS, progress: Progress | None = None) -> Prepared:
    """Fill an empty source with about `rows` rows, or apply the next day of changes to a filled one."""
    contracts = Path(load_profile(PROFILE, file=sandbox.config).contracts)
    if is_filled(sandbox.folder):
        return change_source(sandbox.folder, sandbox.source, contracts)
    return fill_source(sandbox.folder, sandbox.source, contracts, rows=rows, progress=progress)


def is_filled(folder: Path) -> bool:
    """Say whether the source of the stack below a folder has been filled."""
    return _state(folder).exists()


def fill_source(
    folder: Path, source: str, contracts: Path, *, rows: int = DEFAULT_ROWS, progress: Progress | None = None
) -> Prepared:
    """Fill a source with about `rows` rows; `source` is its owner's connection string."""
    started = time.monotonic()
    with psycopg.connect(source) as connection:
        filled = _fill(connection, list(read_contracts(contracts).values()), rows, progress)
    _remember(_state(folder), 0)
    return Prepared(0, sum(filled.values()), 0, time.monotonic() - started)


def change_source(folder: Path, source: str, contracts: Path) -> Prepared:
    """Bring a filled source the next day of changes."""
    started = time.monotonic()
    day = int(json.loads(_state(folder).read_text())["days"]) + 1
    with psycopg.connect(source) as connection:
        changes = apply_day_of_changes(connection, list(read_contracts(contracts).values()), seed=day)
    _remember(_state(folder), day)
    inserted, updated = (sum(change[index] for change in changes.values()) for index in (0, 1))
    return Prepared(day, inserted, updated, time.monotonic() - started)


def _state(folder: Path) -> Path:
    return folder / "source.json"


def _fill(
    connection: psycopg.Connection, contracts: list[TableContract], rows: int, progress: Progress | None
) -> Mapping[str, int]:
    # A fill that was cut off has left tables, but no state file.
    connection.execute("DROP SCHEMA public CASCADE")
    connection.execute("CREATE SCHEMA public")
    create_schema(connection, contracts)
    return fill(connection, contracts, rows=rows, progress=progress)


def _remember(state: Path, days: int) -> None:
    draft = state.with_suffix(".draft")
    draft.write_text(json.dumps({"days": days}))
    draft.replace(state)


def start_prefect_early(folder: Path) -> threading.Thread | None:
    """Start Prefect's temporary server while the source is being filled; it takes many seconds of its own."""
    if os.environ.get("PREFECT_API_URL"):
        return None
    os.environ.setdefault("PREFECT_HOME", str(folder / "prefect"))
    thread = threading.Thread(target=_start_prefect, name="ownlens-prefect", daemon=True)
    thread.start()
    return thread


def _start_prefect() -> None:
    from ownlens_flows.serving import start_temporary

    with suppress(OwnLensError):  # the run tries again, and says why it cannot begin
        start_temporary()
