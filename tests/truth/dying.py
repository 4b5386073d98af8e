"""Runs in a process of their own, which dies at a named point or at a random moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.registry import Registry
from ownlens_plugins.storage import LocalFolder

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
    return killed(world, World.run, *contracts, fault=fault, after=after)


def killed(world: World, step: Callable[..., Any], *given: Any, fault: str = "", after: float | None = None) -> bool:
    """Do a step, a function of a module that gets the world and what is given, in a process that is killed.

    Besides the points of `ownlens_plugins.faults` there are `publish:n` and `published:n`, before and after the n-th
    set that the step stages has its manifest.

    Returns:
        Whether it died.
    """
    _PROCESSES.set_forkserver_preload([__name__, *_MODULES])
    world.close()
    stores = {name: (type(store), store.config) for name, store in world.stores.items()}
    bare: Any = replace(world, stores={}, registry=None)  # type: ignore[arg-type]
    process = _PROCESSES.Process(target=_do, args=(bare, stores, step, given, fault), daemon=True)
    process.start()
    process.join(_PATIENCE_SECONDS if after is None else after)
    if process.is_alive():
        assert after is not None, "a run in a process of its own did not end"
        process.kill()
    process.join(_PATIENCE_SECONDS)
    assert process.exitcode in {0, -signal.SIGKILL}, f"a run ended with exit code {process.exitcode}: see its output"
    return process.exitcode != 0


def _do(world: World, stores: dict[str, Any], step: Callable[..., Any], given: Sequence[Any], fault: str) -> None:
    world.registry = Registry()
    world.stores = {name: kind(config) for name, (kind, config) in stores.items()}
    point, _, number = fault.partition(":")
    if number:
        _die_at_manifest(point, int(number))
    elif fault:
        os.environ["OWNLENS_FAULT"] = f"{fault}:kill"
    step(world, *given)
    world.close()
    os._exit(0)  # threads of drivers may wait for ever; the work is done


def _die_at_manifest(point: str, number: int) -> None:
    """Die before (`publish`) or after (`published`) this process creates its n-th manifest."""
    left = iter(range(number - 1, -1, -1))
    create = LocalFolder.create

    def dying(self: LocalFolder, name: str, content: bytes) -> bool:
        last = "/manifests/" in f"/{name}" and next(left) == 0
        done = False if last and point == "publish" else create(self, name, content)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    LocalFolder.create = dying  # type: ignore[method-assign]
