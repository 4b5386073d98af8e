"""What of a contract contradicts its options in ClickHouse: known before any load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import UnknownName

from .columns import LOW_CARDINALITY_KINDS

if TYPE_CHECKING:
    from .config import ClickHouseOptions

# A column of such a name would hide ClickHouse's own, or is refused by it.
_VIRTUAL = frozenset({"_partition_id", "_row_exists", "_block_number", "_block_offset"})


def contradictions(contract: TableContract, options: ClickHouseOptions) -> Iterator[str]:
    """Yield what of a contract stands against its options here, with the fix."""
    if contract.partition_by is None and (options.partition != "none" or options.ttl_days):
        setting = "ttl_days" if options.partition == "none" else f"partition: {options.partition}"
        other = "leave it out" if options.partition == "none" else "set partition: none"
        yield f"{setting} needs partition_by in the contract; name a date or timestamp column, or {other}"
    named = {"order_by": options.order_by, "codec": options.codec, "low_cardinality": options.low_cardinality}
    for option, columns in named.items():
        yield from _unknown(contract, option, tuple(columns))
    for name in sorted(_VIRTUAL & set(contract.column_names)):
        yield f"column {name!r} is one of ClickHouse's own in every table; rename it"
    yield from _wrong_order(contract, options)
    yield from _wrong_dictionary(contract, options)


def _unknown(contract: TableContract, option: str, columns: Sequence[str]) -> Iterator[str]:
    for name in columns:
        if name not in contract.column_names:
            yield str(UnknownName("column", name, contract.column_names, where=option))


def _wrong_order(contract: TableContract, options: ClickHouseOptions) -> Iterator[str]:
    if options.engine == "ReplacingMergeTree":
        if options.order_by and set(options.order_by) != set(contract.key):
            yield f"order_by must hold exactly the key ({', '.join(contract.key)}), by which the engine merges rows"
        if contract.version_by is None:
            yield "ReplacingMergeTree needs version_by in the contract, so that the newest row of a key wins"
    for name in _known(contract, options.order_by):
        if contract.column(name).nullable:
            yield f"order_by column {name!r} must not be nullable; leave it out or make it not null"


def _wrong_dictionary(contract: TableContract, options: ClickHouseOptions) -> Iterator[str]:
    for name in _known(contract, options.low_cardinality):
        if contract.column(name).type.kind not in LOW_CARDINALITY_KINDS:
            yield f"low_cardinality column {name!r} cannot be of type {contract.column(name).type}"


def _known(contract: TableContract, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in contract.column_names]
