"""The flow that keeps tables, ledgers and staged sets small: one task a table, children before their parents."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from ownlens_plugins.contracts import TableContract, choose, parents_first, read_contracts
from ownlens_plugins.engine.maintaining import Maintained, Maintenance
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import load_profile

from .blocks import with_blocks


class MaintainRequest(BaseModel):
    """Tables and destinations to maintain. Empty lists mean all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: list[str] = Field(default_factory=list, description="Tables to maintain; all of the contracts when empty.")
    destinations: list[str] = Field(
        default_factory=list, description="Destinations by name or alias; all of the profile when empty."
    )
    plan: bool = Field(default=False, description="Say what would go, and change nothing.")
    profile: str = Field(default="default", description="Profile of ownlens.toml that names the connections.")
    config: str | None = Field(default=None, description="Path of ownlens.toml; OWNLENS_CONFIG or ./ when absent.")
    blocks: dict[str, str] = Field(
        default_factory=dict, description="Prefect blocks that hold connections, by destination."
    )


EVERYTHING = MaintainRequest()
# Never passed through Prefect: a maintenance holds connections.
_RUNS: dict[str, tuple[Maintenance, dict[str, TableContract]]] = {}
_LOCK = threading.Lock()
_task: Any = task


@flow(name="maintain-tables", persist_result=False)
def maintain_tables(request: MaintainRequest = EVERYTHING) -> State[Any]:
    """Maintain the requested tables in the requested destinations, and the staging area of the profile."""
    registry = Registry()
    profile = load_profile(request.profile, file=request.config)
    profile = with_blocks(profile, request.blocks, registry, destinations=request.destinations)
    contracts = read_contracts(profile.contracts)
    chosen = choose(contracts, request.tables)
    with (
        Maintenance.of(profile, registry, request.destinations, dry_run=request.plan) as maintenance,
        _shared(maintenance, contracts) as key,
    ):
        # One after the other: maintenance leaves the machine to the loads that run beside it.
        found = [one for contract in parents_first(chosen)[::-1] for one in _maintain(contract.table)(key)]
    return _rolled_up(found)


def _maintain(table: str) -> Any:
    return _task(name="maintain", task_run_name=f"maintain {table}", cache_policy=NO_CACHE, persist_result=False)(
        lambda key: _maintained(key, table)
    )


def _maintained(key: str, table: str) -> list[Maintained]:
    maintenance, contracts = _RUNS[key]
    return maintenance.maintain(contracts[table])


@contextmanager
def _shared(maintenance: Maintenance, contracts: dict[str, TableContract]) -> Iterator[str]:
    key = uuid4().hex
    with _LOCK:
        _RUNS[key] = maintenance, contracts
    try:
        yield key
    finally:
        with _LOCK:
            del _RUNS[key]


def _rolled_up(found: Sequence[Maintained]) -> State[Any]:
    errors = [one.error for one in found if one.error]
    chores = [chore for one in found for chore in one.chores]
    rows, files, size = (sum(getattr(one, name) for one in chores) for name in ("rows", "files", "bytes"))
    done = f"{len({one.table for one in found})} tables: {rows:,} rows, {files:,} files and {size:,} bytes went"
    return Failed(message="; ".join([done, *errors[:5]])) if errors else Completed(message=done)
