"""Which contracts a command or a run asks for, by table, domain and preset."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import UnknownName
from .contract import TableContract
from .presets import PRESETS


def choose(
    contracts: Mapping[str, TableContract],
    tables: Collection[str] = (),
    domains: Collection[str] = (),
    presets: Collection[str] = (),
) -> list[TableContract]:
    """Return the contracts of the named tables, domains and presets together; all without any name.

    Raises:
        UnknownName: a table, domain or preset that no contract has.
    """
    _check("table", tables, contracts)
    _check("domain", domains, {contract.domain for contract in contracts.values()})
    _check("preset", presets, PRESETS)
    if not (tables or domains or presets):
        return list(contracts.values())
    return [
        contract
        for contract in contracts.values()
        if contract.table in tables or contract.domain in domains or contract.preset in presets
    ]


def _check(kind: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)
