"""Prepare the demo: fill the source database once, and bring it a day of changes each time after."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ownlens_plugins.contracts import TableContract, read_contracts

from .newsroom import apply_day_of_changes, create_schema, fill
from .servers import Sandbox

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
    started = time.monotonic()
    contracts = list(read_contracts(_contracts_folder(sandbox)).values())
    state = sandbox.folder / "source.json"
    with psycopg.connect(sandbox.source) as connection:
        if state.exists():
            return _change(connection, contracts, state, started)
        return _fill(connection, contracts, state, rows, progress, started)


def _contracts_folder(sandbox: Sandbox) -> Path:
    from ownlens_plugins.settings import load_profile

    from .servers import PROFILE

    return Path(load_profile(PROFILE, file=sandbox.config).contracts)


def _fill(
    connection: psycopg.Connection,
    contracts: list[TableContract],
    state: Path,
    rows: int,
    progress: Progress | None,
    started: float,
) -> Prepared:
    # A fill that was cut off has left tables, but no state file.
    connection.execute("DROP SCHEMA public CASCADE")
    connection.execute("CREATE SCHEMA public")
    create_schema(connection, contracts)
    filled = fill(connection, contracts, rows=rows, progress=progress)
    connection.commit()
    _remember(state, 0)
    return Prepared(0, sum(filled.values()), 0, time.monotonic() - started)


def _change(connection: psycopg.Connection, contracts: list[TableContract], state: Path, started: float) -> Prepared:
    day = int(json.loads(state.read_text())["days"]) + 1
    changes = apply_day_of_changes(connection, contracts, seed=day)
    connection.commit()
    _remember(state, day)
    inserted, updated = (sum(change[index] for change in changes.values()) for index in (0, 1))
    return Prepared(day, inserted, updated, time.monotonic() - started)


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
    from prefect.server.api.server import SubprocessASGIServer

    SubprocessASGIServer().start()
