"""The end of a history: everything open ends, runs go on until nothing is new, and every store is looked at."""

from __future__ import annotations

import json
from typing import Any

from ownlens_plugins.contracts import TableContract

from .expecting import Expected, Look
from .worlds import World

_RUNS = 3


def settle(machine: Any) -> None:
    """End what is open, run until nothing is new, and compare.

    Raises:
        AssertionError: runs never end, or a store is not what the contracts say.
    """
    for slot in machine.writers.slots:
        machine.writers.end(slot, "commit")
    for name in [*machine.writers.prepared]:
        machine.writers.finish(name, "commit")
    looks = _run_until_nothing_is_new(machine)
    for contract in machine.tables:
        _compare(machine.world, machine.expected[contract.table], looks[contract.table])


def _run_until_nothing_is_new(machine: Any) -> dict[str, Look]:
    looks: dict[str, Look] = machine.looks()
    new: list[str] = []
    for _ in range(_RUNS):
        new = _run(machine, looks)
        if not new:
            break
    new = new and _run(machine, looks)
    assert not new, f"after {_RUNS} runs of a source that stands still, {', '.join(new)} is staged again"
    return looks


def _run(machine: Any, looks: dict[str, Look]) -> list[str]:
    """Run once; return the tables that brought something new."""
    new = []
    with machine.world.snapshot() as snapshot:
        for contract in machine.tables:
            with machine.noting(contract, [looks]):
                if machine.world.stage(contract, snapshot, sweep=True) is not None:
                    new.append(contract.table)
    machine.load()
    return new


def _compare(world: World, expected: Expected, source: Look) -> None:
    contract = expected.contract
    contents = world.contents(contract)
    said = [f"{name} {text}" for name, rows in contents.items() for text in expected.problems(rows, source)]
    said += _unlike(contents)
    said += _quarantine(world, contract, expected)
    assert not said, f"{contract.table}:\n  " + "\n  ".join(said[:12])


def _unlike(contents: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return how stores differ from the first one; rows that may be there or not must be so in all."""
    first, *others = contents
    wanted = {repr(row) for row in contents[first]}
    return [
        f"{name} and {first} differ in {sorted({repr(row) for row in contents[name]} ^ wanted)[:3]}"
        for name in others
        if {repr(row) for row in contents[name]} != wanted
    ]


def _quarantine(world: World, contract: TableContract, expected: Expected) -> list[str]:
    """Compare the refused rows with those that a run has seen: each is kept, once for each of its values."""
    kept: dict[str, int] = {}
    for manifest in world.area().manifests(contract.table):
        table = world.area().quarantined(manifest)
        for text in table["row"].to_pylist() if table is not None else ():
            key = str(json.loads(text)[contract.key[0]])
            kept[key] = kept.get(key, 0) + 1
    refused = {str(key[0]): len(rows) for key, rows in expected.refused.items()}
    said = [f"quarantine lacks {key}" for key in refused if key not in kept]
    said += [f"quarantine holds {key}, which no run saw refused" for key in kept if key not in refused]
    return said + [f"quarantine holds {key} {kept[key]} times" for key in kept if kept[key] > refused.get(key, 0) > 0]
