"""Contracts: what OwnLens knows about each table, and how it is read."""

from .choosing import choose
from .columns import Column, Kind, LogicalType, parse_type
from .contract import ContractDocument, Reference, TableContract
from .presets import PRESETS, Extraction, Preset, Strategy
from .reading import contract_from, read_contract, read_contracts
from .rules import parents_first
from .widening import holds_all

__all__ = [
    "PRESETS",
    "Column",
    "ContractDocument",
    "Extraction",
    "Kind",
    "LogicalType",
    "Preset",
    "Reference",
    "Strategy",
    "TableContract",
    "choose",
    "contract_from",
    "holds_all",
    "parents_first",
    "parse_type",
    "read_contract",
    "read_contracts",
]
