"""May this contract load into the table that is there? Columns are added, and widened where every old value fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ownlens_plugins.contracts import Column, Kind, LogicalType, TableContract, parse_type
from ownlens_plugins.errors import Rejected

from .columns import lake_type, tag


@dataclass(frozen=True, slots=True)
class HeldColumn:
    """A column of the table in the lake. `tag` is its logical type; empty when another program made the table."""

    tag: str
    physical: str
    nullable: bool

    @property
    def words(self) -> str:
        return self.tag or self.physical


def held(column: Column) -> HeldColumn:
    return HeldColumn(tag(column.type), str(lake_type(column.type)), column.nullable)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a table needs before a contract can load into it: columns it lacks, and columns that must hold more."""

    added: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.widened)


def changes(contract: TableContract, table: Mapping[str, HeldColumn]) -> Changes:
    """Return what the table must get so that the contract fits; what it holds already stays as it is.

    Raises:
        Rejected: it differs in another way, or the contract's policy is freeze.
    """
    widened = [contract.column(name) for name, there in table.items() if _is_widened(contract, name, there)]
    added = [column for column in contract.columns if column.name not in table]
    for column in added:
        _require_addable(contract, column)
    return Changes(tuple(added), tuple(widened))


def fits(contract: TableContract, table: Mapping[str, HeldColumn]) -> bool:
    """Tell whether rows of the contract can go into the table as it is."""
    there = {column.name: table.get(column.name) for column in contract.columns}
    return all(held is not None and not _differs(contract.column(name), held) for name, held in there.items())


def _differs(wanted: Column, there: HeldColumn) -> bool:
    return not has_type(wanted, there) or (wanted.nullable and not there.nullable)


def has_type(wanted: Column, there: HeldColumn) -> bool:
    """Tell whether a column has the contract's logical type; by its plain type when another program made it."""
    return there.tag == tag(wanted.type) if there.tag else there.physical == str(lake_type(wanted.type))


def _is_widened(contract: TableContract, name: str, there: HeldColumn) -> bool:
    if name not in contract.column_names:
        raise _refusal(contract, f"has column {name!r}, which the contract lacks; put it back")
    wanted = contract.column(name)
    if not _differs(wanted, there):
        return False
    differs, frozen = _difference(wanted, there), contract.schema_policy == "freeze"
    if not there.tag or not (has_type(wanted, there) or _holds_all(there.tag, wanted.type)):
        raise _refusal(contract, f"{differs}; change it back")
    if frozen:
        raise _refusal(contract, f"{differs}, and schema_policy is freeze; change it back, set evolve")
    return True


def _difference(wanted: Column, there: HeldColumn) -> str:
    if has_type(wanted, there):
        return f"requires {wanted.name!r} and the contract makes it nullable"
    return f"holds {wanted.name!r} as {there.words} and the contract says {wanted.type}"


_WIDER: Mapping[Kind, frozenset[Kind]] = {
    Kind.INT16: frozenset({Kind.INT32, Kind.INT64}),
    Kind.INT32: frozenset({Kind.INT64}),
    Kind.FLOAT32: frozenset({Kind.FLOAT64}),
}


def _holds_all(old_tag: str, new: LogicalType) -> bool:
    """Tell whether a type holds every value of another one, unchanged."""
    if old_tag == Kind.ENUM.value:
        return new.kind is Kind.TEXT
    old, _ = parse_type(old_tag)
    if old.kind is Kind.DECIMAL and new.kind is Kind.DECIMAL:
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    return new.kind in _WIDER.get(old.kind, ())


def _require_addable(contract: TableContract, column: Column) -> None:
    if contract.schema_policy == "freeze":
        raise _refusal(contract, f"lacks column {column.name!r} and schema_policy is freeze; remove it or set evolve")
    if not column.nullable:
        raise _refusal(contract, f"lacks column {column.name!r}; declare it nullable ({column.type}?) to add it")


def _refusal(contract: TableContract, reason: str) -> Rejected:
    return Rejected(f"{contract.table}: the table in s3 {reason}, or give the table a new path")


def require_distinct_names(contract: TableContract) -> None:
    """Check that no two columns differ only by case: a Delta table cannot hold both.

    Raises:
        Rejected: naming one such pair.
    """
    seen: dict[str, str] = {}
    for name in contract.column_names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Rejected(
                f"{contract.table}: s3 cannot hold columns {other!r} and {name!r} in one Delta table, "
                "which ignores case; rename one or use format: parquet"
            )
