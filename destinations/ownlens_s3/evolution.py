"""May this contract load into the table that is there? Only new nullable columns are ever added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ownlens_plugins.contracts import Column, TableContract
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


def missing_columns(contract: TableContract, table: Mapping[str, HeldColumn]) -> list[Column]:
    """Return the contract's columns that the table lacks and may get.

    Raises:
        Rejected: the table differs in a way that is not a new nullable column, or the contract's policy is freeze.
    """
    for name, there in table.items():
        _require_same(contract, name, there)
    added = [column for column in contract.columns if column.name not in table]
    for column in added:
        _require_addable(contract, column)
    return added


def _require_same(contract: TableContract, name: str, there: HeldColumn) -> None:
    if name not in contract.column_names:
        raise _refusal(contract, f"has column {name!r}, which the contract lacks; put it back")
    wanted = contract.column(name)
    same = there.tag == tag(wanted.type) if there.tag else there.physical == str(lake_type(wanted.type))
    if not same:
        raise _refusal(contract, f"holds {name!r} as {there.words} and the contract says {wanted.type}; change it back")
    if wanted.nullable and not there.nullable:
        raise _refusal(contract, f"requires {name!r} and the contract makes it nullable; change it back")


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
