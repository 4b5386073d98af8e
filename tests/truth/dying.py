"""Runs in a process of their own, which dies at a named point or at a random moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.registry import Registry

from .worlds import World

_PROCESSES = multiprocessing.get_context("forkserver")
_STORES = [f"{name}.destination" for name in ("ownlens_s3", "ownlens_postgresql", "ownlens_clickhouse")]
_MODULES = [
    "pandas",
    "pyarrow.compute",
    "pyarrow.parquet",
    "duckdb",
    "deltalake",
    "adbc_driver_postgresql.dbapi",
    *_STORES,
]
_PATIENCE_SECONDS = 120


def killed_run(
    world: World, contracts: Sequence[TableContract], *, fault: str = "", after: float | None = None
) -> bool:
    """Run in a process that is killed at a point of `ownlens_plugins.faults`, or after so many seconds.

    Returns:
        Whether it died. A run that did not come by the point has ended as any other.
    """
    _PROCESSES.set_forkserver_preload([__name__, *_MODULES])
    world.close()
    stores = {name: (type(store), store.config) for name, store in world.stores.items()}
    bare: Any = replace(world, stores={}, registry=None)  # type: ignore[arg-type]
    process = _PROCESSES.Process(target=_run, args=(bare, stores, contracts, fault), daemon=True)
    process.start()
    process.join(_PATIENCE_SECONDS if after is None else after)
    if process.is_alive():
        assert after is not None, "a run in a process of its own did not end"
        process.kill()
    process.join(_PATIENCE_SECONDS)
    assert process.exitcode in {0, -signal.SIGKILL}, f"a run ended with exit code {process.exitcode}: see its output"
    return process.exitcode != 0


def _run(world: World, stores: dict[str, Any], contracts: Sequence[TableContract], fault: str) -> None:
    world.registry = Registry()
    world.stores = {name: kind(config) for name, (kind, config) in stores.items()}
    if fault:
        os.environ["OWNLENS_FAULT"] = f"{fault}:kill"
    world.run(*contracts)
    world.close()
    os._exit(0)  # threads of drivers may wait for ever; the work is done
